"""The tools under test, and running them so that their whole process tree is measured."""

import ctypes
import os
import shutil
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

    Processes that outlive the one that started them become ours and are waited for, so that no CPU time is
    lost. `wait4` counts a process together with the children it waited for.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    program = shutil.which(command[0])
    if program is None:
        raise RuntimeError(f"{command[0]} is not installed")
    with open(log, "wb") as out, open(os.devnull, "rb") as nothing:
        actions = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), 0)]
        actions += [(os.POSIX_SPAWN_DUP2, out.fileno(), number) for number in (1, 2)]
        start = time.monotonic()
        own = os.posix_spawn(program, [str(part) for part in command], os.environ, file_actions=actions)
    usage, code = Usage(0, 0, 0), 1
    while True:
        try:
            process, status, used = os.wait4(-1, 0)
        except ChildProcessError:
            break
        usage.cpu += used.ru_utime + used.ru_stime
        usage.rss = max(usage.rss, used.ru_maxrss / 1024)
        if process == own:
            code = os.waitstatus_to_exitcode(status)
            usage.wall = time.monotonic() - start
    if code != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}\nended with {code}:\n{Path(log).read_text(errors='replace')}")
    return usage
