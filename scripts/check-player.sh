#!/bin/sh
# Covers a video in which a face is in two of twenty groups of pictures, and plays the result in
# headless Chromium, with seeks into copied and encoded groups. Usage: check-player.sh GARIM
set -eu
garim=$1
footage=.garim/fixtures/pyfeat
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! command -v chromium >/dev/null; then
    echo 'check-player: installing chromium' >&2
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get install -y -q chromium >/dev/null
fi
ffmpeg -v error -stream_loop 6 -i $footage/no_face.mp4 -t 0.8 -i $footage/single_face.mp4 \
    -f lavfi -t 16 -i sine=440:sample_rate=48000 -filter_complex \
    "[0:v]fps=25,scale=640:360,setsar=1,split[x][y];[x]trim=end_frame=180[a];
     [y]trim=end_frame=200,hflip,setpts=PTS-STARTPTS[c];
     [1:v]fps=25,scale=640:360,setsar=1,trim=end_frame=20[b];[a][b][c]concat=n=3[v]" \
    -map '[v]' -map 2:a -c:v libx264 -preset medium -bf 3 -c:a aac \
    -x264-params keyint=20:min-keyint=20:scenecut=0 "$work/in.mp4"
"$garim" mosaic "$work/in.mp4" -o "$work/out.mp4" --report "$work/report.json"
grep -q '"mode": "smart"' "$work/report.json" || { echo 'nothing was copied' >&2; exit 1; }
# Around both joins (7.2 and 8 s), backwards and forwards, and far away.
scripts/check-player.py "$work/out.mp4" 7.9 7.1 7.22 8.02 7.5 15.5 0.1 7.18 7.98 8.5 3.3
