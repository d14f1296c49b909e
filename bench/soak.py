"""One live channel for a long time, while its publisher and its child are killed now and then: does anything grow?

    make soak                   an hour
    GARIM_SOAK_MINUTES=3 make soak

Publishes 720p30 with two faces, in real time, to a server of its own, and watches as players of low-latency HLS do.
Prints a line every ten seconds, and what is wrong at the end: memory or delay that grew, a segment that is missing, a
change of the header. Needs ffmpeg and nothing else of Python.
"""

import argparse
import collections
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

from channel import Channel, Live, children, resident

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = Path(os.environ.get("GARIM_FIXTURES", ROOT / ".garim/fixtures"))
EVERY = 10  # seconds of a line
PUBLISHER, CHILD = 45, 70  # seconds between two kills, on average
AWAY = 4  # seconds that a publisher is away, at most
SETTLED = 0.25  # of the time, in which memory may grow
GROWTH = 48  # MiB that a process may use more in the last third than in the first one after that
LATER = 0.5  # seconds that viewers may be farther behind then
FAULTS = ("degraded", "blocked", "restored")


class Viewer(threading.Thread):
    """Asks for each part as soon as it is there. One of them takes down what it saw."""

    def __init__(self, playlist):
        super().__init__(daemon=True)
        self.playlist, self.folder = playlist, playlist.rpartition("/")[0]
        self.behind = collections.deque()  # seconds between the end of a part and when it was here
        self.segments, self.headers, self.wrong, self.waited = 0, set(), [], 0
        self.known, self.last = set(), None

    def run(self):
        query = ""
        while True:
            try:
                query = self.look(fetch(self.playlist + query).decode())
            except urllib.error.HTTPError as error:
                # 404: nothing was sent yet. 503: a part is late, because the child was killed.
                if error.code not in (404, 503):
                    self.wrong.append(f"the playlist: {error.code}")
                self.waited += 1
                query = ""
                time.sleep(0.2)
            except OSError as error:
                self.wrong.append(f"the playlist: {error}")
                return

    def look(self, text):
        """Takes what is new; gives how to ask for what comes next."""
        number, part, at, length = None, 0, None, 0.0
        names = []
        for line in text.splitlines():
            if found := re.match(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", line):
                number = int(found[1])
                if self.last is not None and number > self.last + 1:
                    self.wrong.append(f"segments {self.last + 1} to {number - 1} were gone")
            elif found := re.match(r'#EXT-X-MAP:URI="([^"]+)"', line):
                self.headers.add(found[1])
            elif line.startswith("#EXT-X-PROGRAM-DATE-TIME:"):
                at, length = datetime.fromisoformat(line.split(":", 1)[1].replace("Z", "+00:00")).timestamp(), 0.0
            elif found := re.match(r"#EXT-X-PART:.*?DURATION=([0-9.]+)", line):
                part, length = part + 1, length + float(found[1])
                names.append(re.search(r'URI="([^"]+)"', line)[1])
            elif line and not line.startswith("#"):
                if self.last is None or number > self.last:
                    self.segment(line)
                    self.last = number
                number, part = number + 1, 0
                if at is not None:
                    at, length = None, 0.0
        new = [name for name in names if name not in self.known]
        self.known = set(names)
        for name in new[-3:]:
            fetch(f"{self.folder}/{name}")
        if new and at is not None and part:
            self.behind.append((time.monotonic(), time.time() - at - length))
        return f"?_HLS_msn={number}&_HLS_part={part}"

    def segment(self, name):
        self.segments += 1
        try:
            if not fetch(f"{self.folder}/{name}"):
                self.wrong.append(f"{name} is empty")
        except urllib.error.HTTPError as error:
            self.wrong.append(f"{name}: {error.code}")


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()


def make_clip(path):
    """Two people, 720p30, in as many bits as streamers send."""
    subprocess.run(
        ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", FIXTURES / "made/two_people.mp4", "-t", "20",
         "-vf", "scale=1280:480,pad=1280:720:0:120,fps=30", "-c:v", "libx264", "-preset", "veryfast", "-b:v", "3M",
         "-maxrate", "3M", "-bufsize", "3M", "-g", "60", "-pix_fmt", "yuv420p", "-c:a", "aac", path], check=True)


def publish(clip, url):
    return subprocess.Popen(
        ["ffmpeg", "-v", "quiet", "-nostdin", "-re", "-stream_loop", "-1", "-i", clip, "-c", "copy", "-f", "flv", url])


def protections(server, channel):
    """How often each event of protection came, of the last hundred events."""
    events = server.get("/v1/events?limit=100")["items"]
    own = [e["type"].rpartition(".")[2] for e in events if e["data"].get("channel") == channel.id and "protection" in e["type"]]
    return {kind: own.count(kind) for kind in FAULTS}


def soak(garim, minutes, viewers, seed):
    fate = random.Random(seed)
    print(f"{minutes} minutes, {viewers} viewers, --seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_clip(folder / "clip.mp4")
        server = Live(garim, folder / "server")
        publisher = None
        try:
            server.enrol("shop", "Man", FIXTURES / "made/keep_man.jpg")
            channel = Channel(server, collection="shop")
            publisher = publish(folder / "clip.mp4", channel.publish)
            watching = [Viewer(channel.media) for _ in range(viewers)]
            for viewer in watching:
                viewer.start()
            lines = []
            begun = time.monotonic()
            killed = {"publisher": 0, "child": 0}
            next_line = begun + EVERY
            next_publisher = begun + fate.uniform(0.5, 1.5) * PUBLISHER
            next_child = begun + fate.uniform(0.5, 1.5) * CHILD
            back = None
            print("    time   server MiB   child MiB   behind s (most)   segments   killed: publisher, child   protection")
            while (now := time.monotonic()) < begun + minutes * 60:
                if server.process.poll() is not None:
                    sys.exit("soak: the server is gone")
                if publisher and now > next_publisher:
                    publisher.kill()
                    publisher.wait()
                    publisher, back = None, now + fate.uniform(0, AWAY)
                    killed["publisher"] += 1
                    next_publisher = now + fate.uniform(0.5, 1.5) * PUBLISHER
                if publisher is None and now > back:
                    publisher = publish(folder / "clip.mp4", channel.publish)
                if publisher and publisher.poll() is not None:
                    publisher = publish(folder / "clip.mp4", channel.publish)  # The one before was not missed yet.
                if now > next_child:
                    for pid in children(server.process.pid):
                        os.kill(pid, signal.SIGKILL)
                    killed["child"] += 1
                    next_child = now + fate.uniform(0.5, 1.5) * CHILD
                if now > next_line:
                    next_line += EVERY
                    lines.append(line(server, channel, watching, now - begun, killed))
                time.sleep(0.1)
            wrong = judge(lines, watching)
            channel.stop()
        finally:
            if publisher:
                publisher.kill()
                publisher.wait()
            server.stop()
    for what in wrong:
        print(f"soak: {what}", file=sys.stderr)
    print("nothing grew, and nothing was missing" if not wrong else "it did not hold")
    sys.exit(bool(wrong))


def line(server, channel, watching, at, killed):
    """Prints how it goes; gives [seconds, MiB of the server, MiB of its child, seconds behind]."""
    behind = []
    for viewer in watching:
        while viewer.behind:
            behind.append(viewer.behind.popleft()[1])
    own = resident(server.process.pid)
    try:
        child = resident(*children(server.process.pid))
    except (OSError, TypeError):
        child = 0  # It was just killed.
    middle, most = (statistics.median(behind), max(behind)) if behind else (float("nan"), float("nan"))
    protection = channel.protection()
    counts = ", ".join(f"{kind} {count}" for kind, count in protections(server, channel).items())
    print(f"{at:7.0f} s {own:10.1f} {child:11.1f} {middle:10.2f} ({most:.2f}) {watching[0].segments:10} "
          f"{killed['publisher']:12}, {killed['child']}   {protection} ({counts})", flush=True)
    return at, own, child, middle


def judge(lines, watching):
    """What is wrong, in words."""
    wrong = [f"viewer {n}: {what}" for n, viewer in enumerate(watching) for what in viewer.wrong]
    settled = lines[int(len(lines) * SETTLED) :]
    third = max(1, len(settled) // 3)
    middles = {}
    for column, name, most in ((1, "the server", GROWTH), (2, "the child", GROWTH), (3, "what viewers are behind", LATER)):
        early, late = (statistics.median(l[column] for l in part) for part in (settled[:third], settled[-third:]))
        middles[name] = (early, late)
        # Also when it is no number, because nothing was seen.
        if not late - early <= most:
            wrong.append(f"{name} went from {early:.2f} to {late:.2f}")
    for name, (early, late) in middles.items():
        print(f"{name}: {early:.2f}, later {late:.2f}")
    if len(watching[0].headers) > 2:
        wrong.append(f"the header changed {len(watching[0].headers) - 1} times, and not once")
    expected = lines[-1][0] / 2 - 15
    if watching[0].segments < expected:
        wrong.append(f"{watching[0].segments} segments came, of {expected:.0f}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--garim", default=ROOT / "target/release/garim", type=Path)
    parser.add_argument("--minutes", default=float(os.environ.get("GARIM_SOAK_MINUTES") or 60), type=float)
    parser.add_argument("--viewers", default=5, type=int)
    parser.add_argument("--seed", default=int(time.time()), type=int)
    told = parser.parse_args()
    soak(told.garim, told.minutes, told.viewers, told.seed)


main()
