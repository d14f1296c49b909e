"""Does the evaluator see what it should? Runs before every benchmark; under half a minute.

An uncovered copy must leak everywhere and change nothing; a solid fill must leak nowhere and be measured as large
as it is; a fill that misses some frames must leak in exactly those; a clip that lost frames, sound or its turn
must be recognised as such.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import cv2

from evaluate import evaluate
from scenes import film
from video import Writer, load_truth, read

FRAMES = 60
GROW = 1.5  # side of the fill over that of the face
SHOWN = range(30, 42)  # frames in which the third clip shows the face again


def run(fixtures):
    """Raises AssertionError when the evaluator is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        original, truth = folder / "in.mp4", folder / "in.json"
        film("portrait", fixtures, original, truth, FRAMES)

        copy = folder / "copy.mp4"
        transcode(original, copy, ["-c:a", "copy"])
        result = evaluate(original, copy, truth)
        check(result["faces"] > 1.9 * FRAMES and result["leaks"] >= 0.97 * result["faces"], "an uncovered copy leaks", result)
        check(result["covered_area"] < 0.02 * result["true_area"], "an uncovered copy covers nothing", result)
        check(result["sound"] == "same" and result["missing"] == 0, "a copy keeps sound and frames", result)

        filled = folder / "filled.mp4"
        fill(original, filled, load_truth(truth))
        result = evaluate(original, filled, truth)
        check(result["leaks"] == 0, "a solid fill leaks nothing", result)
        ratio = result["covered_area"] / result["true_area"]
        check(0.8 * GROW**2 < ratio < 1.1 * GROW**2, f"a fill of {GROW**2} times the area is measured so ({ratio:.2f})", result)

        gap = folder / "gap.mp4"
        fill(original, gap, load_truth(truth), SHOWN)
        result = evaluate(original, gap, truth)
        people = result["leaks"] / len(SHOWN)
        check(result["longest_run"] == len(SHOWN) and people == 2, "a gap in the cover leaks for as long as it is", result)

        short = folder / "short.mp4"
        transcode(original, short, ["-an", "-vf", "select='not(between(n,30,39))'", "-fps_mode", "vfr"])
        result = evaluate(original, short, truth)
        check(result["missing"] in (9, 10) and result["sound"] == "lost", "lost frames and sound are noticed", result)
    print("bench: the evaluator's self-test passed")


def check(holds, what, result):
    assert holds, f"self-test: not so: {what}: {json.dumps(result)}"


def transcode(source, out, options):
    """As tools do that bake the turn into the pixels."""
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-c:v", "libx264", "-preset", "veryfast", "-crf", "20"]
    subprocess.run([*command, *options, str(out)], check=True)


def fill(source, out, truth, except_in=()):
    """Grey boxes over every face of the truth, GROW times its size; the display matrix is dropped."""
    with Writer(out, (truth.width, truth.height), 30, ["-crf", "20"]) as writer:
        for index, ((_, picture), faces) in enumerate(zip(read(source), truth.frames)):
            for face in faces if index not in except_in else ():
                x, y, w, h = face.box
                grow_x, grow_y = w * (GROW - 1) / 2, h * (GROW - 1) / 2
                corner, other = (round(x - grow_x), round(y - grow_y)), (round(x + w + grow_x), round(y + h + grow_y))
                cv2.rectangle(picture, corner, other, (128, 128, 128), -1)
            writer.write(picture)


if __name__ == "__main__":
    run(Path(__file__).resolve().parents[1] / ".garim/fixtures")
