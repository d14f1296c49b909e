"""Viewers without a picture: one that keeps what it gets, and many that ask as hls.js does."""

import asyncio
import gzip
import re
import tempfile
import threading
import time
import urllib.error
import urllib.request

from video import read


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()


class Recorder:
    """Keeps every segment of a playlist, until it is stopped."""

    def __init__(self, playlist):
        self.playlist = playlist
        self.folder = playlist.rpartition("/")[0]
        self.parts, self.known, self.going = [], {}, True  # [[header, [segment, ...]], ...]
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while self.going:
            self.look()
            time.sleep(0.5)

    def look(self):
        try:
            lines = fetch(self.playlist).decode().splitlines()
        except urllib.error.HTTPError as error:
            if error.code != 404:  # nothing was sent yet
                raise
            return
        header = None
        for line in lines:
            if found := re.match(r'#EXT-X-MAP:URI="([^"]+)"', line):
                header = found[1]
            elif line and not line.startswith("#") and line not in self.known:
                self.known[line] = True
                if not self.parts or self.parts[-1][0] != header:
                    self.parts.append([header, [fetch(f"{self.folder}/{header}")]])
                self.parts[-1][1].append(fetch(f"{self.folder}/{line}"))

    def stop(self):
        """Looks once more."""
        self.going = False
        self.thread.join()
        self.look()

    def pictures(self):
        """Yields every picture that was sent, BGR, in order."""
        for _, pieces in self.parts:
            with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
                file.write(b"".join(pieces))
                file.flush()
                for _, picture in read(file.name):
                    yield picture


async def low_latency(port, path, count, seconds):
    """So many viewers who ask for each part before it is there.

    Gives {"parts": how many were got, "bad": answers that were not 200, "bytes": how many}.
    """
    got = {"parts": 0, "bad": 0, "bytes": 0}
    end = time.monotonic() + seconds
    await asyncio.gather(*(viewer(port, path, end, got) for _ in range(count)))
    return got


async def viewer(port, path, end, got):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    folder = path.rpartition("/")[0]

    async def ask(target):
        writer.write(f"GET {target} HTTP/1.1\r\nHost: garim\r\nAccept-Encoding: gzip\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.I)
        body = await reader.readexactly(int(length[1])) if length else await chunked(reader)
        got["bytes"] += len(body)
        if head[9:12] != b"200":
            got["bad"] += 1
        if re.search(rb"content-encoding: gzip", head, re.I):
            body = gzip.decompress(body)
        return body

    query, known = "", set()
    while time.monotonic() < end:
        text = (await ask(path + query)).decode()
        names = re.findall(r'#EXT-X-PART:[^\n]*URI="([^"]+)"', text)
        for name in names[-1:] if not known else [name for name in names if name not in known]:
            await ask(f"{folder}/{name}")
            got["parts"] += 1
        known.update(names)
        query = following(text)
    writer.close()


async def chunked(reader):
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


def following(text):
    """The query for the playlist that holds the next part, with what is old left out as hls.js asks for it."""
    first = int(re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", text)[1])
    skipped = re.search(r"#EXT-X-SKIP:SKIPPED-SEGMENTS=(\d+)", text)
    lines = text.splitlines()
    segments = [number for number, line in enumerate(lines) if line.startswith("#EXTINF")]
    after = lines[segments[-1] :] if segments else lines
    number = first + (int(skipped[1]) if skipped else 0) + len(segments)
    parts = sum(line.startswith("#EXT-X-PART:") for line in after)
    return f"?_HLS_msn={number}&_HLS_part={parts}&_HLS_skip=YES"
