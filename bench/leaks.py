"""Do live channels leak? Publishes clips with truth, and judges the pixels that a viewer got.

Every picture that was sent is compared with the one of its number, so nothing has to be aligned.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import broadcast
from broadcast import ROWS, Clip, number_in, rate
from channel import Channel, Live
from evaluate import LEAK, changed_area, codec_noise, luma, shown_share
from video import Face, load_truth, probe, read
from viewers import Recorder

TRUTH = Path(__file__).resolve().parent / "truth"
SMALLEST = 24  # pixels of width from which on a face counts
TAIL = 6  # seconds until what is left of a broadcast was sent, in whole segments
COUNTED = ("pictures", "faces", "hard_faces", "hard_leaks", "true_area", "covered_area", "kept_faces", "kept_shown")
SAME = 12  # mean difference of 255 below which two pictures show the same


@dataclass
class Show:
    """A clip to publish, and the faces in each of its frames. `kept` is the name of who agreed to be seen."""

    name: str
    clip: Clip
    truth: list
    kept: str = ""


@dataclass
class Seen:
    """What viewers saw. Areas are sums over pictures, in pixels."""

    pictures: int = 0  # different ones
    slates: int = 0
    unread: int = 0  # pictures of the clip whose number cannot be read, which are not judged
    missing: int = 0  # frames between the first and the last that were never sent
    faces: int = 0
    leaks: list = field(default_factory=list)  # [frame, name]
    hard_faces: int = 0
    hard_leaks: int = 0
    true_area: float = 0
    covered_area: float = 0
    kept_faces: int = 0  # of the kept man, after his first second
    kept_shown: int = 0


def shows(fixtures, folder):
    """The open clips, and two of them side by side of which one man is kept."""
    made = []
    for path in sorted(TRUTH.glob("*.json")):
        if path.stem not in ("stills", "people"):
            source, truth = fixtures / json.loads(path.read_text())["video"], load_truth(path)
            made.append(Show(path.stem, clip_of(source, folder / path.name.replace("json", "mp4")), truth.frames))
    source = fixtures / "made/two_people.mp4"
    clip = clip_of(source, folder / "two_people.mp4")
    both = two_people(round(rate(clip), 3))
    return [*made, Show("two_people", clip, both), Show("two_people, one kept", clip, both, "man")]


def clip_of(source, path):
    """The frames of a file, with numbers in rows of their own below the picture."""
    said = probe(source, "v:0")
    fps = said["r_frame_rate"] if said["r_frame_rate"] != "120/1" else "30/1"  # one clip says so wrongly
    clip = Clip(path, said["width"], said["height"] + ROWS, fps)
    broadcast.make(clip, [source], f"[0:v]pad=iw:ih+{ROWS}[v]", ["-preset", "veryfast", "-crf", "16"])
    return clip


def two_people(fps):
    """The faces of made/two_people.mp4, by the recipe that makes it (xtask/src/made.rs)."""
    left, right = load_truth(TRUTH / "pyfeat_wolfgang.json").frames, load_truth(TRUTH / "clm_cap12.json").frames
    both = []
    for number in range(len(left)):
        man = right[min(len(right) - 1, round(number * 25 / fps))]
        placed = [placed_at(face, 854 / 640, 480 / 360, -214) for face in left[number]]
        both.append([face for face in placed if face] + [placed_at(face, 1.6, 1.6, 640) for face in man])
    return both


def placed_at(face, wide, high, right):
    """A face in a picture that was scaled and moved; None if it is cut off, which is nobody's leak."""
    x, y, w, h = face.box
    box = (x * wide + right, y * high, w * wide, h * high)
    flag = face.flag if right > 0 or (box[0] >= 0 and box[0] + box[2] <= 640) else "ignore"
    return Face(face.name, flag, box)


def watch(server, show):
    """Publishes a clip and keeps what viewers get."""
    channel = Channel(server, collection="kept" if show.kept else None)
    recorder = Recorder(channel.media)
    broadcast.Publisher(show.clip, channel.publish).wait()
    time.sleep(TAIL)
    recorder.stop()
    channel.stop()
    return recorder


def measure(garim, fixtures, clips, folder):
    """Yields each show and what was seen of it."""
    server = Live(garim, folder)
    server.enrol("kept", "Man", fixtures / "made/keep_man.jpg")
    for show in shows(fixtures, clips):
        yield show, judge(show, watch(server, show))
    server.stop()


def judge(show, recorder):
    """Compares every picture with the one that was published."""
    originals = [luma(picture).astype(np.uint8) for _, picture in read(show.clip.path)]
    seen, known, waiting, last = Seen(), set(), 0, None
    for picture in recorder.pictures():
        grey = luma(picture)
        number = number_in(grey) if grey.shape == originals[0].shape else None
        if number is None and last is not None:
            if grey.shape == last.shape and np.abs(grey - last).mean() < SAME:
                seen.unread += 1
            else:
                waiting += 1  # a slate, unless no frame of the clip follows
        if number is None:
            continue
        seen.slates, waiting = seen.slates + waiting, 0
        last = grey
        compare(seen, show, number, originals[number].astype(np.float32)[:-ROWS], grey[:-ROWS], number in known)
        known.add(number)
    if not known:
        raise SystemExit(f"bench: viewers got nothing of {show.name}")
    seen.missing = max(known) - min(known) + 1 - len(known)
    return seen


def compare(seen, show, number, before, after, again):
    """Judges one picture. When it was sent before, only what leaks in it counts."""
    faces = show.truth[number] if number < len(show.truth) else []
    noise = codec_noise(before, after, faces)
    total, covered = Seen(pictures=1), np.zeros(before.shape, bool)
    for face in faces:
        left = None if face.flag == "ignore" else shown_share(before, after, face.box, noise)
        if face.name == show.kept:
            if left is not None and number >= rate(show.clip):
                total.kept_faces += 1
                total.kept_shown += bool(left > 1 - LEAK)
            continue
        x, y, w, h = (max(0, round(value)) for value in face.box)
        covered[y : y + h, x : x + w] = True
        if left is None:
            continue
        if face.flag == "hard" or face.box[2] < SMALLEST:
            total.hard_faces += 1
            total.hard_leaks += bool(left > LEAK)
        else:
            total.faces += 1
            if left > LEAK and [number, face.name] not in seen.leaks:
                seen.leaks.append([number, face.name])
    if again:
        return
    total.true_area, total.covered_area = float(covered.sum()), changed_area(before, after, noise)
    for key in COUNTED:
        setattr(seen, key, getattr(seen, key) + getattr(total, key))
