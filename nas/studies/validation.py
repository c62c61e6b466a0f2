"""Longer training of the selected and the published networks of a finished run, also at a larger scale.

RUN/validation-8x is the folder of an ordinary run, which trains a fixed list of networks: every re-evaluated network
and every published one, unchanged and scaled to a multiple of its FLOPs. `search --resume` and `report` work on it too.
Data, recipe and executors are those of the run; there are more steps and training clips, and new seeds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from nas.config.search_config import SearchConfig
from nas.config.sections import EarlyStopping
from nas.evaluation.proxy_trainer import open_data
from nas.execution.ray_cluster import ALONE, Cluster
from nas.loop import run_folder
from nas.loop.fixed_networks import FixedNetwork, Kind
from nas.record.ledger import Ledger
from search_space import architecture as architectures
from search_space.architecture import Clip
from search_space.base.checks import check_integer, check_number
from search_space.base.errors import InputError
from search_space.cost.counting import count
from search_space.scaling.compound import DEFAULT_COEFFICIENTS, Coefficients, scale_to_macs

EPOCHS = 8  # upper limit, unless the number of training clips is set
TOLERANCES = (0.05, 0.25)  # relative tolerances of a scaled network's FLOPs; small widths leave few choices
MOST_CLIPS = 10_000_000
MOST_STEPS = 100_000_000
OWN_SEEDS = 1  # added to the seed of the run


@dataclass(frozen=True)
class Settings:
    """Settings of a validation.

    Attributes:
      steps_factor: training steps, as a multiple of those of the run.
      train_clips: of generated data; None uses enough for `EPOCHS` epochs, at least those of the run.
      repeats: trainings of each network.
      scale: multiply-adds of the second set of networks, as a multiple of those of the first; 1 leaves it out.
      coefficients: of compound scaling.
    """

    steps_factor: float = 8.0
    train_clips: int | None = None
    repeats: int = 3
    scale: float = 4.0
    coefficients: Coefficients = DEFAULT_COEFFICIENTS

    def __post_init__(self) -> None:
        check_number("--steps-factor", self.steps_factor, 0.01, 10_000)
        check_number("--scale", self.scale, 1, 1000)
        check_integer("--repeats", self.repeats, 1, 1000)
        if self.train_clips is not None:
            check_integer("--train-clips", self.train_clips, 1, MOST_CLIPS)


def folder_of(folder: Path, steps_factor: float) -> Path:
    """Return the folder of a run's validation."""
    return folder / f"validation-{steps_factor:g}x"


def start(
    ledger: Ledger,
    settings: Settings,
    folder: Path,
    executor: str,
    watch: run_folder.Watch,
    cluster: Cluster = ALONE,
    workers: int | None = None,
) -> None:
    """Validate a run in a new folder, by default with its number of workers.

    Raises:
      InputError: the run is not finished, or has no selected or no published networks; the folder contains a
        validation.
    """
    config = validation(ledger, settings)
    if workers is not None:
        config = replace(config, workers=workers)
    run_folder.start(config, folder, executor, watch, cluster)


def resume(folder: Path, executor: str, watch: run_folder.Watch, cluster: Cluster = ALONE) -> None:
    """Resume the validation in `folder`.

    Raises:
      InputError: there is none, or see `nas.loop.run_folder.resume`.
    """
    if not os.path.isdir(folder):
        raise InputError("--resume", str(folder), "does not exist: start the validation without --resume")
    run_folder.resume(folder, executor, watch, cluster)


def validation(ledger: Ledger, settings: Settings) -> SearchConfig:
    """Return the configuration of the run that validates another.

    Raises:
      InputError: the run is not finished, or has no selected or no published networks.
    """
    config = run_folder.config_of(ledger)
    networks = list(_networks(ledger, config))
    steps = round(settings.steps_factor * config.training.steps)
    check_integer("--steps-factor: steps", steps, 1, MOST_STEPS)
    clips = min(MOST_CLIPS, math.ceil(steps * config.training.batch_size / EPOCHS))
    train = settings.train_clips or max(config.data.train, clips)
    longer = replace(config, training=replace(config.training, steps=steps), data=replace(config.data, train=train))
    larger = [replace(each, scale=settings.scale) for each in networks] if settings.scale > 1 else []
    scaled = scaled_networks(larger, longer, settings.coefficients)
    times = max(1.0, settings.steps_factor) * settings.scale
    return training_of([*networks, *scaled], longer, settings.repeats, OWN_SEEDS, times)


def training_of(
    networks: Sequence[FixedNetwork], config: SearchConfig, repeats: int, seeds: int, times: float
) -> SearchConfig:
    """Return the configuration of a run that trains networks with the data and recipe of a configuration.

    Args:
      networks: the networks to train.
      config: with its steps and training clips.
      repeats: trainings of each network.
      seeds: added to the seed, so that no training repeats one of another run.
      times: factor of the time limit of a training, relative to a search.
    """
    return replace(
        config,
        early_stopping=EarlyStopping(()),
        finals=replace(config.finals, repeats=repeats, references=()),
        faults=replace(config.faults, trial_seconds=min(1e7, times * config.faults.trial_seconds)),
        seed=(config.seed + seeds) % 2**31,
        family={name: value for name, value in config.family.items() if name != "settle"},
        one_shot=None,
        networks=tuple(networks),
    )


def _networks(ledger: Ledger, config: SearchConfig) -> Iterator[FixedNetwork]:
    """Yield the re-evaluated and the published networks of a finished run, the cheapest of each first."""
    folder = ledger.path.parent
    if config.networks:
        raise InputError("run", str(folder), "trained fixed networks: it is already a validation")
    again = [proposal for proposal in ledger.proposals.values() if proposal.kind != "search"]
    found = {(each.kind, each.label): each for each in again}
    selected = sum(kind == "finalist" for kind, _ in found)
    planned = config.finals.repeats * (selected + len(config.finals.references))
    if ledger.pending or len(again) < planned:
        raise InputError("run", str(folder), f"is not finished; resume it with: run_search.py search --resume {folder}")
    if not selected or selected == len(found):
        missing = "re-evaluated" if not selected else "published"
        raise InputError("run", str(folder), f"has no {missing} networks to validate; see finals in its configuration")
    for (kind, label), proposal in sorted(found.items(), key=lambda each: (each[0][0], each[1].cost["macs"])):
        yield FixedNetwork(label, cast(Kind, kind), proposal.architecture)


def scaled_networks(
    networks: Sequence[FixedNetwork], config: SearchConfig, coefficients: Coefficients
) -> list[FixedNetwork]:
    """Scale the networks by compound scaling within the clips of the data.

    A network that cannot be scaled to its multiply-adds is left out.
    """
    if not networks:
        return []
    largest, classes = _largest_clip(config), config.movinet_space.classes
    found = []
    for network in networks:
        parent = architectures.from_dict(network.architecture)
        target = network.scale * count(parent, classes).macs
        for tolerance in TOLERANCES:
            try:
                scaled = scale_to_macs(parent, target, classes, coefficients, tolerance=tolerance, largest=largest)
            except InputError:
                continue
            found.append(replace(network, architecture=architectures.to_dict(scaled.architecture)))
            break
    return found


def _largest_clip(config: SearchConfig) -> Clip:
    """Return a clip with all frames and pixels of the data."""
    if config.simulation is not None:
        return Clip(config.movinet_space.frames, max(config.movinet_space.resolutions), 1)
    data = open_data(config.data, config.movinet_space)
    return Clip(data.ticks, data.resolution, 1)
