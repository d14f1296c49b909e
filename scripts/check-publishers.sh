#!/bin/sh
# Publishes with GStreamer's rtmp2sink and rtmpsink (which is librtmp's), and with ffmpeg over RTMPS, and looks whether
# pictures and sound arrive: scripts/check-publishers.py. Not part of CI.
set -eu
cd "$(dirname "$0")/.."
has() { gst-inspect-1.0 "$1" >/dev/null 2>&1; }
if ! has rtmp2sink || ! has rtmpsink || ! has x264enc || ! has avenc_aac; then
    echo 'check-publishers: installing GStreamer' >&2
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get install -y -q gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
        gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav >/dev/null
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null

check() {
    scripts/with-server.sh python3 -B scripts/check-publishers.py "$@"
}
live='[live]
listen = "127.0.0.1:0"'
GARIM_SETTINGS=$live check rtmp2sink rtmpsink ffmpeg
# TLS is that of the server: one server for RTMP alone, and one that speaks HTTPS and RTMPS.
GARIM_SETTINGS="[tls]
certificate = '$work/cert.pem'
key = '$work/key.pem'
[live]
tls_listen = '127.0.0.1:0'" SSL_CERT_FILE="$work/cert.pem" check ffmpeg
