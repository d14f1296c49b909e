#!/usr/bin/env python3
"""Publishes with each of the named publishers, and looks whether pictures and sound arrive.

    GARIM_SETTINGS='[live]
    listen = "127.0.0.1:0"' scripts/with-server.sh scripts/check-publishers.py rtmp2sink rtmpsink ffmpeg

All publish the same: moving bars of 640x360 and a tone. What a viewer gets has to be of that size, to move, and to be
loud.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

PATIENCE = 60  # seconds
SEGMENTS = 3
GSTREAMER = (
    "gst-launch-1.0 -q videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1 ! "
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=60 ! h264parse ! mux. "
    "audiotestsrc is-live=true wave=sine ! audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 ! "
    "avenc_aac ! aacparse ! mux. flvmux name=mux streamable=true ! {} location={}")
FFMPEG = (
    "ffmpeg -v error -nostdin -re -f lavfi -i testsrc=size=640x360:rate=30 -f lavfi -i sine=440:sample_rate=48000 "
    "-c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 60 -c:a aac -f flv {}")


def publisher(name, url):
    line = FFMPEG.format(url) if name == "ffmpeg" else GSTREAMER.format(name, url)
    return subprocess.Popen(line.split())


class Server:
    address, key = os.environ["GARIM_URL"], os.environ["GARIM_KEY"]

    def ask(self, path, body=None):
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        body = body and json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.address + path, body, headers), timeout=60) as answer:
            return json.load(answer)

    def fetch(self, path):
        with urllib.request.urlopen(self.address + path, timeout=60) as answer:
            return answer.read()


def watch(server, folder, process):
    """A file of the first segments that show the publisher."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"check-publishers: the publisher ended with {process.returncode}")
        try:
            text = server.fetch(folder + "media.m3u8").decode()
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            text = ""
        # The second header is the publisher's.
        after = re.split(r'#EXT-X-MAP:URI="', text)
        if len(after) > 1:
            header = after[-1].split('"')[0]
            names = [line for line in after[-1].splitlines()[1:] if line and not line.startswith("#")]
            if not header.endswith("init-0.mp4") and len(names) >= SEGMENTS:
                return b"".join(server.fetch(folder + name) for name in [header, *names[:SEGMENTS]])
        time.sleep(0.3)
    sys.exit(f"check-publishers: nothing was shown in {PATIENCE} s: {text}")


def judge(name, file):
    probe = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height", "-of", "json", file],
        check=True, capture_output=True)
    streams = {stream["codec_name"]: stream for stream in json.loads(probe.stdout)["streams"]}
    size = streams["h264"]["width"], streams["h264"]["height"]
    filters = ["-vf", "mpdecimate,showinfo", "-af", "volumedetect", "-f", "null", "-"]
    said = subprocess.run(["ffmpeg", "-nostdin", "-i", file, *filters], check=True, capture_output=True, text=True).stderr
    moving = len(re.findall(r"showinfo.* n: *[0-9]+ ", said))
    loud = float(re.search(r"mean_volume: ([-0-9.]+) dB", said)[1])
    print(f"{name}: {size[0]}x{size[1]}, {moving} different pictures in {SEGMENTS} segments, sound of {loud} dB")
    if size != (640, 360) or moving < 20 * SEGMENTS or loud < -40 or "aac" not in streams:
        sys.exit(f"check-publishers: {name}: that is not what was sent")


def main():
    server = Server()
    for name in sys.argv[1:]:
        started = server.ask("/v1/live/start", {"user": "tester"})
        live = started["destination_url"]["live"]
        folder = live[live.index("/live/"):].removesuffix("index.m3u8")
        process = publisher(name, started["source_url"])
        try:
            media = watch(server, folder, process)
        finally:
            process.kill()
            process.wait()
        with tempfile.TemporaryDirectory() as scratch:
            file = pathlib.Path(scratch, "shown.mp4")
            file.write_bytes(media)
            judge(f"{name} to {started['source_url'].split(':')[0]}", file)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                server.ask("/v1/live/stop", {"channel_id": started["channel_id"]})
                break
            except urllib.error.HTTPError as error:
                if error.code not in (409, 503) or time.monotonic() > end:
                    raise
            time.sleep(0.3)


main()
