#!/bin/sh
# Measures the bridge: what players by URL cost, how soon a picture comes, how many streams a core carries. Starts a server of
# its own on loopback, with keys in a folder that goes away again; nothing else has to run, and better nothing else does.
#
#   sh tests/load/bridge.sh                    every scene
#   sh tests/load/bridge.sh players start      some of them: players, start, delay, streams, fan
#   SECONDS_EACH=30 VIEWERS=400 MERGES="0 30" sh tests/load/bridge.sh players
#   SERVER=path LOAD=path PORT=19000           as for scenes.sh
set -eu
cd "$(dirname "$0")/../.."
viewers=${VIEWERS:-400}
streams=${STREAMS:-100}
port=${PORT:-18180}
digits=1
scenes=${*:-players start delay streams fan}
# One user plays and publishes more than people do.
SET="signaling.joins_per_user_per_minute=100000 signaling.publishers_per_room=1000 signaling.members_per_room=1000 ${SET:-}"
. tests/load/server.sh

push_url() { echo "rtmp://127.0.0.1:$((port + 1))/push/1001?sdkappid=$app&userid=$1&usersig=$(ticket "$1")"; }

# show NAME JSON
show() {
    [ -n "$2" ] || { printf '%-34s failed: %s\n' "$1" "$(tail -n 1 "$folder/live")"; return; }
    count=$(value viewers "$2")
    each=$(awk "BEGIN { p = \"$(value server_cpu_percent "$2")\"; n = $count; print n ? p * 10000 / n : \"-\" }")
    printf '%-34s %7s %8s %10s %9s %9s %9s %8s %8s %8s\n' "$1" "$count" "$(value viewers_failed "$2")" "$(round "$each")" \
        "$(round "$(value server_cpu_us_per_packet "$2")")" "$(round "$(value rss_per_viewer_kb "$2")")" \
        "$(round "$(value first_frame_ms_p50 "$2")")" "$(round "$(value first_frame_ms_p95 "$2")")" \
        "$(round "$(value delay_ms_p50 "$2")")" "$(round "$(value delay_ms_p99 "$2")")"
}

# measure NAME KIND URL VIEWERS MORE…: published by RTMP, or by what `publish` says.
publish=rtmp
measure() {
    name=$1 kind=$2 url=$3 count=$4
    shift 4
    from=$(push_url pub)
    [ "$publish" = rtmp ] || from="http://127.0.0.1:$port/whip/1001/pub?sdkappid=$app"
    json=$(ROOMCAST_LOAD_TOKEN=$(ticket eye) ROOMCAST_LOAD_PUBLISH_TOKEN=$(ticket pub) "$load" play "--$kind" "$url" \
        "--publish-$publish" "$from" --viewers "$count" --seconds "$seconds" --pid "$pid" --json "$@" 2>"$folder/live") || true
    show "$name" "$json"
}

printf '%-34s %7s %8s %10s %9s %9s %9s %8s %8s %8s\n' scene players failed 'µs/player/s' µs/packet kB/player 'first p50' p95 'delay p50' p99

whep="http://127.0.0.1:$port/whep/1001/eye?sdkappid=$app&play=pub"
flv="http://127.0.0.1:$port/live/${app}_1001_pub_main.flv"
rtmp="rtmp://127.0.0.1:$((port + 1))/live/${app}_1001_pub_main"
for scene in $scenes; do
    case $scene in
    players)
        for merge in ${MERGES:-0 30 60 350}; do
            start "media.player_merge_ms=$merge"
            measure "FLV, merged for $merge ms" flv "$flv" "$viewers" --video-kbps 1300
            start "media.player_merge_ms=$merge"
            measure "RTMP, merged for $merge ms" rtmp "$rtmp" "$viewers" --video-kbps 1300
        done
        ;;
    start)
        # Three seconds between key frames; players come at any time between them.
        ffmpeg -v error -f lavfi -i testsrc2=size=640x360:rate=25 -f lavfi -i sine=frequency=440 -t 18 -c:v libx264 \
            -profile:v baseline -preset veryfast -tune zerolatency -g 75 -keyint_min 75 -sc_threshold 0 -b:v 1M -pix_fmt yuv420p \
            -c:a aac -f flv "$folder/three.flv"
        for kind in whep flv rtmp; do
            start
            case $kind in whep) url=$whep ;; flv) url=$flv ;; *) url=$rtmp ;; esac
            measure "start by $kind, key every 3 s" "$kind" "$url" 60 --file "$folder/three.flv" --joins-per-second 7
        done
        ;;
    delay)
        # From the publisher's sending of a picture to its arrival at a player. What browsers make of it: tests/chrome/delay.mjs.
        start
        measure 'delay, RTMP to WebRTC' whep "$whep" 5 --video-kbps 1300 --verify 1
        publish=whip
        start
        measure 'delay, WebRTC to FLV' flv "$flv" 5 --video-kbps 1300
        publish=rtmp
        ;;
    fan)
        start
        measure "RTMP to 100 WebRTC viewers" whep "$whep" 100 --video-kbps 1300
        ;;
    streams)
        start
        n=0
        while [ $n -lt "$streams" ]; do
            "$load" publish --rtmp "$(push_url "pub$n")" --seconds 600 --video-kbps 600 >/dev/null 2>&1 &
            publishers="$publishers $!"
            n=$((n + 1))
        done
        value_of() { curl -s "http://127.0.0.1:$port/metrics" | sed -n "s/^$1 //p"; }
        # until_all NAME: all streams are there, or nearly so after half a minute.
        until_all() {
            tries=0
            until [ "$(value_of "$1")" = "$streams" ] || [ $tries -ge 100 ]; do
                tries=$((tries + 1))
                sleep 0.3
            done
        }
        until_all roomcast_streams
        # Sound that nobody hears is not transcoded: one listener for each.
        token=$(ticket eye)
        n=0
        while [ $n -lt "$streams" ]; do
            ROOMCAST_LOAD_TOKEN=$token "$load" play --whep "http://127.0.0.1:$port/whep/1001/eye?sdkappid=$app&play=pub$n" \
                --viewers 1 --seconds 600 >/dev/null 2>&1 &
            publishers="$publishers $!"
            n=$((n + 1))
        done
        until_all 'roomcast_transcodes{to="opus"}'
        ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$pid/stat"; }
        heard=$(value_of 'roomcast_transcodes{to="opus"}')
        before=$(ticks)
        sleep "$seconds"
        after=$(ticks)
        awk "BEGIN { cores = ($after - $before) / 100 / $seconds; \
            printf \"%s RTMP streams with sound into rooms, %s heard: %.2f cores, %.0f streams a core\n\", \
                $streams, \"$heard\", cores, $streams / cores }"
        ;;
    *)
        echo "there is no scene $scene" >&2
        exit 2
        ;;
    esac
done
