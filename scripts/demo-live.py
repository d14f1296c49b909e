#!/usr/bin/env python3
"""Goes live for 20 seconds and saves what a viewer gets.

    GARIM_SETTINGS='[live]
    listen = "127.0.0.1:0"' scripts/with-server.sh scripts/demo-live.py CLIP PHOTO OUTPUT.mp4

The man of the photo agrees to be seen; ffmpeg publishes the clip, and another ffmpeg watches the HLS address like any
player. Needs ffmpeg and nothing else.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

SECONDS = 20


def ask(url, headers, body, kind="application/json"):
    """What a POST gives."""
    request = urllib.request.Request(url, body, {**headers, "Content-Type": kind}, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def enrol(address, headers, photo):
    """Somebody who agrees to be seen, known by one photo."""
    fields = {"collection": "shop", "name": "Man", "given_by": "Man", "how": "demo"}
    head = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'
    texts = "".join(head.format(name) + f"{value}\r\n" for name, value in fields.items())
    photo_head = '--x\r\nContent-Disposition: form-data; name="photo"; filename="photo.jpg"\r\n\r\n'
    form = (texts + photo_head).encode() + photo.read_bytes() + b"\r\n--x--\r\n"
    return ask(f"{address}/v1/people", headers, form, "multipart/form-data; boundary=x")


def watch(url, output):
    """Saves what a viewer gets, from the first picture of the publisher's on."""
    return subprocess.run(
        ["ffmpeg", "-v", "error", "-nostdin", "-y", "-live_start_index", "-1", "-i", url,
         "-t", str(SECONDS), "-c", "copy", "-movflags", "+faststart", output]).returncode


def main():
    clip, photo, output = map(pathlib.Path, sys.argv[1:])
    address, headers = os.environ["GARIM_URL"], {"Authorization": f"Bearer {os.environ['GARIM_KEY']}"}
    enrol(address, headers, photo)
    body = json.dumps({"user": "tester", "collection": "shop"}).encode()
    started = ask(f"{address}/v1/live/start", headers, body)
    publisher = subprocess.Popen(
        ["ffmpeg", "-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i", clip,
         "-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-g", "48",
         "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "flv", started["source_url"]])
    try:
        # Segments of the publisher's are in the playlist then.
        time.sleep(6)
        live = started["destination_url"]["live"]
        failed = watch(live if live.startswith("http") else address + live, output)
    finally:
        publisher.kill()
        publisher.wait()
    sys.exit(failed)


main()
