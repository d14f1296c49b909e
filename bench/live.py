"""The benchmark of live channels. Writes its own part of docs/BENCHMARKS.md.

    make bench-live                                                          about fifteen minutes
    .garim/bench/venv/bin/python -B bench/live.py --only cpu --only latency  only these, printed

Publishes real clips to a server on this machine, in real time, and looks at what viewers get. The numbers painted into
each frame (broadcast.py) say which frame it is, or when it was sent. Let nothing else run meanwhile.
"""

import argparse
import asyncio
import ctypes
import hashlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import broadcast
import browser
import cv2
import leaks
import peers
from broadcast import Clip
from channel import Channel, Live, cpu, resident
from service import put, row, share
from tools import PR_SET_CHILD_SUBREAPER
from viewers import Recorder, low_latency

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = Path(os.environ.get("GARIM_FIXTURES", ROOT / ".garim/fixtures"))
CLIPS = ROOT / ".garim/bench/live"
NUMBERS = ROOT / ".garim/bench/live.json"
WARM, SECONDS = 10, 30  # of a broadcast: what counts for nothing, and what is measured
VIEWERS = 50

FACES = FIXTURES / "pyfeat/WolfgangLanger_Pexels.mp4"  # 640x360
FOUR = "[0:v]fps=30,split=4[a][b][c][d];[a][b]hstack[x];[c][d]hstack[y];[x][y]vstack,scale={}:{}[v]"
HD = Clip(CLIPS / "faces720.mp4", 1280, 720, "30")
FULL_HD = Clip(CLIPS / "faces1080.mp4", 1920, 1080, "30")


def make_clips():
    """Four faces in every frame, in as many bits as streamers send."""
    for clip, megabits in ((HD, 4), (FULL_HD, 8)):
        options = ["-preset", "veryfast", "-b:v", f"{megabits}M", "-maxrate", f"{megabits}M", "-bufsize", f"{megabits}M"]
        broadcast.make(clip, [FACES], FOUR.format(clip.width, clip.height), options, 2 * (WARM + SECONDS))


# Each section gives rows of the table.


def latency(garim, folder):
    """Glass to glass in a browser."""
    server = Live(garim, folder)
    channel = Channel(server)
    yield from played("Garim", "hls", channel.publish, channel.url, lambda: [server.process.pid, channel.child], target=3)
    server.stop()


def relays(_, folder):
    """The same publisher and browser, with servers that cover nothing."""
    for name, start in (("nginx-rtmp, HLS", peers.nginx), ("node-media-server, HTTP-FLV", peers.node_media_server)):
        place = folder / start.__name__
        place.mkdir()
        server = start(place)
        time.sleep(1)
        yield from played(f"{name} (relays only)", server.kind, server.publish, server.url, server.pids, ready=server.wait)
        server.stop()


def played(name, kind, publish, url, pids, target=None, ready=lambda: None):
    """Films, and watches it in a browser."""
    camera = broadcast.Camera(HD, publish)
    ready()
    time.sleep(WARM)  # who comes to a broadcast that is under way has another start than the first viewer
    low_latency_hls = kind == "hls" and target
    player = hls_js() if kind == "hls" else peers.mpegts_js()
    before, start = cpu(*pids()), time.monotonic()
    seen = browser.watch(kind, url, player, browser.LOW_LATENCY if low_latency_hls else {}, WARM + SECONDS)
    used, memory = (cpu(*pids()) - before) / (time.monotonic() - start), resident(*pids())
    camera.stop()
    ages = [old / 1000 for at, old in seen["ages"] if at >= WARM * 1000]
    p50, p95 = share(ages, 0.5), share(ages, 0.95)
    late = 1000 * share(camera.late, 0.95)
    text = f"{name}: glass to glass, p95 (p50 {p50:.2f} s, most {max(ages):.2f} s; stalls: {seen['waits']}; the camera was late by {late:.0f} ms, p95)"
    yield row(text, f"{p95:.2f} s", f"at most {target:.1f} s" if target else "-", p95 <= target if target else None)
    yield row(f"the same: CPU with one viewer; memory {memory:.0f} MiB", f"{used:.2f} cores", "-", None)


def hls_js():
    """The one that Garim's page has."""
    found = list((ROOT / ".garim/web").glob("hls-*.min.js"))
    if not found:
        sys.exit("bench: hls.js is missing: run `make setup`")
    return found[0]


def one_channel(garim, folder):
    """CPU and memory of a channel, next to a plain transcode, taking turns."""
    plain, runs = [], []
    for number in range(3):
        plain.append(transcode(HD))
        runs.append(broadcast_on(garim, folder / str(number), HD, 1))
        print(f"bench: {plain[-1]:.1f} s of CPU, channel {runs[-1]['cpu'][0]:.1f} s", flush=True)
    own, middle = statistics.median(plain), statistics.median(run["cpu"][0] for run in runs)
    server = statistics.median(run["server"] for run in runs)
    early, late = (max(run["rss"][0][at] for run in runs) for at in (0, 1))
    text = f"CPU of a 720p30 channel over `ffmpeg` at superfast ({middle / SECONDS:.2f} and {own / SECONDS:.2f} cores)"
    yield row(text, f"{middle / own:.2f}x", "at most 2.0x", middle <= 2 * own)
    yield row("the same: the server's own process", f"{server / SECONDS:.3f} cores", "-", None)
    yield row(f"the same: memory after {WARM + SECONDS} s (after {WARM} s: {early:.0f} MiB)", f"{late:.0f} MiB", "below 300 MB", late * 1.048576 < 300)
    yield frames_row("one 720p30 channel", runs)


def full_load(garim, folder):
    """What two cores are to carry."""
    for name, clip, count in (("two 720p30 channels", HD, 2), ("one 1080p30 channel", FULL_HD, 1)):
        run = broadcast_on(garim, folder / name.replace(" ", "-"), clip, count)
        yield frames_row(name, [run])
        memory = " and ".join(f"{late:.0f} ({early:.0f})" for early, late in run["rss"])
        yield row(f"the same: CPU of the channels; memory after {WARM + SECONDS} s (after {WARM} s) {memory} MiB", f"{sum(run['cpu']) / SECONDS:.2f} cores", "-", None)


def transcode(clip):
    """CPU seconds of a plain transcode of the seconds that are measured."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-ss", str(WARM), "-t", str(SECONDS), "-i", clip.path, "-c:v", "libx264"]
    command += ["-preset", "superfast", "-b:v", "3M", "-an", "-f", "null", "-"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def broadcast_on(garim, folder, clip, count):
    """Broadcasts a clip on so many channels at once.

    Gives {"cpu": [s of each channel], "server": s, "rss": [[MiB early, late] of each], "states": what `protection`
    said meanwhile, "frames": [what `frames` gives of each]}.
    """
    server = Live(garim, folder)
    channels = []
    for number in range(count):
        channels.append(Channel(server, f"user{number}", known=[channel.child for channel in channels]))
    recorders = [Recorder(channel.media) for channel in channels]
    publishers = [broadcast.Publisher(clip, channel.publish) for channel in channels]
    time.sleep(WARM)
    early = [resident(channel.child) for channel in channels]
    before, server_before = [cpu(channel.child) for channel in channels], server.cpu()
    states = []
    for _ in range(SECONDS):
        time.sleep(1)
        states += [channel.protection() for channel in channels]
    used, server_used = [cpu(channel.child) - was for channel, was in zip(channels, before)], server.cpu() - server_before
    late = [resident(channel.child) for channel in channels]
    for stopped in (*publishers, *recorders, server):
        stopped.stop()
    return {"cpu": used, "server": server_used, "rss": list(zip(early, late)), "states": states, "frames": [frames(recorder) for recorder in recorders]}


def frames(recorder):
    """What viewers got of the frames from WARM on: how many, and how many of them again; how many were dropped, and slates."""
    numbers = [broadcast.number_in(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)) for picture in recorder.pictures()]
    first = next((at for at, number in enumerate(numbers) if number is not None and number >= WARM * 30), None)
    known = [number for number in numbers[first:] if number is not None] if first is not None else []
    if not known:
        raise SystemExit("bench: viewers got nothing of the clip")
    last = max(at for at, number in enumerate(numbers) if number is not None)
    different = len(set(known))
    return {"got": len(known), "again": len(known) - different, "dropped": known[-1] - known[0] + 1 - different, "slates": last + 1 - first - len(known)}


def frames_row(name, runs):
    each = [frames for run in runs for frames in run["frames"]]
    total = {key: sum(frames[key] for frames in each) for key in each[0]}
    states = [state for run in runs for state in run["states"]]
    said = ", ".join(f"{state} {states.count(state) / len(states):.0%}" for state in sorted(set(states)))
    text = f"{name}: frames dropped, of {total['got'] - total['again'] + total['dropped']} (sent again: {total['again']}, slates: {total['slates']}; protection: {said})"
    return row(text, total["dropped"], "0", total["dropped"] == 0 and total["slates"] == 0)


def many_viewers(garim, folder):
    """What viewers of low-latency HLS cost."""
    server = Live(garim, folder)
    channel = Channel(server)
    publisher = broadcast.Publisher(HD, channel.publish)
    time.sleep(WARM)
    before = server.cpu()
    time.sleep(SECONDS / 2)
    alone = (server.cpu() - before) / (SECONDS / 2)
    before, start = server.cpu(), time.monotonic()
    got = asyncio.run(low_latency(server.port, channel.path.replace("index", "media"), VIEWERS, SECONDS))
    wall = time.monotonic() - start
    used = (server.cpu() - before) / wall
    publisher.stop()
    server.stop()
    text = f"{VIEWERS} viewers of low-latency HLS: CPU of the server above what it takes without ({alone:.3f} cores); {got['parts'] / wall / VIEWERS:.1f} parts a second each, {got['bytes'] / wall / 1e6:.1f} MB/s in all, bad answers: {got['bad']}"
    yield row(text, f"{used - alone:.3f} cores", "below 0.1", used - alone < 0.1 and not got["bad"])


def uncovered(garim, folder):
    """What viewers see of faces."""
    shows = list(leaks.measure(garim, FIXTURES, CLIPS, folder))
    for show, seen in shows:
        print(f"bench: {show.name}: {seen}", flush=True)
    strangers = [seen for show, seen in shows if not show.kept]
    faces, shown = sum(seen.faces for seen in strangers), sum(len(seen.leaks) for seen in strangers)
    pictures, slates, unread, missing = (sum(getattr(seen, key) for seen in strangers) for key in ("pictures", "slates", "unread", "missing"))
    text = f"{len(strangers)} clips, nobody kept: leaks of {faces} plain faces of {leaks.SMALLEST} px and more ({pictures} pictures; slates: {slates}, without a number: {unread}, frames missing: {missing})"
    yield row(text, f"{shown} ({shown / faces:.2%})", "at most 0.50 %", shown <= 0.005 * faces)
    hard, hard_shown = sum(seen.hard_faces for seen in strangers), sum(seen.hard_leaks for seen in strangers)
    yield row(f"the same: leaks of {hard} faces that are tiny, dark or mostly hidden", hard_shown, "-", None)
    area = sum(seen.covered_area for seen in strangers) / sum(seen.true_area for seen in strangers)
    yield row("the same: area covered over that of faces", f"{area:.1f}", "at most 4.0", area <= 4)
    for show, seen in shows:
        if show.kept:
            kept = seen.kept_shown / max(1, seen.kept_faces)
            yield row(f"{show.name}: he is shown, of {seen.kept_faces} frames after his first second", f"{kept:.1%}", "at least 90 %", kept >= 0.9)
            yield row(f"the same: leaks of {seen.faces} faces of the other", len(seen.leaks), "0", not seen.leaks)


SECTIONS = {"latency": latency, "cpu": one_channel, "load": full_load, "viewers": many_viewers, "leaks": uncovered, "peers": relays}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--garim", default=str(ROOT / "target/release/garim"), help="the program to measure")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="only this section (may be repeated); writes no page")
    parser.add_argument("--report-only", action="store_true", help="write the page from the last numbers of each section")
    args = parser.parse_args()
    measured = json.loads(NUMBERS.read_text()) if NUMBERS.exists() else {}
    if not args.report_only:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        make_clips()
        for name in args.only or SECTIONS:
            measured[name] = section(name, args.garim)
            NUMBERS.write_text(json.dumps(measured, indent=1))
    if not args.only:
        write([line for name in SECTIONS for line in measured[name]])


def section(name, garim):
    """Its rows, below one that says what the machine did besides."""
    load, ours, busy, start = os.getloadavg()[0], our_cpu(), machine_cpu(), time.monotonic()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for line in SECTIONS[name](garim, Path(folder)):
            rows.append(line)
            print(line, flush=True)
    others = (machine_cpu() - busy - our_cpu() + ours) / (time.monotonic() - start)
    program = hashlib.sha256(Path(garim).read_bytes()).hexdigest()[:12]
    text = f"*{name}*, {date.today()}, program {program}: load before {load:.1f}, others took {max(0, others):.1f} cores meanwhile"
    print(text, flush=True)
    return [row(text, "", "", None), *rows]


def our_cpu():
    """CPU seconds of this process and of all that it started, which are over by now."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def machine_cpu():
    """CPU seconds of everything on this machine: user, nice and system."""
    return sum(map(int, Path("/proc/stat").read_text().split()[1:4])) / os.sysconf("SC_CLK_TCK")


def processor():
    return next((line.partition(": ")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())


def write(rows):
    """Puts the table in its place in the page."""
    put("live", f"""## Live

`make bench-live`, written {date.today()}, on {os.cpu_count()} cores of {processor()}, Linux {platform.release()};
publisher, viewers and browser on the same machine. What is measured, and how:
[bench/README.md](../bench/README.md#live-channels). The line above each section says which program was measured (the
start of its SHA-256) and how many cores went to others: where that is more than 0.2, frames that were dropped and
latency say little.
""", rows)


if __name__ == "__main__":
    main()
