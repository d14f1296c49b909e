#!/usr/bin/env python3
"""Plays a video in headless Chromium, with seeks, and compares what it shows with FFmpeg.

    check-player.py VIDEO [SECONDS ...]

Seeks to each time (default: eleven over the whole length, forwards and back), draws the picture
that the browser shows, and compares it with the frame that FFmpeg decodes there. Then plays the
video to its end at four times the speed. Fails if a picture differs, a frame is corrupted, or the
end is not reached. Needs chromium, ffmpeg and nothing else.
"""

import base64
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

WIDTH, HEIGHT = 96, 54
# Mean difference of a channel, 0..255. Scalers and colour conversions differ by about 2.
MOST_DIFFERENCE = 8.0
TIMEOUT = 120

PAGE = """<!doctype html><meta charset=utf-8><video id=v muted src=/video></video><script>
const v = document.getElementById('v'), seeks = %s, result = {shots: []};
const event = name => new Promise((done, fail) => {
  v.addEventListener(name, done, {once: true});
  v.addEventListener('error', () => fail(v.error.message), {once: true});
});
const shown = () => new Promise(done => v.requestVideoFrameCallback((_, meta) => done(meta)));
function shot() {
  const c = document.createElement('canvas'); c.width = %d; c.height = %d;
  const g = c.getContext('2d'); g.drawImage(v, 0, 0, c.width, c.height);
  return btoa(String.fromCharCode(...g.getImageData(0, 0, c.width, c.height).data));
}
(async () => {
  try {
    if (v.readyState < 2) await event('loadeddata');
    result.length = v.duration;
    for (const t of seeks) {
      const [meta] = await Promise.all([shown(), event('seeked'), v.currentTime = t]);
      result.shots.push({asked: t, shown: meta.mediaTime, pixels: shot()});
    }
    v.currentTime = 0; await event('seeked');
    v.playbackRate = 4; const ended = event('ended'); await v.play(); await ended;
    const q = v.getVideoPlaybackQuality();
    result.corrupted = q.corruptedVideoFrames; result.frames = q.totalVideoFrames;
  } catch (e) { result.error = String(e); }
  await fetch('/result', {method: 'POST', body: JSON.stringify(result)});
})();
</script>"""


def serve(video, seeks):
    """Starts a server of the page and the video; gives it and where the answer will be."""
    answer, got = {}, threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            answer.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            got.set()

        def do_GET(self):
            if self.path != "/video":
                page = (PAGE % (json.dumps(seeks), WIDTH, HEIGHT)).encode()
                return self.reply(200, "text/html", page, {})
            size = os.path.getsize(video)
            asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            first, last = 0, size - 1
            if asked:
                first = int(asked[1])
                last = int(asked[2]) if asked[2] else last
            with open(video, "rb") as file:
                file.seek(first)
                body = file.read(last - first + 1)
            extra = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {first}-{last}/{size}"}
            self.reply(206 if asked else 200, "video/mp4", body, extra)

        def reply(self, status, kind, body, extra):
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": len(body), **extra}.items():
                self.send_header(name, str(value))
            self.end_headers()
            try:
                self.wfile.write(body)
            except ConnectionError:
                pass  # The browser has enough.

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, answer, got


def browse(url, got):
    """Opens the page and waits for its answer."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        sys.exit("chromium is missing: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        browser = subprocess.Popen(
            [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio",
             "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={profile}", url],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        in_time = got.wait(TIMEOUT)
        browser.kill()
        browser.wait()
    if not in_time:
        sys.exit(f"no answer from the page within {TIMEOUT} s")


def frame_at(video, seconds):
    """The frame FFmpeg shows from `seconds` on, as RGB."""
    command = ["ffmpeg", "-v", "error", "-i", video, "-vf",
               f"select=gte(t\\,{seconds - 0.0005}),scale={WIDTH}:{HEIGHT}:flags=area",
               "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def difference(shot, frame):
    """Mean difference of the channels; the browser's pixels are RGBA."""
    pixels = base64.b64decode(shot)
    rgb = [value for at, value in enumerate(pixels) if at % 4 != 3]
    return sum(abs(a - b) for a, b in zip(rgb, frame, strict=True)) / len(frame)


def main():
    video = sys.argv[1]
    length = float(subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", video],
        check=True, capture_output=True, text=True).stdout)
    seeks = [float(t) for t in sys.argv[2:]]
    seeks = seeks or [length * t for t in (.95, .05, .5, .45, .55, .3, .31, .9, .1, .7, .0)]
    server, answer, got = serve(video, seeks)
    browse(f"http://127.0.0.1:{server.server_port}/", got)
    failed = False
    for shot in answer.get("shots", []):
        off = difference(shot["pixels"], frame_at(video, shot["shown"]))
        wrong = off > MOST_DIFFERENCE or abs(shot["shown"] - shot["asked"]) > 0.2
        failed |= wrong
        print(f"seek {shot['asked']:7.3f} s: shows {shot['shown']:7.3f} s, "
              f"differs by {off:.1f}{' WRONG' if wrong else ''}")
    failed |= len(answer.get("shots", [])) != len(seeks)
    failed |= answer.get("corrupted") != 0 or "error" in answer
    print(f"played to the end: {answer.get('frames')} frames, {answer.get('corrupted')} corrupted"
          if "error" not in answer else f"failed: {answer['error']}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
