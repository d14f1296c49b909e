"""One worker against two on a long video, for bench/service.py: each worker is a `garim worker` on a core of its own."""

import json
import subprocess
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / ".garim/fixtures/made/two_people.mp4"
TIMES, PART = 5, 15


def film(path):
    """The demo clip several times over: two people, 1280x480; gives its seconds."""
    command = ["ffmpeg", "-v", "error", "-stream_loop", str(TIMES - 1), "-i", CLIP, "-an", "-c:v", "libx264", "-preset", "veryfast", "-g", "48", path]
    subprocess.run(command, check=True)
    probe = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path]
    return float(subprocess.run(probe, check=True, capture_output=True, text=True).stdout)


class Workers:
    """A worker for each of these cores, beside a server that does no jobs."""

    def __init__(self, garim, folder, cores):
        command = [garim, "worker", "--slots", "1", "--config", folder / "garim.toml", "--data", folder / "data"]
        self.log = open(folder / "workers.log", "a")
        self.processes = [subprocess.Popen(["taskset", "-c", str(core), *command], stderr=self.log) for core in cores]

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(60)


def get(server, path):
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers={"Authorization": f"Bearer {server.key}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def upload(server, content):
    tus = {"Tus-Resumable": "1.0.0"}
    headers, _ = server.post("/v1/uploads", {**tus, "Upload-Length": str(len(content)), "Upload-Metadata": "original c2VhbA=="})
    path = headers["Location"]
    patch = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", "X-HTTP-Method-Override": "PATCH"}
    server.post(path, patch, content)
    return path.rpartition("/")[2]


def cover(server, video):
    """Seconds until a video is covered, and what was published of it."""
    start = time.monotonic()
    _, body = server.post(f"/v1/videos/{video}/mosaic", {"Content-Type": "application/json"}, b"{}")
    path = f"/v1/jobs/{json.loads(body)['id']}"
    while (state := get(server, path)["state"])["name"] not in ("done", "failed", "cancelled"):
        time.sleep(0.2)
    wall = time.monotonic() - start
    if state["name"] != "done":
        raise SystemExit(f"bench: the job did not succeed: {state}")
    url = get(server, f"/v1/videos/{video}")["published"]["urls"][0]
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{url}", timeout=60) as answer:
        return wall, answer.read()


def measure(start, garim, folder):
    """`start` gives a server with these settings in a folder. Gives [seconds of video, not split by one worker, one worker, two workers, the same bytes]."""
    content = folder / "film.mp4"
    seconds, walls, files = film(content), [], []
    for part, cores in ((0, [0]), (PART, [0]), (PART, [0, 1])):
        place = folder / f"{part}-{len(cores)}"
        place.mkdir()
        server = start(place, f"part_seconds = {part}\n")
        workers = Workers(garim, place, cores)
        video = upload(server, content.read_bytes())
        while get(server, f"/v1/videos/{video}")["info"] is None:
            time.sleep(0.1)
        wall, file = cover(server, video)
        walls.append(wall)
        files.append(file)
        workers.stop()
        server.stop()
    return seconds, *walls, files[1] == files[2]
