"""Judges a covered clip by its pixels, never by what the tool says of itself.

A face leaks when more than 30 % of its detail survives. Its ellipse is split into 5 x 5 cells; two bands of
detail (about 5-10 and 10-20 cycles across a face) of the original are projected on the processed picture in each
cell. Gain times correlation says how much of the person's own detail is left: 1 for all, .6 to .95 after a lossy
re-encode, below .2 under a real mosaic, blur or fill. A cell shows the face above .40.
"""

import math
from dataclasses import asdict, dataclass, field

import cv2
import numpy as np

from video import load_truth, read, rotation, sound_hash

LEAK = 0.30  # share of a face's detail from which on it counts as shown
CELL_SHOWN = 0.40  # share of a cell's detail from which on it shows the face
FACE = 64  # width in pixels to which a face is scaled
GRID = 5  # cells in each direction
SMALL = 40  # below this width there is no fine detail to judge
BLOCK = 4  # side in pixels of the blocks in which changes are sought


@dataclass
class Result:
    """What became of a clip. Areas are sums over frames, in pixels of the original."""

    faces: int = 0
    leaks: int = 0
    hard_faces: int = 0
    hard_leaks: int = 0
    longest_run: int = 0  # frames in a row in which one person leaks
    true_area: float = 0
    covered_area: float = 0
    frames_in: int = 0
    frames_out: int = 0
    missing: int = 0  # frames of the original with no frame at their time
    sound: str = ""  # "same" packets, "changed", "lost", or "none" to lose
    runs: dict = field(default_factory=dict, repr=False)

    def count(self, index, face, leaked):
        """Takes in one face of frame `index`."""
        if face.flag == "hard":
            self.hard_faces += 1
            self.hard_leaks += leaked
            return
        self.faces += 1
        self.leaks += leaked
        if leaked:
            last, length = self.runs.get(face.name, (-2, 0))
            length = length + 1 if last == index - 1 else 1
            self.runs[face.name] = (index, length)
            self.longest_run = max(self.longest_run, length)


def evaluate(original, processed, truth_file):
    """Compares two clips frame by frame; returns a `Result` as a dictionary."""
    truth = load_truth(truth_file)
    turned = rotation(original)
    turns = (rotation(processed) - turned) // 90 % 4
    before, after = thumbnails(original, 0), thumbnails(processed, turns)
    if not after[0]:
        raise RuntimeError(f"{processed} holds no frame")
    lost = dropped_turn(before[1], after[1])
    if lost:
        turns += lost
        after = thumbnails(processed, turns)
    frame_time = (before[0][-1] - before[0][0]) / max(1, len(before[0]) - 1) or 0.04
    offset = best_offset(before, after, frame_time)

    result = Result(frames_in=len(before[0]), frames_out=len(after[0]))
    result.sound = compare_sound(original, processed)
    pairs = match(read(original), read(processed), offset, 0.75 * frame_time + 0.002)
    for index, (picture, covered) in enumerate(pairs):
        if covered is None:
            result.missing += 1
        elif index < len(truth.frames):
            compare(result, index, picture, upright(covered, picture, turns), truth.frames[index])
    result.runs = {}
    return asdict(result)


def compare(result, index, picture, covered, faces):
    """Judges one frame: its faces, and the area that was changed."""
    before, after = luma(picture), luma(covered)
    noise = codec_noise(before, after, faces)
    for face in faces:
        if face.flag != "ignore":
            shown = shown_share(before, after, face.box, noise)
            if shown is not None:
                result.count(index, face, bool(shown > LEAK))
    boxes = np.zeros(before.shape, np.uint8)
    for face in faces:
        x, y, w, h = face.box
        cv2.rectangle(boxes, (round(x), round(y)), (round(x + w) - 1, round(y + h) - 1), 1, -1)
    result.true_area += float(boxes.sum())
    result.covered_area += changed_area(before, after, noise)


# Bringing the two clips together: turn, size, time.


def thumbnails(path, turns):
    """The times and small grey pictures of every frame, after `turns` quarter turns."""
    times, pictures = [], []
    for time, picture in read(path):
        times.append(time)
        pictures.append(cv2.resize(luma(np.rot90(picture, turns)), (48, 48), interpolation=cv2.INTER_AREA))
    return times, pictures


def dropped_turn(before, after):
    """Quarter turns by which `after` is still off, for a tool that loses the display matrix."""
    pairs = list(zip(before[:60:6], after[:60:6]))
    errors = [np.mean([np.abs(a - np.rot90(b, turns)).mean() for a, b in pairs]) for turns in range(4)]
    best = int(np.argmin(errors))
    return best if errors[best] < errors[0] - 2 else 0


def best_offset(before, after, frame_time):
    """Seconds to add to a time of the original to get that of the processed clip."""
    after_times = np.array(after[0])
    samples = np.linspace(0, len(before[0]) - 1, min(400, len(before[0]))).astype(int)

    def error(offset):
        total = 0.0
        for index in samples:
            distance = np.abs(after_times - before[0][index] - offset)
            near = int(distance.argmin())
            difference = float(np.abs(before[1][index] - after[1][near]).mean())
            total += min(60, difference) if distance[near] < 0.75 * frame_time + 0.002 else 60
        return total / len(samples) + 0.02 * abs(offset)

    starts = {0.0, after[0][0] - before[0][0]}
    return min((start + step * frame_time for start in starts for step in range(-4, 5)), key=error)


def match(before, after, offset, tolerance):
    """Yields each picture of `before` with the one of `after` nearest in time, None if none is near."""
    after = ((time - offset, picture) for time, picture in after)
    current, following = next(after, None), next(after, None)
    for time, picture in before:
        while following and abs(following[0] - time) <= abs(current[0] - time):
            current, following = following, next(after, None)
        near = current is not None and abs(current[0] - time) <= tolerance
        yield picture, current[1] if near else None


def upright(covered, picture, turns):
    """The processed picture with the turn and size of the original."""
    covered = np.rot90(covered, turns)
    rows, columns = picture.shape[:2]
    if covered.shape[:2] != (rows, columns):
        covered = cv2.resize(np.ascontiguousarray(covered), (columns, rows), interpolation=cv2.INTER_AREA)
    return covered


def compare_sound(original, processed):
    before = sound_hash(original)
    if before is None:
        return "none"
    after = sound_hash(processed)
    return "lost" if after is None else "same" if after == before else "changed"


# What is left of a face.


def luma(picture):
    return cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_BGR2GRAY).astype(np.float32)


def shown_share(before, after, box, noise):
    """The share, 0 to 1, of a face's detail that survives; None when too little of it is in the picture."""
    rows, columns = before.shape
    x, y, w, h = box
    height = min(2 * FACE, max(8, round(FACE * h / max(w, 1e-3))))
    face, covered = crop(before, box, height), crop(after, box, height)
    across, down = np.meshgrid(np.arange(FACE), np.arange(height))
    oval = ((across - (FACE - 1) / 2) / (FACE * 0.46)) ** 2 + ((down - (height - 1) / 2) / (height * 0.46)) ** 2 <= 1
    at_x, at_y = x + across * w / FACE, y + down * h / height
    oval &= (at_x >= 0) & (at_x < columns) & (at_y >= 0) & (at_y < rows)
    if face is None or covered is None or oval.sum() < 30:
        return None
    cells = np.minimum(down * GRID // height, GRID - 1) * GRID + np.minimum(across * GRID // FACE, GRID - 1)
    pairs = list(zip(bands(face), bands(covered)))
    pairs = pairs[1:] if w < SMALL else pairs
    change = np.abs(face - covered)
    shown = total = 0.0
    for cell in range(GRID * GRID):
        inside = oval & (cells == cell)
        if inside.sum() < 12:
            continue
        energy, score = cell_score([(a[inside], b[inside]) for a, b in pairs])
        if energy < 1.2:  # nothing to recognise: shown when the pixels are those of the original
            weight, visible = 0.3, change[inside].mean() < max(1.5, 1.8 * noise)
        else:
            weight, visible = min(3.0, math.sqrt(energy)), score > CELL_SHOWN
        shown += weight * visible
        total += weight
    return shown / max(total, 1e-6)


def cell_score(pairs):
    """The energy of the original's detail in a cell, and the share of it that is left (best band)."""
    energy, score = 0.0, 0.0
    for original, covered in pairs:
        original, covered = original - original.mean(), covered - covered.mean()
        own, other = float((original**2).mean()), float((covered**2).mean())
        both = float((original * covered).mean())
        energy += own
        if own >= 0.6:
            gain = min(1.0, max(0.0, both / own))
            score = max(score, gain * max(0.0, both / math.sqrt(own * other + 1e-6)))
    return energy, score


def bands(face):
    """Fine and middle detail of a face FACE pixels wide."""
    blurred = [cv2.GaussianBlur(face, (0, 0), FACE / divisor) for divisor in (80, 40, 20)]
    return blurred[0] - blurred[1], blurred[1] - blurred[2]


def crop(picture, box, height):
    """A box of the picture, scaled to FACE x `height`; smoothed first when it is shrunk."""
    x, y, w, h = box
    shrink = w / FACE
    if shrink > 1.5:
        left, top = int(max(0, x - 2 * shrink)), int(max(0, y - 2 * shrink))
        right = int(min(picture.shape[1], x + w + 2 * shrink))
        bottom = int(min(picture.shape[0], y + h + 2 * shrink))
        if right - left < 2 or bottom - top < 2:
            return None
        picture = cv2.GaussianBlur(picture[top:bottom, left:right], (0, 0), shrink * 0.45)
        x, y = x - left, y - top
    matrix = np.float32([[w / FACE, 0, x], [0, h / height, y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, matrix, (FACE, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


# What was changed.


def codec_noise(before, after, faces):
    """Mean change of the least changed 90 % of the pixels away from faces; at most 4 of 255."""
    away = np.ones(before.shape, bool)
    for face in faces:
        x, y, w, h = face.box
        away[int(max(0, y - 0.35 * h)) : int(max(0, y + 1.35 * h)), int(max(0, x - 0.35 * w)) : int(max(0, x + 1.35 * w))] = False
    change = np.abs(before - after)[away]
    if change.size == 0:
        return 1.0
    return float(np.clip(change[change <= np.percentile(change, 90)].mean(), 0.5, 4))


def changed_area(before, after, noise):
    """Pixels of the picture that a cover lies over, judged by what it changed.

    Blocks that changed far more than the codec changes them are joined to regions, regions are filled to their
    convex hulls, and small ones are dropped. Flat parts at the rim of a cover that look the same before and
    after are missed, so this is a little low for all tools alike.
    """
    size = (max(1, before.shape[1] // BLOCK), max(1, before.shape[0] // BLOCK))
    change = cv2.resize(np.abs(before - after), size, interpolation=cv2.INTER_AREA)
    changed = (change > max(7.0, 4 * noise)).astype(np.uint8)
    changed = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    outlines, _ = cv2.findContours(changed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = np.zeros_like(changed)
    for outline in outlines:
        if cv2.contourArea(outline) >= 6:
            cv2.fillPoly(filled, [cv2.convexHull(outline)], 1)
    return float(filled.sum()) * before.shape[0] * before.shape[1] / filled.size
