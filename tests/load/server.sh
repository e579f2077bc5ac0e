# Read by scenes.sh and bridge.sh: a server of their own on loopback, with keys in a folder that goes away again. They set `port`,
# the first of the ports to use, and `digits`, those behind the point in their tables.

server=${SERVER:-target/release/roomcast}
load=${LOAD:-target/release/roomcast-load}
seconds=${SECONDS_EACH:-10}
app=1400000001

folder=$(mktemp -d)
pid=""
publishers=""
finish() {
    # shellcheck disable=SC2086 # each word is a process
    [ -z "$publishers" ] || kill $publishers 2>/dev/null || true
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT INT TERM

# start SETTING…: a fresh server, so that one scene's memory is not another's. The settings of SET hold for every one.
start() {
    [ -z "$pid" ] || { kill "$pid" && wait "$pid" || true; }
    # shellcheck disable=SC2046,SC2086 # each word is a setting
    "$server" --data "$folder/data" --log warn --set demo.test_stream=false --set media.shards=1 --set media.bind=127.0.0.1 \
        --set "media.first_port=$((port + 2))" --set "http.listen=127.0.0.1:$port" --set https.listen=off \
        --set "rtmp.listen=127.0.0.1:$((port + 1))" $(for one in ${SET:-} "$@"; do echo "--set $one"; done) \
        >"$folder/log" 2>&1 &
    pid=$!
    tries=0
    until grep -qs 'is running' "$folder/log"; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { cat "$folder/log" >&2; exit 1; }
        sleep 0.1
    done
}

ticket() {
    "$server" --data "$folder/data" --log warn sign --user "$1" --room 1001 | tr -d ' \n' | sed 's/.*"userSig":"\([^"]*\)".*/\1/'
}

# value NAME JSON: the first of that name.
value() { printf '%s\n' "$2" | grep -o "\"$1\":[^,}]*" | head -n 1 | cut -d: -f2; }
# A dash for what is not known.
round() { case $1 in '' | null) echo - ;; *) printf "%.${digits}f" "$1" ;; esac; }
