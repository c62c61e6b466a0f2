"""Times real training steps of networks from the cheapest to the most expensive, side by side as in the search."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.config import search_config
from nas.config.search_config import SearchConfig
from nas.config.searched_task import task_of
from nas.evaluation.proxy_trainer import Trainer
from nas.execution import processes
from search_space import architecture as architectures
from search_space.base import machine
from search_space.base.catalogue import make_importable
from search_space.cost.counting import count
from search_space.space.sampling import sample_stratified

DRAWN = 64  # networks over which a time is averaged
TIMED = 5  # networks that are timed
SECONDS = 0.4  # that a network is timed
STEPS = 2, 20  # least and most steps that it is timed


@dataclass(frozen=True)
class Speed:
    """Times on this machine, means over networks spread evenly over log cost.

    Attributes:
      step: seconds of a training step.
      step_range: seconds of a step of the cheapest and of the most expensive network.
      clip: seconds to evaluate a clip.
      start: seconds until a worker has taken its first step.
      memory_mb: resident memory of a worker.
    """

    step: float
    step_range: tuple[float, float]
    clip: float
    start: float
    memory_mb: float


def speed(config: SearchConfig, workers: int) -> Speed:
    """Time steps in as many processes as the search will have workers.

    Raises:
      InputError: no architecture keeps the limits, or a GPU is asked for and there is none.
    """
    space = task_of(config).space
    if config.networks:
        drawn = [architectures.from_dict(network.architecture) for network in config.networks]
    else:
        rng = np.random.default_rng(config.seed)
        genotypes = sample_stratified(space, rng, DRAWN, config.limits, 8, config.costs[0])
        drawn = [space.decode(tuple(genotype)) for genotype in genotypes.tolist()]
    drawn.sort(key=lambda architecture: _macs(config, architecture))
    places = np.unique(np.linspace(0, len(drawn) - 1, TIMED).round().astype(int))
    timed = [architectures.to_dict(drawn[place]) for place in places]
    plain, folder = search_config.to_dict(config), os.getcwd()
    list(processes.run(_timed, [(plain, folder, timed[:1])], 1))  # compiles kernels that are not in numba's cache yet
    measured = list(processes.run(_timed, [(plain, folder, timed)] * workers, workers))
    macs = [_macs(config, drawn[place]) for place in places]
    steps, clips = np.mean([each["times"] for each in measured], axis=0).T
    wanted = [_macs(config, each) for each in drawn]
    return Speed(
        float(np.interp(wanted, macs, steps).mean()),
        (float(steps[0]), float(steps[-1])),
        float(np.interp(wanted, macs, clips).mean()),
        float(max(each["start"] for each in measured)),
        float(max(each["memory_mb"] for each in measured)),
    )


def _macs(config: SearchConfig, architecture: architectures.Architecture) -> int:
    return count(architecture, config.movinet_space.classes).macs


def _timed(plain: Mapping[str, Any], folder: str, timed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Measure seconds of a step and of evaluating a clip of each network, start and memory, in a worker."""
    begun = time.monotonic()
    make_importable(folder)
    config = search_config.from_dict(plain)
    data = _random_clips(config)
    trainer = Trainer(config, data, config.resources.threads)
    batch = np.arange(len(data.train))
    times, start = [], 0.0
    for each in timed:
        architecture = architectures.from_dict(each)
        candidate = trainer.engine.candidate(architecture, len(data.classes), trainer.recipe, config.seed)

        def step(candidate: Any = candidate, architecture: Any = architecture) -> None:
            frames = trainer.frames(data.train, batch, architecture)
            float(candidate.step(frames, trainer.labels(data.train, batch)))

        def evaluate(candidate: Any = candidate, architecture: Any = architecture) -> None:
            np.asarray(candidate.logits(trainer.frames(data.train, batch, architecture), len(batch)))

        step()
        start = start or time.monotonic() - begun
        evaluate()
        times.append((_seconds(step), _seconds(evaluate) / len(batch)))
    return {"times": times, "start": start, "memory_mb": machine.resident_mb()}


def _seconds(function: Any) -> float:
    begun, done = time.perf_counter(), 0
    while done < STEPS[0] or (done < STEPS[1] and time.perf_counter() - begun < SECONDS):
        function()
        done += 1
    return (time.perf_counter() - begun) / done


def _random_clips(config: SearchConfig) -> Any:
    """A data set of one batch of noise, which takes as long to train on as any clips of its size."""
    from movinet.data.store import Dataset, Split

    rng, side = np.random.default_rng(0), max(config.movinet_space.resolutions)
    size, classes = config.training.batch_size, config.movinet_space.classes
    clips = rng.integers(256, size=(size, config.movinet_space.frames, side, side, 3), dtype=np.uint8)
    split = Split(clips, rng.integers(classes, size=size, dtype=np.int32))
    names = tuple(map(str, range(classes)))
    return Dataset("timing", names, config.movinet_space.frames, side, split, split, split, "", Path())
