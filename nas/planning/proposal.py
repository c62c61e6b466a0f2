"""Proposes the settings of a search from what was found in the videos, this machine and the hours it may take."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from movinet.data.proxy.pace import FASTEST, PACES
from nas.config import search_config
from nas.loop.algorithm import check
from nas.planning.inspection import Inspection
from nas.planning.plan import Plan, planned, workers_of
from nas.planning.speed import Speed, speed
from nas.planning.survey import survey
from search_space.base.checks import check_number
from search_space.base.errors import InputError
from search_space.network import yaml_text

FRAMES = (16, 8, 4)  # of a clip: the first that videos are long enough for
LONGEST = 10.0  # seconds that a clip spans at most
SHORT = 0.2  # share of the videos that may be shorter than a clip
RATES = 0.1  # share of the videos whose frame rate may be below that of the clips
MOST_FPS = 30
MOST_CLIPS = 8  # clips of a video
# Resolutions, and repeats and networks of the re-evaluation: the first with which `ENOUGH` trials fit the time.
SIZES = (((32, 40, 48), 3, 4), ((20, 24, 32), 3, 4), ((20, 24, 32), 2, 2))
EPOCHS, STEPS = 40, (192, 1280)  # times that a training sees a clip, within these steps
ENOUGH, TRIALS = 32, (8, 200)
HEADROOM = 0.95  # share of the time that is planned
PROXY_MACS = 3e6  # limit of the default search, for 16 frames of 32 x 32
FULL = {
    "depth": 3.33,
    "width": 4.0,
    "resolution": 7.0,
    "frames": 3.125,
}  # its proxy-to-full scaling, to networks of `FULL_MACS`
FULL_MACS = 8e9
FULL_STRIDES = [2, 2, 2, 1, 2]
LARGE = 96  # pixels from which a network has these strides
NUMBER = re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?|nan|inf", re.IGNORECASE)


@dataclass(frozen=True)
class Proposal:
    """A search: plain data, comments on its sections, its plan, and remarks for the user."""

    search: dict[str, Any]
    comments: Mapping[str, str]
    plan: Plan
    notes: tuple[str, ...]

    def text(self) -> str:
        """The search as YAML with comments."""
        lines = [f"# {line}" for line in self.comments[""].splitlines()]
        for key, value in self.search.items():
            lines += ["", *(f"# {line}" for line in self.comments[key].splitlines())] if key in self.comments else []
            lines.append(yaml_text({key: value}).rstrip())
        return "\n".join(lines) + "\n"


def propose(found: Inspection, hours: float, targets: Mapping[str, float], list_file: Path, gpus: int = 0) -> Proposal:
    """Choose the settings of a search that takes about `hours` on this machine.

    Where videos of a folder look alike, a list of the videos with their groups is written, which the search then reads.

    Args:
      found: videos.
      hours: time that the search may take.
      targets: multiply-adds of the networks of the family, by name.
      list_file: where that list is written.
      gpus: number of GPUs that TensorFlow sees.

    Raises:
      InputError: too few videos, hours out of range, or the list cannot be written.
    """
    check_number("--hours", hours, 0.01, 10_000)
    for name, count in zip(found.classes, found.counts, strict=True):
        if count < 3 and not found.divided and found.source != "pace":
            rule = "is the number of its videos; each class needs three, for training, validation and test"
            raise InputError(f"class {name}", count, rule)
    grouped = _can_be_grouped(found)
    data, notes = _data(found), list(_notes(found, grouped))
    if grouped:
        _write_list(list_file, found)
        data |= {"source": "video_csv", "path": str(list_file.absolute()), "video_root": str(found.path.absolute())}
    speeds: dict[tuple[int, ...], Speed] = {}
    for resolutions, repeats, most in SIZES:
        search = _search(found, data, resolutions, targets, gpus)
        search["finals"] |= {"repeats": repeats, "most": most}
        config = search_config.from_plain(search, "init")
        check(config)
        clips, workers = survey(config), workers_of(config)
        search["training"] = _training(clips.total("train"))
        config = search_config.from_plain(search, "init")
        measured = speeds[resolutions] = speeds.get(resolutions) or speed(config, workers)
        one = planned(config, clips, measured, workers)
        left = HEADROOM * 3600 * hours - one.total_seconds + one.seconds["search"]
        fits = math.floor(left / one.seconds["search"] * one.trials)
        if fits >= ENOUGH:
            break
    search["trials"] = int(np.clip(fits, *TRIALS))
    plan = planned(search_config.from_plain(search, "init"), clips, measured, workers)
    if plan.total_seconds > 3600 * hours:
        least = f"the smallest search worth running takes {plan.total_seconds / 3600:.2f} hours"
        notes.append(f"{least}, more than the {hours:g} hours of --hours")
    return Proposal(search, _comments(found, search, hours), plan, tuple(notes))


def _data(found: Inspection) -> dict[str, Any]:
    """Rate, length and number of the clips, from the durations."""
    fps = min(MOST_FPS, max(1, round(found.quantile("fps", RATES))))
    seconds = min(LONGEST, found.quantile("seconds", SHORT))
    frames = _frames(found, fps)
    paces = FASTEST if found.source == "pace" else 1  # a piece of video is that much longer than a clip
    stride = max(1, math.floor(seconds * fps / (frames * paces)))
    clips = int(np.clip(found.quantile("seconds", 0.5) * fps / (frames * stride * paces), 1, MOST_CLIPS))
    data: dict[str, Any] = {"source": found.source, "path": str(found.path.absolute())}
    if found.video_root:
        data["video_root"] = str(Path(found.video_root).absolute())
    return data | {"target_fps": fps, "frame_stride": stride, "clips_per_video": clips}


def _frames(found: Inspection, fps: float) -> int:
    paces = FASTEST if found.source == "pace" else 1
    ticks = min(LONGEST, found.quantile("seconds", SHORT)) * fps / paces
    return next((frames for frames in FRAMES if frames <= ticks), FRAMES[-1])


def _search(
    found: Inspection, data: Mapping[str, Any], resolutions: tuple[int, ...], targets: Mapping[str, float], gpus: int
) -> dict[str, Any]:
    frames, high = _frames(found, data["target_fps"]), resolutions[-1]
    strides = [1, 2, 4] if frames >= 16 else [1, 2]
    limit = PROXY_MACS * (high / 32) ** 2 * frames / 16
    classes = len(PACES) if found.source == "pace" else len(found.classes)
    few, low = frames // strides[-1], resolutions[0]
    space = {
        "name": "proposed",
        "classes": classes,
        "frames": frames,
        "frame_strides": strides,
        "resolutions": list(resolutions),
    }
    return {
        "extends": "default",
        "data": dict(data),
        "training": _training(0),
        "trials": TRIALS[0],
        "statistic": "likelihood",
        "limits": {"macs": round(limit)},
        "finals": {"references": [f"a0@{few}x{low}", f"a2@{few}x{high}"]},
        **({"resources": {"cpus": 1, "gpus": 1}} if gpus else {}),
        "space": space,
        "family": _family(targets, limit, high, data["frame_stride"]),
    }


def _training(clips: int) -> dict[str, int]:
    batch = 32 if clips >= 256 else 16
    return {"steps": int(np.clip(round(EPOCHS * clips / batch), *STEPS)), "batch_size": batch}


def _family(targets: Mapping[str, float], limit: float, pixels: int, stride: int) -> dict[str, Any]:
    """Targets, and the scaling from the middle of the searched costs to the middle of the targets."""
    target = math.sqrt(min(targets.values()) * max(targets.values()))
    share = float(np.clip(math.log(3 * target / limit) / math.log(3 * FULL_MACS / PROXY_MACS), 0, 1))
    lift = {name: factor**share for name, factor in FULL.items()}
    lift["frames"] = min(lift["frames"], stride)  # a video has no more
    return {
        "targets": dict(targets),
        "lift": {name: round(factor, 2) for name, factor in lift.items()},
        "strides": FULL_STRIDES if pixels * lift["resolution"] >= LARGE else [],
    }


def _comments(found: Inspection, search: Mapping[str, Any], hours: float) -> dict[str, str]:
    """Reason of each section, by its key; of the whole for ''."""
    short, long = found.quantile("seconds", 0.05), found.quantile("seconds", 0.95)
    slow, fast = found.quantile("fps", 0.05), found.quantile("fps", 0.95)
    data, frames = search["data"], search["space"]["frames"]
    spans = frames * data["frame_stride"] / data["target_fps"]
    of_classes = ", ".join(f"{name} {count}" for name, count in zip(found.classes, found.counts, strict=True))
    return {
        "": f"A search on {found.path},\n"
        f"proposed for {hours:g} hours. Estimate it again: run_search.py search FILE --plan",
        "data": f"{sum(found.counts)} videos: {of_classes}.\n"
        f"Most last {short:.1f} to {long:.1f} s at {slow:.0f} to {fast:.0f} frames per second.\n"
        f"A clip is {frames} frames of {data['target_fps']} per second, {data['frame_stride']} apart: {spans:.1f} s.",
        "training": f"Each training clip is seen {EPOCHS} times, in {STEPS[0]} to {STEPS[1]} steps.",
        "trials": "As many as fit the time.",
        "statistic": "On few validation clips less noisy than accuracy.",
        "limits": "Highest cost of a candidate in multiply-adds per clip.",
        "finals": "Re-evaluation of the selected architectures with new seeds, beside two published networks.",
        "space": "Blocks are those of the preset default. A network sees all frames of a clip, or every 2nd or 4th.",
        "family": "Multiply-adds of the networks to make; the scaling under `lift` leads there from the searched size.",
    }


def _can_be_grouped(found: Inspection) -> bool:
    """Return whether a list can hold the groups: three in each class, and no class with a number as its name."""
    if not found.groups or found.source != "video_folder" or any(map(NUMBER.fullmatch, found.classes)):
        return False
    of_class = {(video.label, group) for video, group in zip(found.videos, found.groups, strict=True)}
    return min(Counter(label for label, _ in of_class).values()) > 2


def _notes(found: Inspection, grouped: bool) -> Iterator[str]:
    if found.unusable:
        name, why = found.unusable[0]
        of_all = len(found.unusable) + len(found.videos)
        yield f"{len(found.unusable)} of {of_all} videos cannot be used; first: {name} {why}"
    if found.groups:
        groups = [group for group, videos in Counter(found.groups).items() if videos > 1]
        alike = f"{sum(videos for videos in Counter(found.groups).values() if videos > 1)} videos look like another one"
        kept = "stay in one split" if grouped else "may be in two splits; data.group_pattern keeps them together"
        yield f"{alike}, in {len(groups)} groups, which {kept}"
    if max(found.counts) > 3 * min(found.counts):
        yield f"classes are unbalanced: {min(found.counts)} to {max(found.counts)} videos"
    if found.source == "pace":
        yield "no sub-folders of classes: the pace of playback is the label, which ranks networks without annotation"


def _write_list(file: Path, found: Inspection) -> None:
    """Write a list of the usable videos with their groups."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "w", newline="", encoding="utf-8") as out:
            rows = csv.writer(out)
            rows.writerow(("label", "file", "group"))
            for video, group in zip(found.videos, found.groups, strict=True):
                rows.writerow((found.classes[video.label], video.name, found.videos[group].name))
    except OSError as error:
        raise InputError(str(file), error.strerror, "is why the list of videos cannot be written") from None
