"""Other live servers, which relay what comes and cover nothing."""

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from channel import children, free_port

HERE = Path(__file__).resolve().parent
HOME = HERE.parent / ".garim/bench/peers"
UNPACKED = HERE.parent / ".garim/bench/nginx/usr"

NGINX = """load_module {module};
daemon off; user root; worker_processes 1; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections 256; }}
rtmp {{ access_log off; server {{ listen 127.0.0.1:{rtmp}; application live {{
  live on; hls on; hls_path {folder}/hls; hls_fragment 2s; hls_playlist_length 20s; }} }} }}
http {{ access_log off; {temporary} types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }} server {{ listen 127.0.0.1:{http};
  location /hls {{ root {folder}; add_header Access-Control-Allow-Origin *; add_header Cache-Control no-cache; }} }} }}
"""


class Peer:
    """A server until it is stopped. `kind` is how it is played, `url` where."""

    def __init__(self, command, kind, url, publish, folder):
        self.kind, self.url, self.publish = kind, url, publish
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)

    def pids(self):
        return [self.process.pid, *children(self.process.pid)]

    def wait(self):
        """Until there is something to play. A stream over HTTP never ends, so only its head is read."""
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(self.url, timeout=5) as answer:
                    return answer.read(1)
            except (urllib.error.URLError, OSError):
                if time.monotonic() > deadline:
                    sys.exit(f"bench: nothing at {self.url}")
            time.sleep(0.2)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def nginx(folder):
    """nginx-rtmp as HLS, with segments as long as Garim's."""
    module = UNPACKED / "lib/nginx/modules/ngx_rtmp_module.so"
    if not module.exists():
        sys.exit("bench: nginx is missing: run `bench/setup.sh live`")
    rtmp, http = free_port(), free_port()
    (folder / "hls").mkdir()
    settings = folder / "nginx.conf"
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    settings.write_text(NGINX.format(temporary=temporary, module=module, folder=folder, rtmp=rtmp, http=http))
    command = [UNPACKED / "sbin/nginx", "-p", folder, "-e", folder / "log", "-c", settings]
    return Peer(command, "hls", f"http://127.0.0.1:{http}/hls/show.m3u8", f"rtmp://127.0.0.1:{rtmp}/live/show", folder)


def node_media_server(folder):
    """node-media-server 4 as HTTP-FLV: it makes no HLS."""
    rtmp, http = free_port(), free_port()
    settings = folder / "config.json"
    ports = {"rtmp": {"port": rtmp}, "http": {"port": http}}
    settings.write_text(json.dumps({"bind": "127.0.0.1", "store": {"path": str(folder / "data")}, "auth": {"play": False, "publish": False}, **ports}))
    command = ["node", installed() / "node_modules/node-media-server/bin/app.js", "-c", settings]
    return Peer(command, "flv", f"http://127.0.0.1:{http}/live/show.flv", f"rtmp://127.0.0.1:{rtmp}/live/show", folder)


def installed():
    """The folder of what package-lock.json pins, version and hash."""
    want = (HERE / "peers/package-lock.json").read_bytes()
    HOME.mkdir(parents=True, exist_ok=True)
    if not (HOME / "node_modules").exists() or (HOME / "package-lock.json").read_bytes() != want:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / "peers" / name, HOME / name)
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=HOME, check=True)
    return HOME


def mpegts_js():
    return installed() / "node_modules/mpegts.js/dist/mpegts.js"
