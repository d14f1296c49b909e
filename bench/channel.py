"""A server with live channels, and what its processes take."""

import json
import os
import re
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from service import Server

PATIENCE = 30


class Live(Server):
    """A server that takes publishers."""

    def __init__(self, garim, folder):
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(garim, folder, f'[live]\nlisten = "127.0.0.1:{free_port()}"\n')

    def ask(self, path, body, user="admin"):
        return json.loads(self.post(path, {"Content-Type": "application/json", "Garim-User": user}, json.dumps(body).encode())[1])

    def get(self, path, user="admin"):
        headers = {"Authorization": f"Bearer {self.key}", "Garim-User": user}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def enrol(self, collection, name, photo):
        """Somebody who agrees to be seen."""
        texts = {"collection": collection, "name": name, "given_by": name, "how": "benchmark"}
        parts = [f'--x\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode() for key, value in texts.items()]
        parts.append(b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n' + photo.read_bytes())
        self.post("/v1/people", {"Content-Type": "multipart/form-data; boundary=x"}, b"".join(parts) + b"\r\n--x--\r\n")

    def child(self, known):
        """The process of a channel that is not among those known."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for pid in children(self.process.pid):
                if pid not in known and "child" in Path(f"/proc/{pid}/cmdline").read_text():
                    return pid
            time.sleep(0.1)
        sys.exit("bench: the channel has no process")


class Channel:
    """A channel of a user's, until it is stopped. `known`: processes of other channels."""

    def __init__(self, server, user="admin", collection=None, known=()):
        self.server, self.user = server, user
        started = server.ask("/v1/live/start", {"user": user, "collection": collection})
        self.id, self.publish = started["channel_id"], started["source_url"]
        path = started["destination_url"]["live"]
        self.path = path[path.index("/live/") :]
        self.url = f"http://127.0.0.1:{server.port}{self.path}"
        self.media = self.url.replace("index.m3u8", "media.m3u8")
        self.child = server.child(known)

    def protection(self):
        """In words."""
        protection = self.server.get(f"/v1/channels/{self.id}", self.user)["protection"]
        return " ".join(str(protection[key]) for key in ("state", "why") if protection.get(key))

    def stop(self):
        """Between two states it says so (409)."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.server.ask("/v1/live/stop", {"channel_id": self.id}, self.user)
            except urllib.error.HTTPError as error:
                if error.code != 409 or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def children(pid):
    """The processes that a process started."""
    text = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(word) for word in text.split()]


def cpu(*pids):
    """CPU seconds of these processes so far."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def resident(*pids):
    """The sum of their resident sets, in MiB."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(re.search(r"VmRSS:\s+(\d+)", text)[1]) for text in texts) / 1024
