"""The tools under test, and running them so that their whole process tree is measured."""

import ctypes
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Usage:
    """What a run took. CPU is user + system of every process it started, in seconds.

    `rss` is the largest resident set of any one process, in MiB: not the sum over processes.
    """

    cpu: float
    wall: float
    rss: float


def commands(garim, venv):
    """Each tool's name and its command line for (input, output)."""
    tools = {
        "ffmpeg": lambda i, o: ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", i, "-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-c:a", "copy", o],
    }  # fmt: skip
    for speed in ("fast", "balanced", "thorough"):
        tools[f"garim {speed}"] = lambda i, o, speed=speed: [garim, "mosaic", i, "-o", o, "--speed", speed, "--overwrite"]
    tools["garim fill"] = lambda i, o: [garim, "mosaic", i, "-o", o, "--effect", "fill", "--overwrite"]
    deface = [str(venv / "bin/python"), "-m", "deface.deface"]
    tools["deface"] = lambda i, o: [*deface, i, "-o", o]
    tools["deface mosaic"] = lambda i, o: [*deface, i, "-o", o, "--replacewith", "mosaic"]
    return tools


def measure(command, log):
    """Runs `command` to its end, its output into the file `log`; an error unless it exits with 0.

    A small process of its own starts and measures it (`watch`): Linux counts the memory of the process that
    starts another as the other's, until it becomes the new program, and this one is large.
    """
    watcher = [sys.executable, "-B", "-S", __file__, str(log), *map(str, command)]
    answer = subprocess.run(watcher, check=True, stdout=subprocess.PIPE, text=True).stdout
    code, *usage = json.loads(answer)
    if code != 0:
        said = Path(log).read_text(errors="replace")[-4000:]
        raise RuntimeError(f"{' '.join(map(str, command))}\nended with {code}:\n{said}")
    return Usage(*usage)


def watch(log, command):
    """Runs `command`; returns its exit code, CPU and wall seconds, and MiB.

    Processes that outlive the one that started them become ours and are waited for, so that no CPU time is
    lost. `wait4` counts a process together with the children it waited for.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with open(log, "wb") as out, open(os.devnull, "rb") as nothing:
        actions = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), 0)]
        actions += [(os.POSIX_SPAWN_DUP2, out.fileno(), number) for number in (1, 2)]
        start = time.monotonic()
        own = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    code, cpu, wall, memory = 1, 0.0, 0.0, 0.0
    while True:
        try:
            process, status, used = os.wait4(-1, 0)
        except ChildProcessError:
            return code, cpu, wall, memory
        cpu += used.ru_utime + used.ru_stime
        memory = max(memory, used.ru_maxrss / 1024)
        if process == own:
            code = os.waitstatus_to_exitcode(status)
            wall = time.monotonic() - start


if __name__ == "__main__":
    print(json.dumps(watch(sys.argv[1], sys.argv[2:])))
