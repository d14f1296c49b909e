"""Reading and writing clips, and the truth about them."""

import json
import struct
import subprocess
from dataclasses import dataclass

import av
import cv2
import numpy as np

# Reproducible times, and one core per evaluation.
cv2.setNumThreads(1)


@dataclass
class Face:
    """A face in one frame. `box` is x, y, width, height in coded pixels (before any rotation).

    `flag`: "" for a plain face; "hard" for one tiny, dark or mostly hidden; "ignore" for one that is not judged.
    """

    name: str
    flag: str
    box: tuple


@dataclass
class Truth:
    """Every face in every frame of a clip. `rotation` is the display matrix's, as ffprobe gives it."""

    width: int
    height: int
    rotation: int
    frames: list


def load_truth(path):
    """Reads a truth file: a head, and rows of frame, name, flag, x, y, width, height."""
    document = json.loads(path.read_text())
    frames = [[] for _ in range(document["frames"])]
    for index, name, flag, *box in document["faces"]:
        frames[index].append(Face(name, flag, tuple(box)))
    return Truth(document["width"], document["height"], document["rotation"], frames)


def rotation(path):
    """Degrees of the display matrix as ffprobe gives them: counter-clockwise, 0 to 270."""
    for data in probe(path, "v:0").get("side_data_list", []):
        if "rotation" in data:
            return round(float(data["rotation"])) % 360
    return 0


def probe(path, stream):
    """What ffprobe says of the first such stream; empty when there is none."""
    command = ["ffprobe", "-v", "error", "-select_streams", stream, "-show_streams", "-of", "json", str(path)]
    out = subprocess.run(command, check=True, capture_output=True).stdout
    return next(iter(json.loads(out).get("streams", [])), {})


def read(path):
    """Yields (time in seconds, picture) of every frame, pictures as coded, BGR."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for index, frame in enumerate(container.decode(stream)):
            time = frame.time if frame.time is not None else index / float(stream.average_rate or 25)
            yield time, frame.to_ndarray(format="bgr24")


def sound_hash(path):
    """A hash of the sound's packets; None when there is no sound."""
    if not probe(path, "a:0"):
        return None
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a:0", "-c", "copy", "-f", "md5", "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout


class Writer:
    """Encodes BGR pictures to H.264 in MP4, with a beeping tone as sound.

    `select` is an expression of ffmpeg's select filter: only those frames are kept, at their times.
    """

    def __init__(self, path, size, fps, options, select=""):
        raw = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{size[0]}x{size[1]}", "-r", str(fps), "-i", "-"]
        tone = ["-f", "lavfi", "-i", "sine=frequency=440:beep_factor=4:sample_rate=48000", "-shortest"]
        video = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", *options]
        if select:
            video += ["-vf", f"select='{select}'", "-fps_mode", "vfr"]
        command = ["ffmpeg", "-v", "error", "-y", *raw, *tone, *video, "-c:a", "aac", "-b:a", "64k", str(path)]
        self.ffmpeg = subprocess.Popen(command, stdin=subprocess.PIPE)

    def __enter__(self):
        return self

    def write(self, picture):
        self.ffmpeg.stdin.write(np.ascontiguousarray(picture).tobytes())

    def __exit__(self, kind, error, trace):
        self.ffmpeg.stdin.close()
        if self.ffmpeg.wait() != 0 and error is None:
            raise RuntimeError("ffmpeg could not write a clip")


def turn(path):
    """Writes a display matrix of a quarter turn (ffprobe: -90) into the video track of an MP4.

    Into the bytes of its track header (ISO/IEC 14496-12, 8.3.2), because the option's name differs between
    versions of ffmpeg.
    """
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd")
    start = header + 44  # of the matrix, in a version 0 header
    data[start : start + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
