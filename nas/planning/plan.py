"""Plan of a search: trials, time, memory, disk, and how small a difference its validation clips can show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from nas.config.search_config import SearchConfig
from nas.evaluation.training_loop import RUNG_CLIPS
from nas.execution.ray_cluster import trials_that_fit
from nas.loop.algorithm import check
from nas.monitor.panel import duration
from nas.planning import gpus
from nas.planning.speed import Speed, speed
from nas.planning.survey import SPLITS, Survey, survey
from search_space.base import machine
from search_space.base.errors import InputError
from search_space.space import dead_options

START = 10.0  # seconds until Ray has started on this machine, and to write tables and report at the end
# Standard deviations of the accuracy of networks of equal cost at a budget that supports a ranking, between networks
# and between seeds: 16 random networks of the default space, 1 024 steps.
SPREAD, SEEDS = 0.08, 0.022
LEAST = 0.5  # share of the variance that must be the networks' if candidates are to be ranked
EVEN = 0.5  # accuracy at which the noise of a count is largest
INTERVAL = 1.96
SHOWN = 3  # unusable files that are named


@dataclass(frozen=True)
class Plan:
    """Demands of a search on this machine, and the differences that it can show.

    Attributes:
      trials: candidates.
      finals: trainings of the re-evaluation.
      workers: trials trained at a time.
      seconds: time of each part: clips, start, search, re-evaluation. Early stopping shortens the search.
      step_seconds: of a training step of the cheapest and of the most expensive network.
      at_most: whether early stopping may shorten the search.
      worker_mb: resident memory of a worker; available_mb: memory that all workers together may take.
      cache_bytes: of the clips in the cache; free_bytes: of the disk that the cache is on.
      cache: folder of the cache.
      epochs: times that a training sees each training clip.
      chance: accuracy of always naming the most frequent class of the validation clips.
      clips: number of clips of each class, by split.
      independent: number of videos by split.
      smallest_difference: difference in validation accuracy between two networks that exceeds the noise of the clips
        in 19 of 20 cases, for accuracies near one half.
      reliability: share of the variance of validation accuracies that belongs to the networks, expected.
      warnings: lines.
    """

    trials: int
    finals: int
    workers: int
    seconds: dict[str, float]
    step_seconds: tuple[float, float]
    at_most: bool
    worker_mb: float
    available_mb: int
    cache_bytes: int
    free_bytes: int
    cache: str
    epochs: float
    chance: float
    clips: dict[str, dict[str, int]]
    independent: dict[str, int]
    smallest_difference: float
    reliability: float
    warnings: list[str] = field(default_factory=list)

    @property
    def total_seconds(self) -> float:
        """Time from the command to the report."""
        return sum(self.seconds.values())


def plan(config: SearchConfig) -> Plan:
    """Plan a search after timing some steps of its training; nothing is written.

    Raises:
      InputError: the configuration is that of a simulation, or its data or space is invalid.
    """
    if config.simulation is not None:
        raise InputError("simulation", vars(config.simulation), "trains nothing, so there is nothing to plan")
    check(config)
    found = survey(config)
    workers = workers_of(config)
    return planned(config, found, speed(config, workers), workers)


def planned(config: SearchConfig, found: Survey, measured: Speed, workers: int) -> Plan:
    """Put together a plan from what was found and measured.

    Args:
      config: search.
      found: its clips.
      measured: speed of its training.
      workers: trials trained at a time.
    """
    from movinet.data.store import cache_root

    validation, test = found.total("validation"), found.total("test")
    rungs = len(config.early_stopping.rungs) * min(RUNG_CLIPS, validation)
    training = config.training.steps * measured.step + validation * measured.clip
    networks = len(config.networks) or min(config.finals.most, config.trials) + len(config.finals.references)
    finals = config.finals.repeats * networks
    trials = 0 if config.networks else config.trials
    seconds = {
        "clips": found.seconds,
        "start": START + measured.start,
        "search": _side_by_side(trials, workers) * (training + rungs * measured.clip),
        "re-evaluation": _side_by_side(finals, workers) * (training + test * measured.clip),
    }
    side = max(config.movinet_space.resolutions)
    cached = sum(map(found.total, SPLITS)) * config.movinet_space.frames * side * side * 3
    noise = math.sqrt(EVEN * (1 - EVEN) / max(1, found.independent["validation"]))
    made = Plan(
        trials,
        finals,
        workers,
        seconds,
        measured.step_range,
        bool(config.early_stopping.rungs and trials),
        measured.memory_mb,
        machine.memory_mb(),
        cached,
        machine.free_bytes(cache_root()),
        str(cache_root()),
        config.training.steps * config.training.batch_size / max(1, found.total("train")),
        max(found.clips["validation"]) / max(1, validation),
        {split: dict(zip(found.classes, found.clips[split], strict=True)) for split in SPLITS},
        dict(found.independent),
        INTERVAL * math.sqrt(2) * noise,
        SPREAD**2 / (SPREAD**2 + SEEDS**2 + noise**2),
    )
    made.warnings.extend(_warnings(config, found, made))
    return made


def workers_of(config: SearchConfig) -> int:
    """Trials that the search will train at a time here."""
    node = {"CPU": machine.cores(), "GPU": gpus.installed(), "memory": machine.memory_mb() * 2**20}
    return config.workers or max(1, trials_that_fit(config, node))


def _side_by_side(trainings: int, workers: int) -> float:
    """Trainings one after another, where the last ones leave workers idle for half a training on average."""
    return trainings / workers + 0.5 * (1 - 1 / workers) if trainings else 0.0


def _warnings(config: SearchConfig, found: Survey, made: Plan) -> Iterator[str]:
    if line := gpus.idle(config.resources.gpus):
        yield line
    if dead := dead_options.warning(config.movinet_space):
        yield dead
    if found.short:
        yield (
            f"{found.short} of {found.sampled} videos looked at are shorter than a clip, which spans {found.span} "
            f"frames at the full rate (frames x frame_stride); such a video repeats frames"
        )
    if found.unusable:
        named = "; ".join(f"{name} {why}" for name, why in found.unusable[:SHOWN])
        yield f"{len(found.unusable)} of {found.sampled} videos looked at cannot be used: {named}"
    for split in SPLITS:
        if missing := [name for name, clips in zip(found.classes, found.clips[split], strict=True) if not clips]:
            yield f"{', '.join(missing[:SHOWN])}{' and others' if missing[SHOWN:] else ''}: no {split} clips"
    if made.reliability < LEAST:
        yield (
            f"no ranking to be expected: {found.independent['validation']} validation videos show differences of "
            f"{made.smallest_difference:.2f} and more, and networks of equal cost usually differ by {SPREAD:.2f}; "
            f"use more videos"
        )
    if made.cache_bytes > made.free_bytes:
        yield f"the clips take {_size(made.cache_bytes)} and {made.cache} has {_size(made.free_bytes)} free"
    if made.worker_mb > config.worker_memory_mb:
        yield f"a worker takes {made.worker_mb:.0f} MB, above worker_memory_mb: it is replaced after every trial"
    if made.workers * made.worker_mb > made.available_mb:
        yield f"{made.workers} workers take {made.workers * made.worker_mb:.0f} MB; {made.available_mb} MB are free"


def text(made: Plan) -> str:
    """The plan as lines for people."""
    parts = ", ".join(f"{name} {duration(value)}" for name, value in made.seconds.items() if value)
    low, high = (1000 * value for value in made.step_seconds)
    rows = {
        "trials": f"{made.trials}, and {made.finals} trainings of the re-evaluation; {made.workers} at a time",
        "time": f"{'at most ' if made.at_most else ''}{duration(made.total_seconds)}: {parts}",
        "training step": f"{low:.0f} to {high:.0f} ms, from the cheapest to the most expensive network",
        "memory": f"{made.workers} x {made.worker_mb:.0f} MB; {made.available_mb} MB available",
        "disk": f"{_size(made.cache_bytes)} of clips in {made.cache}; {_size(made.free_bytes)} free",
        "clips": "; ".join(_counted(split, made) for split in SPLITS),
        "epochs": f"{made.epochs:.3g} per training",
        "chance": f"{made.chance:.3f}, always naming the most frequent class",
        "differences": f"{made.smallest_difference:.3f} in accuracy is the smallest that the validation clips can show",
    }
    wide = max(map(len, rows))
    lines = [f"{name:{wide}}  {value}" for name, value in rows.items()]
    return "\n".join([*lines, *(f"warning: {line}" for line in made.warnings)])


def _counted(split: str, made: Plan) -> str:
    counts = made.clips[split]
    total, videos = sum(counts.values()), made.independent[split]
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    of = f" of {videos} videos" if videos != total else ""
    each = (
        f"{counts[least]} {least} to {counts[most]} {most}" if counts[least] < counts[most] else f"{counts[most]} each"
    )
    return f"{total} {split}{of} ({each})"


def plain(made: Plan) -> dict[str, Any]:
    """The plan as plain data."""
    return {**asdict(made), "total_seconds": made.total_seconds}


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
