#!/bin/sh
# Makes clip.flv, the built-in test stream: a test card that loops without a seam.
#
# Needs ffmpeg (with libx264 and drawtext) and the DejaVu fonts (Debian: ffmpeg, fonts-dejavu-core).
# usage: web-demo/make-clip.sh [OUTPUT]
#
# Why 16 seconds: it is a whole number of video frames (400), of AAC frames (750 of 1024 samples at 48 kHz), of key frame
# intervals and of the periods of everything that moves. So whoever plays the clip in a circle adds exactly 16,000 ms a round.
# Why two rounds are encoded and the second is cut out: its first AAC frame then overlaps with what the last one of the round
# before really was, so that not even the encoder's start-up is heard at the seam. The very first AAC frame, which lies before
# time 0, is dropped, or the container would shift everything by its 21 ms.
# Lip-sync: at every full second a beep starts and, in the very frame, the dial flashes.
# Stamp: the 16 blocks at the lower edge are black or white and say which frame it is (web-demo/parts/stamp.js reads them), so that
# a page can tell how old a picture is.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/clip.flv}
fonts=/usr/share/fonts/truetype/dejavu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

round=16
rate=25

# The dial, white on transparent: a faint ring, an arc that runs round once a second, and the flash of the full second.
dial="format=rgba,geq=r=255:g=255:b=255:a='
st(0, hypot(X-75, Y-75)); st(1, mod(T+0.0001, 1)); st(2, mod(atan2(X-75, 75-Y)/(2*PI)+1, 1));
st(3, clip(4.5-abs(ld(0)-66), 0, 1));
st(4, clip(60-ld(0), 0, 1)*170*clip(1-ld(1)*4, 0, 1));
max(ld(3)*if(lt(ld(2), ld(1)+0.04), 255, 60), ld(4))'"

# The ball: a soft disc.
ball="format=rgba,geq=r=64:g=224:b=176:a='255*clip(11-hypot(X-12, Y-12), 0, 1)'"

text() { # size, font, x, y, colour, text
    printf "drawtext=fontfile=%s/%s.ttf:fontsize=%s:x=%s:y=%s:fontcolor=%s:text='%s'" "$fonts" "$2" "$1" "$3" "$4" "$5" "$6"
}

# One row of blocks, the most significant bit first: 1, 0 (what white and black look like), nine bits of the frame's number and
# five of checksum, which any one wrong bit spoils.
stamp="geq=lum='
st(0, mod(N, $((round * rate)))); st(1, 32768 + 32*ld(0) + mod(7*ld(0)+13, 31));
16 + 219*mod(floor(ld(1) / pow(2, 15-floor(X/40))), 2)':cb=128:cr=128"

bar() { # number 0-7, colour
    printf 'drawbox=x=%s:y=288:w=80:h=72:t=fill:color=%s' $(($1 * 80)) "$2"
}

ramp() { # number 0-15: grey steps above the bars
    level=$(($1 * 17))
    printf 'drawbox=x=%s:y=272:w=40:h=16:t=fill:color=0x%02x%02x%02x' $(($1 * 40)) $level $level $level
}

{
    # One still frame, kept for the whole clip: a dark ground that is lighter in the middle, the bars, the lettering.
    printf 'color=c=black:s=640x360:r=%s:d=0.04,format=rgb24,' "$rate"
    printf "geq=r='16+14*exp(-pow(hypot(X-440,Y-130)/260,2))':g='20+30*exp(-pow(hypot(X-440,Y-130)/260,2))':b='30+38*exp(-pow(hypot(X-440,Y-130)/260,2))'"
    n=0
    for colour in 0xbfbfbf 0xbfbf00 0x00bfbf 0x00bf00 0xbf00bf 0xbf0000 0x0000bf 0x101010; do
        printf ',%s' "$(bar $n $colour)"
        n=$((n + 1))
    done
    n=0
    while [ $n -lt 16 ]; do
        printf ',%s' "$(ramp $n)"
        n=$((n + 1))
    done
    printf ',drawbox=x=40:y=239:w=560:h=2:t=fill:color=white@0.18'
    printf ',%s' "$(text 52 DejaVuSans-Bold 38 58 white roomcast)"
    printf ',%s' "$(text 19 DejaVuSans 41 122 0xb8c4d6 'Test stream, always on')"
    printf ',%s' "$(text 14 DejaVuSans 41 162 0x8fa0b8 '640 x 360, 25 fps, H.264 and AAC')"
    printf ',%s' "$(text 14 DejaVuSans 41 184 0x8fa0b8 'Beep and flash come together')"
    printf ',loop=loop=-1:size=1,setpts=N/(%s*TB)[ground];\n' "$rate"

    printf 'color=c=black:s=150x150:r=%s,%s[dial];\n' "$rate" "$(printf '%s' "$dial" | tr -d '\n')"
    printf 'color=c=black:s=24x24:r=%s:d=0.04,%s,loop=loop=-1:size=1,setpts=N/(%s*TB)[ball];\n' "$rate" "$ball" "$rate"
    printf "color=c=black:s=640x16:r=%s,format=yuv420p,%s[stamp];\n" "$rate" "$(printf '%s' "$stamp" | tr -d '\n')"
    printf "[ground][dial]overlay=x=430:y=55[a];\n"
    printf "[a][stamp]overlay=x=0:y=344[b];\n"
    printf "[b][ball]overlay=x='308-268*cos(2*PI*t/4)':y=228:eval=frame,"
    printf "drawtext=fontfile=%s/DejaVuSansMono-Bold.ttf:fontsize=50:x=475:y=100:fontcolor=white:text='%%{eif\\:mod(floor(t+0.001),%s)\\:d\\:2}'," "$fonts" "$round"
    printf "drawtext=fontfile=%s/DejaVuSansMono.ttf:fontsize=17:x=495:y=152:fontcolor=0xb8c4d6:text='%%{eif\\:mod(n,%s)\\:d\\:2}'," "$fonts" "$rate"
    printf 'format=yuv420p[picture];\n'

    # The beep: soft attack, bell-like decay, half a second long; every fourth is a fifth higher.
    printf "aevalsrc=s=48000:c=stereo:exprs='"
    beep="0.16*sin(2*PI*if(lt(mod(floor(t),4),1),990,660)*t)*exp(-11*mod(t,1))*min(1,mod(t,1)*250)"
    printf "%s|%s'[sound]\n" "$beep" "$beep"
} >"$work/graph"

ffmpeg -hide_banner -loglevel error -y -filter_complex_script "$work/graph" -map '[picture]' -map '[sound]' -t $((round * 2 + 1)) \
    -c:v libx264 -profile:v baseline -level 3.1 -preset veryslow -tune animation -bf 0 -g $rate -keyint_min $rate -sc_threshold 0 \
    -b:v 360k -maxrate 520k -bufsize 520k -color_range tv \
    -c:a aac -profile:a aac_low -b:a 64k -ar 48000 -ac 2 -bsf:a "noise=drop=eq(n\\,0)" "$work/rounds.nut"

ffmpeg -hide_banner -loglevel error -y -ss $round -t $round -i "$work/rounds.nut" -map 0:v -map 0:a -c copy \
    -map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -f flv -flvflags no_duration_filesize "$out"

ls -l "$out"
