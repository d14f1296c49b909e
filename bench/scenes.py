"""Made scenes: real faces from photos move over real backgrounds on exact paths.

Each scene is a function that yields `(picture, faces)`: a BGR picture, and the truth about it as a list of
`Face`. They are harder than life in motion and easier in pose, so their rates are nobody's real-life rates.
"""

import json
import math
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import skimage

from video import Face, Writer, turn

HERE = Path(__file__).parent
STILLS = json.loads((HERE / "truth/stills.json").read_text())

TURN = 6  # frames of each person in `identities`

# Name of a person, the photo, which of its faces.
PEOPLE = {
    "woman-1": ("pyfeat/single_face.jpg", 0),
    "woman-2": ("pyfeat/0-f15-hao-ph.jpg", 0),
    "woman-3": ("pyfeat/15-f13-anc-ph.jpg", 0),
    "woman-4": ("pyfeat/0-f1-su-ph.jpg", 0),
    "profile": ("pyfeat/45-m7-di-ph.jpg", 0),
    "cage": ("clm/cage.jpg", 0),
    "audrey": ("clm/audrey.jpg", 0),
    "bieber": ("clm/bieber_small.jpg", 0),
    "connery": ("clm/SeanConnery.jpg", 0),
    "group-1": ("vladmandic/sample1.jpg", 0),
    "group-2": ("vladmandic/sample3.jpg", 0),
    "group-3": ("vladmandic/sample6.jpg", 0),
}
GROUPS = [
    "vladmandic/sample1.jpg", "clm/cage.jpg", "pyfeat/multi_face.jpg", "vladmandic/sample3.jpg",
    "clm/audrey.jpg", "vladmandic/sample5.jpg", "vladmandic/sample6.jpg", "pyfeat/single_face.jpg",
    "vladmandic/sample4.jpg", "pyfeat/Image_with_alpha.png", "vladmandic/sample2.jpg",
]  # fmt: skip


@dataclass
class Scene:
    """How to film a scene: `frames(fixtures)` yields pictures and their faces."""

    size: tuple[int, int]
    fps: int
    frames: object
    crf: int = 20
    turned: bool = False
    # Which frames are kept, and the same in ffmpeg's language.
    keep: object = field(default=lambda index: True)
    select: str = ""


class Head:
    """A cut-out head: pixels, soft elliptical alpha, and where the face box lies inside."""

    def __init__(self, fixtures, name, margin=1.75):
        photo, index = PEOPLE[name]
        image = cv2.imread(str(fixtures / photo))
        _, _, x, y, w, h = STILLS[photo][index]
        center_x, center_y, reach = x + w / 2, y + h * 0.42, max(w, h) * 0.5 * margin
        left, top = int(max(0, center_x - reach)), int(max(0, center_y - reach))
        right = int(min(image.shape[1], center_x + reach))
        bottom = int(min(image.shape[0], center_y + reach))
        self.name = name
        self.pixels = image[top:bottom, left:right].copy()
        self.box = (x - left, y - top, w, h)
        rows, columns = np.mgrid[: bottom - top, : right - left]
        radius_x, radius_y = w * 0.43 * margin, h * 0.43 * margin
        distance = ((columns + left - center_x) / radius_x) ** 2
        distance += ((rows + top - center_y) / radius_y) ** 2
        sides = [columns, rows, right - left - 1 - columns, bottom - top - 1 - rows]
        border = np.minimum.reduce(sides) / max(4, 0.04 * (right - left))
        alpha = np.clip((1.15 - distance) * 4, 0, 1) * np.clip(border, 0, 1)
        self.alpha = alpha.astype(np.float32)


@lru_cache(maxsize=None)
def head(fixtures, name):
    return Head(fixtures, name)


def paste(picture, person, x, y, width, roll=0.0):
    """Draws a head so that its face box is `width` wide and centred on (x, y), rolled by degrees.

    Returns the upright box around the rolled face ellipse, not clipped to the picture.
    """
    left, top, w, h = person.box
    scale = width / w
    angle = math.radians(roll)
    a, b = math.cos(angle) * scale, math.sin(angle) * scale
    middle_x, middle_y = left + w / 2, top + h / 2
    matrix = np.float32([[a, -b, x - a * middle_x + b * middle_y], [b, a, y - b * middle_x - a * middle_y]])
    half_w = math.hypot(w * scale / 2 * math.cos(angle), h * scale / 2 * math.sin(angle))
    half_h = math.hypot(w * scale / 2 * math.sin(angle), h * scale / 2 * math.cos(angle))
    box = (x - half_w, y - half_h, 2 * half_w, 2 * half_h)

    rows, columns = person.alpha.shape
    corners = np.float32([[0, 0], [columns, 0], [columns, rows], [0, rows]])
    corners = corners @ matrix[:, :2].T + matrix[:, 2]
    x0, y0 = (int(max(0, v - 1)) for v in corners.min(axis=0))
    x1 = int(min(picture.shape[1], corners[:, 0].max() + 2))
    y1 = int(min(picture.shape[0], corners[:, 1].max() + 2))
    if x1 <= x0 or y1 <= y0:
        return box
    matrix[:, 2] -= (x0, y0)
    pixels = person.pixels if scale > 0.5 else cv2.GaussianBlur(person.pixels, (0, 0), 0.4 / scale)
    pixels = cv2.warpAffine(pixels, matrix, (x1 - x0, y1 - y0), borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(person.alpha, matrix, (x1 - x0, y1 - y0))[..., None]
    under = picture[y0:y1, x0:x1]
    under[:] = (under * (1 - alpha) + pixels * alpha + 0.5).astype(np.uint8)
    return box


def visible(box, picture, name, hidden=0.0, flag=""):
    """The truth about a box: its part inside the picture, flagged by how much of it shows.

    `hidden` is the share of the box behind something. Less than .15 showing is ignored, less than .55 or a
    short side below 20 px is hard. None when nothing is inside.
    """
    x, y, w, h = box
    x0, y0 = max(0, x), max(0, y)
    x1, y1 = min(picture.shape[1], x + w), min(picture.shape[0], y + h)
    if x1 - x0 < 4 or y1 - y0 < 4:
        return None
    shown = (x1 - x0) * (y1 - y0) / (w * h) * (1 - hidden)
    if shown < 0.15 or flag == "ignore":
        flag = "ignore"
    elif shown < 0.55 or min(x1 - x0, y1 - y0) < 20:
        flag = "hard"
    return Face(name, flag, (x0, y0, x1 - x0, y1 - y0))


def behind_each_other(faces):
    """Flags faces that others, drawn later, lie over; drops the None."""
    faces = [face for face in faces if face]
    for index, face in enumerate(faces):
        x, y, w, h = face.box
        hidden = 0.0
        for other in faces[index + 1 :]:
            left, top, width, height = other.box
            across = max(0, min(x + w, left + width) - max(x, left))
            hidden += across * max(0, min(y + h, top + height) - max(y, top)) / (w * h)
        if hidden > 0.6:
            face.flag = "ignore"
        elif hidden > 0.15 and not face.flag:
            face.flag = "hard"
    return faces


class Background:
    """A photo with a little noise, larger than the picture, over which the camera pans."""

    def __init__(self, width, height, photo="motorcycle_left.png"):
        image = cv2.imread(str(Path(skimage.__file__).parent / "data" / photo))
        scale = max(width * 1.2 / image.shape[1], height * 1.2 / image.shape[0])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        noise = np.random.default_rng(7).normal(0, 4, image.shape[:2])[..., None]
        self.image = np.clip(image + noise, 0, 255).astype(np.uint8)
        self.width, self.height = width, height

    def at(self, phase):
        x = int((self.image.shape[1] - self.width) * (0.5 + 0.45 * math.sin(phase)))
        y = int((self.image.shape[0] - self.height) * (0.5 + 0.45 * math.cos(phase * 0.7)))
        return self.image[y : y + self.height, x : x + self.width].copy()


def entry(fixtures, width=1280, height=720, fps=30):
    """One person stays; others pop in for 15 and for 3 frames, sweep across, drop in from the top."""
    scenery = Background(width, height)
    stays, pops, sweeps, drops = (head(fixtures, n) for n in ("connery", "cage", "audrey", "woman-1"))
    for index in range(fps * 7):
        t = index / fps
        picture = scenery.at(t * 0.3)
        drawn = [(stays, width * 0.25 + 20 * math.sin(t * 2), height * 0.5 + 10 * math.cos(t * 3), 120, 5 * math.sin(t))]
        if 2 <= t < 2.5:
            drawn.append((pops, width * 0.7, height * 0.45, 140, 0))
        if 105 <= index < 108:
            drawn.append((pops, width * 0.75, height * 0.6, 110, 0))
        if 4 <= t < 5.2:
            drawn.append((sweeps, -100 + (t - 4) * 1300, height * 0.6, 100, 0))
        if t >= 5.5:
            drawn.append((drops, width * 0.62, -90 + (t - 5.5) * 400, 130, 10))
        yield picture, draw(picture, drawn)


def draw(picture, heads):
    """Pastes `(head, x, y, width, roll)` and returns what is visible of each."""
    return [visible(paste(picture, *one), picture, one[0].name) for one in heads]


def fast(fixtures, width=1280, height=720, fps=30):
    """Two faces move very fast, with motion blur: five exposures within two fifths of a frame."""
    scenery = Background(width, height, "coffee.png")
    one, two = head(fixtures, "connery"), head(fixtures, "woman-2")
    for index in range(fps * 6):
        exposures, faces = [], []
        for part in range(5):
            t = (index + part / 10) / fps
            picture = scenery.at(index / fps * 0.2)
            drawn = draw(picture, [
                (one, width * (0.5 + 0.4 * math.sin(t * (2 + t))), height * (0.45 + 0.2 * math.sin(t * 5)), 110, 20 * math.sin(t * 4)),
                (two, width * (0.5 + 0.42 * math.cos(t * 3.1)), height * (0.6 + 0.15 * math.cos(t * 7)), 80 + 30 * math.sin(t * 6), 0),
            ])  # fmt: skip
            faces = drawn if part == 2 else faces
            exposures.append(picture.astype(np.float32))
        yield np.mean(exposures, axis=0).astype(np.uint8), faces


def occlude(fixtures, width=1280, height=720, fps=30):
    """Two people cross behind two posts."""
    scenery = Background(width, height)
    one, two = head(fixtures, "bieber"), head(fixtures, "woman-3")
    posts = [(int(width * 0.32), int(width * 0.41)), (int(width * 0.62), int(width * 0.74))]
    for index in range(fps * 6):
        t = index / fps
        picture, x, faces = scenery.at(t * 0.2), width * (0.1 + t / 6 * 0.8), []
        boxes = [paste(picture, one, x, height * 0.4, 120), paste(picture, two, width - x, height * 0.62, 130)]
        for left, right in posts:
            picture[:, left:right] = (60, 70, 90)
        for box, person in zip(boxes, (one, two)):
            behind = sum(max(0, min(box[0] + box[2], right) - max(box[0], left)) for left, right in posts)
            hidden = min(1, behind / box[2])
            flag = "ignore" if hidden > 0.85 else "hard" if hidden > 0.45 else ""
            faces.append(visible(box, picture, person.name, hidden, flag))
        yield picture, faces


def zoom(fixtures, width=1920, height=1080, fps=25):
    """One face grows from 14 to 500 px, another shrinks from 200 to 14."""
    scenery = Background(width, height)
    grows, shrinks = head(fixtures, "woman-1"), head(fixtures, "cage")
    for index in range(fps * 5):
        t = index / fps
        picture = scenery.at(t * 0.2)
        large, small = 14 * (500 / 14) ** (t / 5), 200 * (14 / 200) ** (t / 5)
        yield picture, draw(picture, [(grows, width * 0.3, height * 0.5, large, 0), (shrinks, width * 0.78, height * 0.5, small, 0)])


def cuts(fixtures, width=1280, height=720, fps=25):
    """A slide show of groups with pans, zooms and hard cuts."""
    count = int(fps * 1.2)
    for photo in GROUPS:
        image = cv2.imread(str(fixtures / photo))
        rows, columns = image.shape[:2]
        for index in range(count):
            u = index / count
            scale = max(width / columns, height / rows) * (1.02 + 0.15 * u)
            x = (columns * scale - width) * (0.5 + 0.3 * (u - 0.5))
            y = (rows * scale - height) * (0.22 + 0.12 * u)
            if rows > 1.1 * columns:  # a portrait: the face fills the middle, the sides stay plain
                _, _, left, top, w, h = STILLS[photo][0]
                scale = (0.26 + 0.06 * u) * height / h
                x = (left + w / 2) * scale - width * (0.5 + 0.1 * (u - 0.5))
                y = max(0, (top + h / 2) * scale - height * 0.45)
            matrix = np.float32([[scale, 0, -x], [0, scale, -y]])
            smooth = image if scale > 0.6 else cv2.GaussianBlur(image, (0, 0), 0.35 / scale)
            picture = cv2.warpAffine(smooth, matrix, (width, height), borderValue=(70, 62, 55))
            faces = []
            for name, flag, *(left, top, w, h) in STILLS[photo]:
                box = (left * scale - x, top * scale - y, w * scale, h * scale)
                faces.append(visible(box, picture, name, flag=flag))
            yield picture, faces


def dark(fixtures, width=1280, height=720, fps=25):
    """The light goes out over four seconds; sensor noise stays."""
    scenery, random = Background(width, height), np.random.default_rng(3)
    one, two = head(fixtures, "connery"), head(fixtures, "woman-4")
    for index in range(fps * 4):
        t = index / fps
        picture = scenery.at(t * 0.2)
        faces = draw(picture, [(one, width * 0.3 + 40 * t, height * 0.5, 120, 0), (two, width * 0.8 - 30 * t, height * 0.45, 110, 0)])
        for face in faces:
            face.flag = face.flag or ("hard" if t > 3 else "")
        light = 255 * (picture / 255) ** 1.4 * (0.40 - 0.07 * t)
        yield np.clip(light + random.normal(0, 3, picture.shape), 0, 255).astype(np.uint8), faces


def portrait(fixtures, width=1280, height=720, fps=30):
    """As a phone films upright: 720x1280 shown, coded as 1280x720 with a display matrix."""
    scenery = Background(height, width)
    one, two = head(fixtures, "woman-2"), head(fixtures, "cage")
    for index in range(fps * 4):
        t = index / fps
        picture = scenery.at(t * 0.3)
        faces = draw(picture, [(one, height * 0.35 + 30 * math.sin(t * 2), width * 0.45, 150, 0), (two, height * 0.8, width * 0.62 - 60 * t, 100, 0)])
        for face in faces:  # from upright to coded
            if face:
                x, y, w, h = face.box
                face.box = (y, height - x - w, h, w)
        yield np.rot90(picture, 1), faces


def crowd(fixtures, width=3840, height=2160, fps=30):
    """Thirty faces of 22 to 170 px walk about in 4K."""
    scenery, random = Background(width, height), np.random.default_rng(5)
    everyone = [head(fixtures, name) for name in PEOPLE]
    walkers = []
    for index in range(30):
        x = (index % 8 + 0.5) * width / 8 + random.uniform(-120, 120)
        y = (index // 8 + 0.5) * height / 4 + random.uniform(-120, 120)
        walkers.append((everyone[index % len(everyone)], x, y, random.uniform(22, 170), random.uniform(-90, 90), random.uniform(-40, 40)))
    for index in range(60):
        t = index / fps
        picture = scenery.at(t * 0.1)
        faces = draw(picture, [(person, x + dx * t, y + dy * t, size, 0) for person, x, y, size, dx, dy in walkers])
        for number, face in enumerate(faces):
            if face:
                face.name += f"-{number}"
        yield picture, faces


def identities(fixtures, size=480):
    """Everyone in truth/people.json for TURN frames, 150 px wide, swaying; for re-identification."""
    for number, person in enumerate(json.loads((HERE / "truth/people.json").read_text())):
        image = cv2.imread(str(fixtures / person["photo"]))
        for index in range(TURN):
            matrix = person_to_frame(person, index, size)
            picture = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
            x0, y0, x1, y1 = person["box"]
            (left, top), (right, bottom) = (matrix[:, :2] @ (x, y) + matrix[:, 2] for x, y in ((x0, y0), (x1, y1)))
            yield picture, [visible((left, top, right - left, bottom - top), picture, str(number))]


def person_to_frame(person, index, size=480, width=150):
    """The matrix that takes a photo of people.json to frame `index` of its turn in `identities`."""
    x0, y0, x1, y1 = person["box"]
    scale = width / (x1 - x0) * (1 + 0.01 * index)
    x, y = size / 2 + 4 * math.sin(index), size / 2 + 1.5 * index - 8
    return np.float32([[scale, 0, x - scale * (x0 + x1) / 2], [0, scale, y - scale * (y0 + y1) / 2]])


SCENES = {
    "entry": Scene((1280, 720), 30, entry),
    "fast": Scene((1280, 720), 30, fast),
    "occlude": Scene((1280, 720), 30, occlude),
    "cuts": Scene((1280, 720), 25, cuts),
    "dark": Scene((1280, 720), 25, dark, crf=22),
    "portrait": Scene((1280, 720), 30, portrait, turned=True),
    # `entry` with frames missing: every second one for two seconds, later every third.
    "vfr": Scene(
        (1280, 720),
        30,
        entry,
        keep=lambda i: not (60 <= i < 120 and i % 2) and not (i > 150 and i % 3 == 1),
        select="not(between(n,60,119)*mod(n,2))*not(gt(n,150)*eq(mod(n,3),1))",
    ),
    "zoom1080": Scene((1920, 1080), 25, zoom),
    "crowd4k": Scene((3840, 2160), 30, crowd, crf=24),
    "identities": Scene((480, 480), 25, identities),
}


def film(name, fixtures, video, truth, limit=None):
    """Makes scene `name`, or its first `limit` frames: the clip `video` with sound, and its truth."""
    scene = SCENES[name]
    frames = []
    with Writer(video, scene.size, scene.fps, ["-crf", str(scene.crf)], scene.select) as writer:
        for index, (picture, faces) in enumerate(islice(scene.frames(fixtures), limit)):
            writer.write(picture)
            if scene.keep(index):
                frames.append(behind_each_other(faces))
    if scene.turned:
        turn(video)
    rows = [
        [index, face.name, face.flag, *(round(v, 1) for v in face.box)]
        for index, faces in enumerate(frames)
        for face in faces
    ]
    width, height = scene.size
    about = {"width": width, "height": height, "frames": len(frames), "rotation": -90 if scene.turned else 0}
    truth.write_text(json.dumps({**about, "faces": rows}))
