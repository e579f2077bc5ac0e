#!/bin/sh
# Runs the browser tests against a built server (ROOMCAST_BIN, or target/release/roomcast).
#
# Where it is allowed to, in a network namespace of its own that has nothing but loopback: no port is taken, and nothing can leak
# in or out. usage: tests/chrome/run.sh [test files]; a test may take TEST_TIMEOUT_MS (300000)
set -eu
cd "$(dirname "$0")"

for program in chromium ffmpeg ffprobe node; do
    command -v "$program" >/dev/null || { echo "the browser tests need $program (Debian: chromium, ffmpeg, nodejs)" >&2; exit 1; }
done
if ! npm ls --depth=0 >/dev/null 2>&1; then
    npm ci --no-audit --no-fund
fi
[ $# -gt 0 ] || set -- *.test.mjs

# Told to the tests, so that those that break the network know that it is nobody else's.
export ROOMCAST_TEST_NAMESPACE=
inside='export ROOMCAST_TEST_NAMESPACE=1; ip link set lo up && exec node --test --test-timeout="${TEST_TIMEOUT_MS:-300000}" "$@"'
if [ "$(id -u)" = 0 ] && unshare -n ip link set lo up 2>/dev/null; then
    exec unshare -n sh -c "$inside" sh "$@"
elif unshare -rn ip link set lo up 2>/dev/null; then
    exec unshare -rn sh -c "$inside" sh "$@"
fi
exec node --test --test-timeout="${TEST_TIMEOUT_MS:-300000}" "$@"
