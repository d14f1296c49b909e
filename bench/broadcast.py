"""What is published to live channels: real clips with a number painted into every frame.

The number is that of the frame, or the time at which it was sent. It is two rows of black and white blocks in the
lower left corner, where no clip has a face whose cover would reach them. 24 bits of the number and 8 of a check, so
that a slate or a damaged frame has none. Two encodings leave them as they are.
"""

import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIDE, ACROSS, ROWS = 8, 16, 16  # pixels of a block; blocks in a row; pixels of both rows
WIDE = SIDE * ACROSS
MODULO = 1 << 24


def check(number):
    """Eight bits, not 0 for 0: a black corner has no number."""
    return (number ^ number >> 8 ^ number >> 16 ^ 0xA5) & 0xFF


def paint(frame, width, height, number):
    """Paints a number into a frame of yuv420p, an array of bytes."""
    number %= MODULO
    word = number << 8 | check(number)
    bits = np.array([word >> bit & 1 for bit in range(31, -1, -1)], np.uint8).reshape(2, ACROSS)
    luma, quarter = width * height, width * height // 4
    frame[:luma].reshape(height, width)[-ROWS:, :WIDE] = 16 + 219 * bits.repeat(SIDE, 0).repeat(SIDE, 1)
    for plane in (frame[luma : luma + quarter], frame[luma + quarter :]):
        plane.reshape(height // 2, width // 2)[-ROWS // 2 :, : WIDE // 2] = 128


def number_in(grey):
    """The number in a picture, an array of rows of grey values; None if it has none."""
    blocks = grey[-ROWS:, :WIDE].reshape(2, SIDE, ACROSS, SIDE)[:, 2:-2, :, 2:-2].mean((1, 3)) > 128
    word = int("".join("01"[int(bit)] for bit in blocks.ravel()), 2)
    return word >> 8 if word & 0xFF == check(word >> 8) else None


@dataclass
class Clip:
    """A file to publish. `fps` is a fraction as FFmpeg takes it."""

    path: Path
    width: int
    height: int
    fps: str


def rate(clip):
    over, _, under = clip.fps.partition("/")
    return float(over) / float(under or 1)


def make(clip, sources, graph, options, seconds=None):
    """Makes a clip whose frames are numbered from 0, with a tone; left alone if it was made by this recipe before.

    `graph` makes `[v]` of the sources, and is taken frame by frame.
    """
    recipe = repr((clip, sources, graph, options, seconds, Path(__file__).read_text()))
    stamp = clip.path.with_suffix(".stamp")
    if clip.path.exists() and stamp.exists() and stamp.read_text() == recipe:
        return
    clip.path.parent.mkdir(parents=True, exist_ok=True)
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:beep_factor=4:sample_rate=48000", "-shortest"]
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{clip.width}x{clip.height}", "-r", clip.fps, "-i", "-"]
    group = ["-g", str(round(2 * rate(clip))), "-bf", "0", "-sc_threshold", "0"]
    command = ["ffmpeg", "-v", "error", "-y", *raw, *tone, "-c:v", "libx264", *options, *group, "-c:a", "aac", "-b:a", "96k", clip.path]
    encoder = subprocess.Popen(command, stdin=subprocess.PIPE)
    for number, frame in enumerate(frames(clip, sources, graph, seconds)):
        paint(frame, clip.width, clip.height, number)
        encoder.stdin.write(frame)
    encoder.stdin.close()
    if encoder.wait() != 0:
        raise SystemExit(f"bench: {clip.path} could not be made")
    stamp.write_text(recipe)


def frames(clip, sources, graph, seconds):
    """Yields the frames as arrays of yuv420p."""
    size = clip.width * clip.height * 3 // 2
    inputs = [word for source in sources for word in ("-stream_loop", "-1" if seconds else "0", "-i", source)]
    limit = ["-t", str(seconds)] if seconds else []
    # Its complaints are about times, which raw frames do not have.
    command = ["ffmpeg", "-v", "fatal", *inputs, "-filter_complex", graph, "-map", "[v]", *limit]
    command += ["-fps_mode", "cfr" if seconds else "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
    decoder = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        while len(frame := decoder.stdout.read(size)) == size:
            yield np.frombuffer(bytearray(frame), np.uint8)
    finally:
        decoder.kill()
        decoder.wait()


class Publisher:
    """Sends a clip once, in real time and as it is, which takes next to no CPU."""

    def __init__(self, clip, url):
        command = ["ffmpeg", "-v", "error", "-nostdin", "-re", "-i", clip.path, "-c", "copy", "-f", "flv", url]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)

    def wait(self):
        self.process.wait()

    def stop(self):
        self.process.kill()
        self.process.wait()


class Camera:
    """Sends a clip again and again, encoded as it goes; each frame holds when it was handed to the encoder."""

    def __init__(self, clip, url):
        self.clip, self.going = clip, True
        command = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{clip.width}x{clip.height}", "-r", clip.fps, "-i", "-"]
        command += ["-f", "lavfi", "-i", "sine=frequency=440:beep_factor=4:sample_rate=48000"]
        command += ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-b:v", "4M", "-maxrate", "4M", "-bufsize", "4M"]
        command += ["-g", str(round(2 * rate(clip))), "-c:a", "aac", "-b:a", "96k", "-shortest", "-flush_packets", "1", "-f", "flv", url]
        self.encoder = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.late = []  # seconds by which frames were handed over too late
        self.thread = threading.Thread(target=self.film, daemon=True)
        self.thread.start()

    def film(self):
        every = 1 / rate(self.clip)
        begun = None
        for number, frame in enumerate(frames(self.clip, [self.clip.path], "[0:v]null[v]", 3600)):
            begun = begun or time.monotonic()
            wait = begun + number * every - time.monotonic()
            time.sleep(max(0, wait))
            self.late.append(max(0, -wait))
            paint(frame, self.clip.width, self.clip.height, round(time.time() * 1000))
            try:
                self.encoder.stdin.write(frame)
            except BrokenPipeError:
                return
            if not self.going:
                return

    def stop(self):
        self.going = False
        self.encoder.kill()
        self.encoder.wait()
        self.thread.join()
