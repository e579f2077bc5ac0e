#!/bin/sh
# Measures the server in the scenes of docs/performance.md and prints a table. Starts a server of its own on loopback, with
# keys in a folder that goes away again; nothing else has to run, and better nothing else does.
#
#   sh tests/load/scenes.sh                     every scene
#   sh tests/load/scenes.sh watch rooms         some of them: watch, low, rooms, storm, churn, half
#   SECONDS_EACH=30 sh tests/load/scenes.sh     longer measurements (default 10)
#   SERVER=path LOAD=path sh tests/load/scenes.sh   other programs than those of target/release
#   PORT=19000                                  the first of the ports to use
#   SET="media.shards=2"                        further settings of the server
set -eu
cd "$(dirname "$0")/../.."
port=${PORT:-18080}
digits=2
scenes=${*:-watch low rooms storm churn half}
. tests/load/server.sh

# play NAME VIEWERS KBPS MORE…: publishes by WHIP and plays by WHEP.
play() {
    name=$1 viewers=$2 kbps=$3
    shift 3
    start
    eye=$(ticket eye)
    pub=$(ticket pub)
    json=$(ROOMCAST_LOAD_TOKEN=$eye ROOMCAST_LOAD_PUBLISH_TOKEN=$pub "$load" play \
        --whep "http://127.0.0.1:$port/whep/1001/eye?sdkappid=$app&play=pub" \
        --publish-whip "http://127.0.0.1:$port/whip/1001/pub?sdkappid=$app" \
        --viewers "$viewers" --video-kbps "$kbps" --seconds "$seconds" --pid "$pid" --json "$@" 2>"$folder/live") || true
    show "$name" "$json"
}

# rooms COUNT: rooms of six who all publish.
rooms() {
    start
    json=$("$load" rooms --signal "ws://127.0.0.1:$port/signal" --demo --publish --rooms "$1" --members 6 \
        --video-kbps 500 --seconds "$seconds" --pid "$pid" --json 2>"$folder/live") || true
    show "$1 rooms of 6, 500 kbit/s each" "$json"
}

show() {
    [ -n "$2" ] || { printf '%-34s failed: %s\n' "$1" "$(tail -n 1 "$folder/live")"; return; }
    printf '%-34s %8s %7s %6s %8s %8s %8s %8s %8s %7s %7s\n' "$1" \
        "$(round "$(value packets_per_second "$2")" | cut -d. -f1)" "$(value lost "$2")" "$(value dropped_here "$2")" \
        "$(round "$(value server_cpu_us_per_packet "$2")")" "$(round "$(value own_cpu_us_per_packet "$2")")" \
        "$(round "$(value rss_per_viewer_kb "$2")" | cut -d. -f1)" "$(round "$(value join_ms_p99 "$2")")" \
        "$(round "$(value first_frame_ms_p95 "$2")")" "$(round "$(value delay_ms_p50 "$2")")" \
        "$(round "$(value delay_ms_p99 "$2")")"
    storm=$(printf '%s' "$2" | sed -n 's/.*"storm":{\([^}]*\)}.*/\1/p')
    [ -z "$storm" ] || printf '  %s joined, %s failed, join p50 %s p99 %s ms\n' "$(value joins "$storm")" \
        "$(value failed "$storm")" "$(round "$(value join_ms_p50 "$storm")")" "$(round "$(value join_ms_p99 "$storm")")"
    case $1 in *churn*) printf '  %s joins, memory grew by %s kB while measured\n' "$(value joins "$2")" \
        "$(value rss_grown_kb "$2")" ;; esac
}

printf '%-34s %8s %7s %6s %8s %8s %8s %8s %8s %7s %7s\n' scene packets/s lost here 'srv us' 'own us' kB/view 'join99' \
    'frame95' 'dly50' 'dly99'
for scene in $scenes; do
    case $scene in
    watch) for n in 50 100 200 400; do play "1350 kbit/s to $n" "$n" 1350; done ;;
    low) for n in 50 100 200 400; do play "600 kbit/s to $n" "$n" 600; done ;;
    half)
        play "half load: 1350 kbit/s to 25" 25 1350 --verify 1
        # What takes about half of the shard's core.
        rooms 40 ;;
    storm) seconds_before=$seconds
        seconds=13
        play "100 watch, 100 joins/s for 10 s" 100 1350 --storm 100 --storm-seconds 10
        seconds=$seconds_before ;;
    churn) play "100 in churn, 5 s each" 100 600 --churn 5 ;;
    rooms) rooms 10 ;;
    *) echo "no such scene: $scene" >&2; exit 2 ;;
    esac
done
