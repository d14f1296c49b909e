"""A viewer in headless Chromium: how old each frame is when it is shown, by the time painted in it."""

import http.server
import json
import shutil
import subprocess
import tempfile
import threading
import urllib.parse

from broadcast import ACROSS, ROWS, SIDE

# Those of Garim's own page (crates/garim/src/http/watch/page.js).
LOW_LATENCY = {"lowLatencyMode": True, "maxLiveSyncPlaybackRate": 1.5, "liveMaxLatencyDuration": 5, "liveSyncDuration": 1.2, "backBufferLength": 30, "enableWorker": False}

PAGE = """<!doctype html><meta charset=utf-8><video id=v muted autoplay></video><script src=/player.js></script><script>
const {kind, url, settings, seconds} = %s, SIDE = %d, ACROSS = %d, ROWS = %d;
const v = document.getElementById('v'), c = document.createElement('canvas');
const g = c.getContext('2d', {willReadFrequently: true}), ages = [], errors = [];
let waits = 0, first = 0;
function age() {
  c.width = SIDE * ACROSS; c.height = ROWS;
  g.drawImage(v, 0, v.videoHeight - ROWS, c.width, ROWS, 0, 0, c.width, ROWS);
  const {data} = g.getImageData(0, 0, c.width, ROWS);
  let read = 0n;
  for (let y = SIDE >> 1; y < ROWS; y += SIDE)
    for (let x = SIDE >> 1; x < c.width; x += SIDE) read = read << 1n | (data[4 * (c.width * y + x)] > 128 ? 1n : 0n);
  const sent = Number(read >> 8n), sum = Number(read & 255n);
  if (((sent ^ sent >> 8 ^ sent >> 16 ^ 0xA5) & 0xFF) !== sum) return null;
  return ((Date.now() - sent) %% 16777216 + 16777216) %% 16777216;
}
function frame(now, meta) {
  const old = age(), at = performance.now();
  if (old !== null) { first = first || at; ages.push([Math.round(at - first), old]); }
  if (!first || at - first < seconds * 1000) return v.requestVideoFrameCallback(frame);
  const q = v.getVideoPlaybackQuality();
  const result = {ages, waits, errors, frames: q.totalVideoFrames, dropped: q.droppedVideoFrames};
  fetch('/result', {method: 'POST', body: JSON.stringify(result)});
}
v.requestVideoFrameCallback(frame);
v.addEventListener('waiting', () => { if (first) waits++; });
if (kind === 'hls') {
  const hls = new Hls(settings);
  hls.on(Hls.Events.ERROR, (_, e) => { errors.push(e.details); if (e.fatal) setTimeout(() => location.reload(), 500); });
  hls.on(Hls.Events.MANIFEST_PARSED, () => v.play());
  hls.loadSource(url); hls.attachMedia(v);
} else {
  const flv = mpegts.createPlayer({type: 'flv', isLive: true, url}, settings);
  flv.attachMediaElement(v); flv.load(); flv.play();
}
</script>"""


def watch(kind, url, player, settings, seconds, patience=90):
    """Plays a stream for so many seconds. `player` is the script of hls.js or mpegts.js.

    Gives {"ages": [[ms since the first frame, ms from sending to showing], ...], "waits", "errors", "frames", "dropped"}.
    """
    page = PAGE % (json.dumps({"kind": kind, "url": url, "settings": settings, "seconds": seconds}), SIDE, ACROSS, ROWS)
    answer, got = {}, threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            script = urllib.parse.urlsplit(self.path).path == "/player.js"
            body = player.read_bytes() if script else page.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if script else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            answer.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            got.set()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", "--autoplay-policy=no-user-gesture-required"]
        command += [f"--user-data-dir={profile}", f"http://127.0.0.1:{server.server_port}/"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        in_time = got.wait(seconds + patience)
        browser.kill()
        browser.wait()
    server.shutdown()
    if not in_time:
        raise SystemExit(f"bench: nothing was played of {url}")
    return answer
