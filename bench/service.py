"""The benchmark of the service: reads, uploads, face search. Writes its own part of docs/BENCHMARKS.md.

    make bench-service       about six minutes

Reads come in an open loop: each request has a time at which it is due, and what counts is from then to the end of its
answer, so a server that stalls is charged for all that had to wait (no coordinated omission). The generator
runs on the same machine; how late it was itself in sending is measured too. Needs nothing but Python.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import date
from pathlib import Path

import workers

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/BENCHMARKS.md"
LIMITS = "[limits]\nrequests_per_second = 100000\nburst = 100000\nconcurrent = 10000\n[jobs]\nworkers = 0\n"
RATE, SECONDS, CONNECTIONS = 1000, 20, 64
UPLOADS, SIZE = 100, 50_000_000


class Server:
    """`garim serve` on a free port, in a folder of its own."""

    def __init__(self, garim, folder, settings=""):
        (folder / "garim.toml").write_text(LIMITS + settings)
        command = [garim, "serve", "--config", folder / "garim.toml", "--data", folder / "data", "--listen", "127.0.0.1:0"]
        self.log = open(folder / "log", "w+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.key = self.process.stdout.readline().strip()
        deadline = time.monotonic() + 20
        while not (found := re.search(r"listening on http://127.0.0.1:(\d+)", Path(self.log.name).read_text())):
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(f"bench: the server did not start: {Path(self.log.name).read_text()}")
            time.sleep(0.05)
        self.port = int(found[1])

    def peak(self):
        """Largest resident set so far, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

    def cpu(self):
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def post(self, path, headers=None, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method="POST", data=body, headers={"Authorization": f"Bearer {self.key}", **(headers or {})})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.headers, answer.read()

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


async def answer(reader):
    """Status and body of one answer with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.I)
    body = await reader.readexactly(int(length[1])) if length else b""
    return int(head[9:12]), body


async def reads(server, path):
    """[seconds from when a request was due to the end of its answer], [seconds it was sent late], bad answers."""
    request = f"GET {path} HTTP/1.1\r\nHost: garim\r\nAuthorization: Bearer {server.key}\r\n\r\n".encode()
    total, taken, late, bad = RATE * SECONDS, [], [], 0
    start = time.monotonic() + 0.5
    numbers = iter(range(total))

    async def sender():
        nonlocal bad
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for number in numbers:
            due = start + number / RATE
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            late.append(time.monotonic() - due)
            writer.write(request)
            status, _ = await answer(reader)
            taken.append(time.monotonic() - due)
            bad += status != 200
        writer.close()

    await asyncio.gather(*(sender() for _ in range(CONNECTIONS)))
    return taken, late, bad, time.monotonic() - start


async def uploads(server):
    """Wall seconds of UPLOADS uploads at once; all must be whole."""
    piece = os.urandom(1 << 20)

    async def upload():
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        common = f"Host: garim\r\nAuthorization: Bearer {server.key}\r\nTus-Resumable: 1.0.0\r\n"
        writer.write(f"POST /v1/uploads HTTP/1.1\r\n{common}Upload-Length: {SIZE}\r\nContent-Length: 0\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = re.search(r"location: (\S+)", head, re.I)[1]
        writer.write(f"PATCH {path} HTTP/1.1\r\n{common}Upload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: {SIZE}\r\n\r\n".encode())
        left = SIZE
        while left:
            writer.write(piece[: min(left, len(piece))])
            left -= min(left, len(piece))
            await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.close()
        return head[9:12] == "204" and f"upload-offset: {SIZE}" in head.lower()

    start = time.monotonic()
    whole = await asyncio.gather(*(upload() for _ in range(UPLOADS)))
    return time.monotonic() - start, sum(whole)


def share(values, part):
    """The value that `part` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def search_ms():
    """Milliseconds (median, slowest) to find a face among 100,000 templates: an example of the crate `vision`."""
    command = ["cargo", "run", "--release", "--locked", "--quiet", "-p", "garim-vision", "--example", "gallery"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def row(name, value, target, met):
    return f"| {name} | {value} | {target} | {'yes' if met is True else '**no**' if met is False else '-'} |"


def put(name, text, rows):
    """Puts the part `name` of the page in its place: `text` and a table of `rows`, which it gives."""
    table = "\n".join(["| | measured | target | met |", "|---|---:|---:|---|", *rows])
    begin, end = f"<!-- {name}: written by bench/{name}.py -->", f"<!-- end of {name} -->"
    part = f"{begin}\n{text}\n{table}\n{end}"
    page = PAGE.read_text()
    start, stop = page.find(begin), page.find(end)
    page = page[:start] + part + page[stop + len(end) :] if start >= 0 else page.rstrip("\n") + "\n\n" + part + "\n"
    PAGE.write_text(page)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--garim", default=str(ROOT / "target/release/garim"), help="the program to measure")
    parser.add_argument("--dir", help="folder for the database and the uploads (5 GB)")
    args = parser.parse_args()
    load, rows = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        server = Server(args.garim, Path(folder))
        headers, _ = server.post("/v1/uploads", {"Tus-Resumable": "1.0.0", "Upload-Length": "1"})
        video = headers["Location"].rpartition("/")[2]
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}{headers['Location']}", method="PATCH", data=b"x", headers={"Authorization": f"Bearer {server.key}", "Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"})
        urllib.request.urlopen(request, timeout=30).close()
        _, body = server.post(f"/v1/videos/{video}/mosaic", {"Content-Type": "application/json"}, b"{}")
        job = json.loads(body)["id"]
        before = server.cpu()
        taken, late, bad, wall = asyncio.run(reads(server, f"/v1/jobs/{job}"))
        cpu = (server.cpu() - before) / wall
        p50, p99, sent = (1000 * share(*pair) for pair in ((taken, 0.5), (taken, 0.99), (late, 0.99)))
        rows.append(row(f"reads, {RATE} a second for {SECONDS} s: p99 (bad answers: {bad}, {len(taken) / wall:.0f} a second)", f"{p99:.1f} ms", "at most 10 ms", p99 <= 10 and not bad))
        rows.append(row(f"the same: p50; sent late by the generator: p99 {sent:.1f} ms; server's CPU: {cpu:.2f} cores", f"{p50:.1f} ms", "-", None))
        print(rows[-2], rows[-1], sep="\n", flush=True)
        wall, whole = asyncio.run(uploads(server))
        peak = server.peak()
        rows.append(row(f"{UPLOADS} uploads of {SIZE // 10**6} MB at once ({whole} whole): peak memory of the server", f"{peak:.0f} MiB", "below 300 MB", peak * 1.048576 < 300 and whole == UPLOADS))
        rows.append(row("the same: throughput, sealed and stored", f"{UPLOADS * SIZE / wall / 1e6:.0f} MB/s", "-", None))
        print(rows[-2], rows[-1], sep="\n", flush=True)
        server.stop()
    found = search_ms()
    rows.append(row("one face among 100,000 templates, slowest of 20", f"{found['slowest_ms']:.1f} ms", "below 20 ms", found["slowest_ms"] < 20))
    rows.append(row("the same: median", f"{found['median_ms']:.1f} ms", "-", None))
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        seconds, whole, one, two, same = workers.measure(lambda place, settings: Server(args.garim, place, settings), args.garim, Path(folder))
    rows.append(row(f"a video of {seconds:.0f} s in parts of {workers.PART} s: two workers, a core each, against one ({one:.0f} s and {two:.0f} s; the same bytes: {'yes' if same else 'NO'})", f"{one / two:.2f}x", "-", None))
    rows.append(row(f"the same by one worker: in parts against not split ({whole:.0f} s)", f"{one / whole:.2f}x the time", "-", None))
    text = f"""## Service

`make bench-service`, {date.today()}, on {os.cpu_count()} cores, load before {load:.1f}: SQLite and a folder, clients on the same
machine (which take CPU too). Reads are `GET /v1/jobs/{{id}}` with a key, in an open loop over {CONNECTIONS} connections, timed from
when they were due.
"""
    print(put("service", text, rows))


if __name__ == "__main__":
    main()
