#!/bin/sh
# Runs the tests that need networks of their own: browsers behind lossy wires and NATs that change, against a built server
# (ROOMCAST_BIN, or target/release/roomcast). usage: tests/net/run.sh [test files]
#
# They need root, network namespaces, TUN and nftables' NAT, and are skipped with a word where one of these is missing.
#
#   rc-firefox ---- veth 10.79.1.0/24 ---- +
#   rc-far -------- impair 10.79.2.1/.2 -- + rc-server, 10.79.0.1 everywhere
#   rc-phone -- rc-nat -- wifi 10.79.3.0/24 +
#                     \-- lte  10.79.4.0/24 +
set -eu
cd "$(dirname "$0")"

skip() {
    echo "skipped: the network tests need $1"
    exit 0
}
[ "$(id -u)" = 0 ] || skip "root"
[ -c /dev/net/tun ] || skip "/dev/net/tun"
for program in ip nft python3 node chromium firefox-esr; do
    command -v "$program" >/dev/null || skip "$program"
done

spaces="rc-server rc-firefox rc-far rc-phone rc-nat"
clean() {
    for space in $spaces; do ip netns del "$space" 2>/dev/null || true; done
}
ip netns add rc-server 2>/dev/null || skip "network namespaces (or another run is going on: ip netns del rc-server)"
trap clean EXIT
trap 'exit 130' INT TERM
for space in $spaces; do
    [ "$space" = rc-server ] || ip netns add "$space"
    ip -n "$space" link set lo up
done
# Two ends of a cable: join SPACE DEVICE ADDRESS SPACE DEVICE ADDRESS
join() {
    ip link add "$2" netns "$1" type veth peer name "$5" netns "$4"
    ip -n "$1" addr add "$3/24" dev "$2" && ip -n "$4" addr add "$6/24" dev "$5"
    ip -n "$1" link set "$2" up && ip -n "$4" link set "$5" up
}
ip -n rc-server addr add 10.79.0.1/32 dev lo
join rc-server firefox 10.79.1.1 rc-firefox eth0 10.79.1.2
join rc-server wifi 10.79.3.1 rc-nat wifi 10.79.3.2
join rc-server lte 10.79.4.1 rc-nat lte 10.79.4.2
join rc-nat home 10.79.9.1 rc-phone eth0 10.79.9.2
# A page without camera permission gathers only the address of the default route.
ip -n rc-firefox route add default via 10.79.1.1
ip -n rc-phone route add default via 10.79.9.1
ip -n rc-nat route add 10.79.0.1 via 10.79.3.1
ip netns exec rc-nat sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
ip netns exec rc-nat nft 'add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; };
    add rule ip nat out oifname { "wifi", "lte" } masquerade' 2>/dev/null || skip "nftables with masquerading"

[ -d node_modules/puppeteer-core ] || npm ci --no-audit --no-fund
[ -d ../chrome/node_modules/playwright-core ] || (cd ../chrome && npm ci --no-audit --no-fund)
[ $# -gt 0 ] || set -- *.test.mjs
code=0
for file in "$@"; do
    case $file in firefox*) from=rc-firefox ;; *) from=rc-server ;; esac
    ip netns exec "$from" node --test --test-timeout=60000 "$file" || code=1
done
exit $code
