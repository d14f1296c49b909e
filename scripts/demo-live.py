#!/usr/bin/env python3
"""Goes live for 20 seconds and saves what a viewer gets.

    demo-live.py GARIM CLIP PHOTO OUTPUT.mp4

A server of its own, in a folder that is deleted, on free ports; the man of the photo agrees to be seen; ffmpeg
publishes the clip, and another ffmpeg watches the HLS address like any player. Needs ffmpeg and nothing else.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

SECONDS = 20


def serve(garim, folder):
    """Starts a server; gives it, its address, and the header with its key."""
    settings = folder / "garim.toml"
    settings.write_text('listen = "127.0.0.1:0"\n[live]\nlisten = "127.0.0.1:0"\n')
    server = subprocess.Popen(
        [garim, "serve", "--config", settings, "--data", folder / "data"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = []
    for line in server.stderr:
        log.append(line)
        if "listening on http" in line:
            address = line.split("listening on ")[1].strip()
            key = server.stdout.readline().strip()
            return server, address, {"Authorization": f"Bearer {key}"}
    sys.exit("the server did not start:\n" + "".join(log))


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
    garim, clip, photo, output = map(pathlib.Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        server, address, headers = serve(garim, pathlib.Path(folder))
        try:
            enrol(address, headers, photo)
            body = json.dumps({"user": "admin", "collection": "shop"}).encode()
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
        finally:
            server.terminate()
            server.wait()
    sys.exit(failed)


main()
