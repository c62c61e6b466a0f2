"""A search as plain data: what to search, on which clips, how long, with what. Schema `movinet-nas/search/1`."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from movinet.proxy.recipe import Recipe
from nas.algorithms.base import Algorithm
from nas.algorithms.registry import ALGORITHMS
from nas.config.tracking import TrackingConfig
from nas.loop.early_stopping import BandedStopping, Bands
from nas.loop.fixed_networks import FixedNetwork
from nas.record.objective import LIKELIHOOD, STATISTICS, Objective
from search_space.architecture import check_integer, check_keys, check_number, check_schema
from search_space.base.errors import InputError
from search_space.base.names import check_choice, hint
from search_space.base.yaml_file import read_yaml
from search_space.cost.counting import COST_NAMES
from search_space.published import PUBLISHED
from search_space.space import movinet
from search_space.space.movinet import SpaceConfig
from search_space.space.sampling import Limit

SCHEMA = "movinet-nas/search/1"
PRESETS = Path(__file__).parent / "presets"
MAX_TRIALS = 10_000_000

T = TypeVar("T")


@dataclass(frozen=True)
class DataConfig:
    """Where clips come from.

    Attributes:
      source: "moving_digits"; "video_folder", labelled by sub-folder; or "pace", videos labelled by playback pace.
      level: of the moving digits: tiny or default.
      train, validation, test: clips of each split of the moving digits.
      path: folder of the videos; '' for the moving digits.
      frame_stride: of the videos, in frames of the file; the space's strides count on top of it.
      clips_per_video: evenly spaced ones.
    """

    source: str = "moving_digits"
    level: str = "default"
    train: int = 6000
    validation: int = 2000
    test: int = 2000
    path: str = ""
    frame_stride: int = 1
    clips_per_video: int = 1

    def __post_init__(self) -> None:
        check_choice("source", self.source, ("moving_digits", "video_folder", "pace"))
        check_choice("level", self.level, ("tiny", "default"))
        for name in ("train", "validation", "test", "frame_stride", "clips_per_video"):
            check_integer(name, getattr(self, name), 1, 10_000_000)
        if not isinstance(self.path, str) or (self.source != "moving_digits") != bool(self.path) or "\0" in self.path:
            raise InputError("path", self.path, "must name a folder of videos, unless the source is moving_digits")


@dataclass(frozen=True)
class EarlyStopping:
    """Early stopping in bands of cost; see `nas.loop.early_stopping`.

    Attributes:
      rungs: shares of the steps after which trials are compared, rising; none turns it off.
      reduction: the best 1/`reduction` of a band's trials go on.
      bands: of log-cost; only trials in the same one are compared.
      minimum: so many trials of a band are measured before one is stopped.
      dominators: in place of `reduction`: what goes on is all but a trial that so many no dearer ones are better than.
      dominating: with `dominators`: and at least this share of the no dearer ones.
    """

    rungs: tuple[float, ...] = (0.25, 0.5)
    reduction: float = 2.0
    bands: int = 4
    minimum: int = 4
    dominators: int | None = None
    dominating: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.rungs, tuple):
            raise InputError("rungs", self.rungs, "must be a list of shares of the steps")
        for i, share in enumerate(self.rungs):
            check_number(f"rungs[{i}]", share, 1e-6, 1 - 1e-6)
            if i and share <= self.rungs[i - 1]:
                raise InputError("rungs", list(self.rungs), "must rise")
        check_number("reduction", self.reduction, 1.001, 1000)
        check_integer("bands", self.bands, 1, 1000)
        check_integer("minimum", self.minimum, 1, 1_000_000)
        if self.dominators is not None:
            check_integer("dominators", self.dominators, 1, 1_000_000)
        check_number("dominating", self.dominating, 0.0, 0.99)
        if self.dominating and self.dominators is None:
            raise InputError("dominating", self.dominating, "is a share of dominators, and there is no 'dominators'")

    def steps(self, total: int) -> tuple[int, ...]:
        """The rungs in training steps, rising, each from 1 to total - 1."""
        return tuple(sorted({max(1, round(share * total)) for share in self.rungs} - {total}))

    def banded(self, rungs: tuple[int, ...], bands: Bands, objective: Objective) -> BandedStopping:
        """The rule that compares trials of these bands by `objective` at these rungs, in training steps."""
        rule = self.minimum, self.dominators, self.dominating
        return BandedStopping(rungs, self.reduction, bands, objective, *rule)


@dataclass(frozen=True)
class Finals:
    """What is trained again at the end, with other seeds, so that no lucky trial is reported.

    Attributes:
      repeats: trainings of each finalist and of each reference; 0 skips the finals.
      most: finalists at the most, spread over the front.
      references: published networks brought to the proxy's scale, such as a2; a2@4x24 is a2 on clips of 4 frames of
        24 x 24 pixels, in place of the clip that even scaling gives.
    """

    repeats: int = 3
    most: int = 8
    references: tuple[str, ...] = ("a0", "a1", "a2", "a3", "a4", "a5")

    def __post_init__(self) -> None:
        check_integer("repeats", self.repeats, 0, 1000)
        check_integer("most", self.most, 1, 100_000)
        if not isinstance(self.references, tuple):
            raise InputError("references", self.references, "must be a list of published networks")
        for i, name in enumerate(self.references):
            published, at, clip = name.partition("@") if isinstance(name, str) else (name, "", "")
            check_choice(f"references[{i}]", published, PUBLISHED)
            if at and not re.fullmatch(r"[1-9][0-9]{0,5}x[1-9][0-9]{0,5}", clip):
                raise InputError(f"references[{i}]", name, "must have its clip as frames x pixels, such as a2@4x24")


@dataclass(frozen=True)
class OneShot:
    """The one-shot search (TuNAS, arXiv 2008.06120); see `nas.one_shot.tunas`.

    Attributes:
      targets: multiply-adds of the networks looked for; none takes three, evenly over the range of log cost.
      steps: of the supernet.
      learning_rate: of its weights, at the peak; all else as in `training`.
      warmup: share of the steps in which only weights are trained; 0.25 in TuNAS.
      beta: of the reward Q + beta * |T / T0 - 1|; -0.1 in MoViNet's search.
      controller_rate: Adam's step of the logits.
      reward_clips: validation clips on which the quality of a draw is measured.
      recalibration_clips: training clips from which a member's moving statistics are taken.
      tolerance: how far from its target a network's cost may be, as a share of it.
      checkpoint: steps from one checkpoint to the next.
    """

    targets: tuple[float, ...] = ()
    steps: int = 4000
    learning_rate: float = 0.15
    warmup: float = 0.25
    beta: float = -0.1
    controller_rate: float = 0.05
    reward_clips: int = 64
    recalibration_clips: int = 256
    tolerance: float = 0.05
    checkpoint: int = 250

    def __post_init__(self) -> None:
        if not isinstance(self.targets, tuple):
            raise InputError("targets", self.targets, "must be a list of costs")
        for i, target in enumerate(self.targets):
            check_number(f"targets[{i}]", target, 1, 1e18)
        for name, least in (("steps", 1), ("reward_clips", 2), ("recalibration_clips", 2), ("checkpoint", 1)):
            check_integer(name, getattr(self, name), least, 100_000_000)
        for name, low, high in (
            ("learning_rate", 1e-8, 10.0),
            ("warmup", 0.0, 1.0),
            ("beta", -1e6, 0.0),
            ("controller_rate", 0.0, 10.0),
            ("tolerance", 1e-6, 0.5),
        ):
            check_number(name, getattr(self, name), low, high)


@dataclass(frozen=True)
class AlgorithmConfig:
    """The search algorithm.

    Attributes:
      name: one of `nas.algorithms.registry.ALGORITHMS`.
      options: arguments of its own, by name.
    """

    name: str = "frontier_search"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("name", self.name, ALGORITHMS)
        # What every algorithm is given comes from elsewhere; its options are what its own arguments add.
        known = inspect.signature(ALGORITHMS[self.name]).parameters.keys() - inspect.signature(Algorithm).parameters
        check_keys("options", self.options, sorted(known))
        try:
            json.dumps(self.options, allow_nan=False)  # as the ledger's header will
        except (TypeError, ValueError):
            raise InputError("options", self.options, "must be plain values and finite numbers") from None


@dataclass(frozen=True)
class SimulationConfig:
    """Measurements made up or looked up in place of training; see `nas.evaluation.simulation`.

    Attributes:
      table: a benchmark table with fingerprints (.csv, .csv.gz); '' makes accuracies up by a formula.
      seconds: of a training, on average; a sleep.
      die: probability, per attempt, that the worker kills itself.
      hang: that it never comes back.
      diverge: that the loss is not finite.
      error: that it raises.
      memory_mb: that a worker takes with every trial and never gives back.
    """

    table: str = ""
    seconds: float = 0.0
    die: float = 0.0
    hang: float = 0.0
    diverge: float = 0.0
    error: float = 0.0
    memory_mb: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.table, str) or "\0" in self.table:
            raise InputError("table", self.table, "must be the path of a benchmark table, or ''")
        check_number("seconds", self.seconds, 0.0, 1e6)
        check_number("memory_mb", self.memory_mb, 0.0, 1e6)
        faults = ("die", "hang", "diverge", "error")
        for name in faults:
            check_number(name, getattr(self, name), 0.0, 1.0)
        if (together := sum(getattr(self, name) for name in faults)) > 1:
            raise InputError(" + ".join(faults), together, "must be at most 1")


@dataclass(frozen=True)
class ResourcesConfig:
    """What one trial takes of a node while it is trained; Ray counts, it does not enforce.

    Attributes:
      cpus: cores; TensorFlow runs on as many threads, on one if it is less than one.
      gpus: 0.5 has two trials share a GPU; with 0 a trial sees none.
      engine: trains the candidates; fused (one CPU core), tensorflow, or auto: fused for one core without a GPU.
    """

    cpus: float = 1
    gpus: float = 0
    engine: str = "auto"

    def __post_init__(self) -> None:
        check_number("cpus", self.cpus, 0.01, 10_000)
        check_number("gpus", self.gpus, 0, 1000)
        check_choice("engine", self.engine, ("auto", "fused", "tensorflow"))
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise InputError("gpus", self.gpus, "must be whole above 1")
        if self.gpus and self.engine == "fused":
            raise InputError("gpus", self.gpus, "must be 0 with the engine fused, which trains on a CPU core")

    @property
    def threads(self) -> int:
        """Of TensorFlow."""
        return max(1, int(self.cpus))


@dataclass(frozen=True)
class FaultsConfig:
    """How much may go wrong.

    Attributes:
      trial_seconds: a worker that trains for so long without a measurement is ended, its trial has failed; 0 for ever.
      attempts: of a trial whose worker dies or raises.
      most_failed: share of the trials that may fail; if there are more, the search stops and says why.
      least: so many trials have ended before that is looked at.
    """

    trial_seconds: float = 0
    attempts: int = 3
    most_failed: float = 0.5
    least: int = 8

    def __post_init__(self) -> None:
        check_number("trial_seconds", self.trial_seconds, 0, 1e7)
        if 0 < self.trial_seconds < 1:
            raise InputError("trial_seconds", self.trial_seconds, "must be 0, or at least 1")
        check_integer("attempts", self.attempts, 1, 1000)
        check_number("most_failed", self.most_failed, 0, 1)
        check_integer("least", self.least, 1, 10_000_000)


@dataclass(frozen=True)
class SearchConfig:
    """Everything a run depends on.

    Attributes:
      space: what is searched.
      training: budget and recipe of the proxy.
      data: clips.
      trials: candidates asked of the algorithm.
      statistic: metric that is modelled, compared for early stopping and used to select the Pareto front: "likelihood"
        or "accuracy". Accuracy is reported in both cases.
      limits: caps on exact costs, such as macs: 8000000.
      costs: exact costs that accuracy is traded against; the first sets the bands.
      algorithm, early_stopping, finals: see their classes.
      family: of `results.family.growth.FamilyConfig`, kept as plain data here: this layer only records it.
      one_shot: for `run_search.py one-shot` alone.
      networks: trained in place of a search, `finals.repeats` times each; none searches.
      simulation: in place of training; none trains.
      seed: of everything random in the run.
      workers: trials trained at a time; 0 for as many as there is room for, on this machine or in the cluster.
      resources: of each trial.
      worker_memory_mb: a worker above this much resident memory is replaced by a new process.
      faults: how much may go wrong.
      tracking: where trials are shown besides.
    """

    space: SpaceConfig
    training: Recipe
    data: DataConfig = DataConfig()
    trials: int = 48
    statistic: str = LIKELIHOOD.name
    limits: tuple[Limit, ...] = ()
    costs: tuple[str, ...] = ("macs",)
    algorithm: AlgorithmConfig = AlgorithmConfig()
    early_stopping: EarlyStopping = EarlyStopping()
    finals: Finals = Finals()
    family: Mapping[str, Any] = field(default_factory=dict)
    one_shot: OneShot | None = None
    networks: tuple[FixedNetwork, ...] = ()
    simulation: SimulationConfig | None = None
    seed: int = 0
    workers: int = 0
    resources: ResourcesConfig = ResourcesConfig()
    worker_memory_mb: int = 3000
    faults: FaultsConfig = FaultsConfig()
    tracking: TrackingConfig = TrackingConfig()

    def __post_init__(self) -> None:
        check_integer("trials", self.trials, 1, MAX_TRIALS)
        check_integer("seed", self.seed, 0, 2**31 - 1)
        check_integer("workers", self.workers, 0, 100_000)
        check_integer("worker_memory_mb", self.worker_memory_mb, 100, 10_000_000)
        check_choice("statistic", self.statistic, STATISTICS)
        _check_costs(self.costs)
        if not isinstance(self.networks, tuple):
            raise InputError("networks", self.networks, "must be a list of networks")
        if self.networks and not self.finals.repeats:
            raise InputError("finals.repeats", 0, "must be at least 1 to train the listed networks")
        if not isinstance(self.family, Mapping):
            raise InputError("family", self.family, "must be a mapping")
        if self.simulation is not None and self.one_shot is not None:
            raise InputError("simulation", "one_shot", "is beside it, which trains for real; take one of them out")

    @property
    def objective(self) -> Objective:
        """The statistic searched by, with its direction."""
        return STATISTICS[self.statistic]

    @property
    def reserved(self) -> ResourcesConfig:
        """Resources that Ray reserves for a trial; for a simulated one no GPU, as it uses none."""
        return self.resources if self.simulation is None else dataclasses.replace(self.resources, gpus=0)


def _check_costs(costs: object) -> None:
    if not isinstance(costs, tuple) or not costs:
        raise InputError("costs", costs, "must be a list of at least one cost")
    for i, name in enumerate(costs):
        check_choice(f"costs[{i}]", name, COST_NAMES)
        if name in costs[:i]:
            raise InputError(f"costs[{i}]", name, "is listed twice")


def _section(kind: Callable[..., T], data: object, place: str) -> T:
    """A frozen dataclass from a mapping with its fields as keys; lists become tuples."""
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    required = [f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING]
    values = check_keys(place, data, [f.name for f in fields], required)
    return _made(place, kind, **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _made(place: str, kind: Callable[..., T], /, **values: Any) -> T:
    """`kind(**values)`, with `place` in front of the place an `InputError` names."""
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{place}.{error.place}", error.value, error.rule) from None


_SECTIONS: Mapping[str, Callable[..., Any]] = {
    "training": Recipe,
    "data": DataConfig,
    "algorithm": AlgorithmConfig,
    "early_stopping": EarlyStopping,
    "finals": Finals,
    "one_shot": OneShot,
    "simulation": SimulationConfig,
    "resources": ResourcesConfig,
    "faults": FaultsConfig,
    "tracking": TrackingConfig,
}


def from_dict(data: object, place: str = "search") -> SearchConfig:
    """The search written as plain data.

    Raises:
      InputError: an unknown or missing key, a wrong type or a value out of range.
    """
    names = [f.name for f in dataclasses.fields(SearchConfig)]
    check_schema(place, data, SCHEMA, _what(data))
    top = dict(check_keys(place, data, ["schema", *names], ["schema", "space", "training"]))
    del top["schema"]
    for name, kind in _SECTIONS.items():
        if name in top:
            top[name] = _section(kind, top[name], f"{place}.{name}")
    top["space"] = movinet.from_dict(top["space"], f"{place}.space")
    limits = check_keys(f"{place}.limits", top.get("limits", {}), COST_NAMES)
    top["limits"] = tuple(_limit(f"{place}.limits", name, at_most) for name, at_most in limits.items())
    if isinstance(top.get("networks"), list):
        places = ((f"{place}.networks[{i}]", each) for i, each in enumerate(top["networks"]))
        top["networks"] = tuple(_section(FixedNetwork, each, where) for where, each in places)
    if isinstance(top.get("costs"), list):
        top["costs"] = tuple(top["costs"])
    return _made(place, SearchConfig, **top)


def _what(data: object) -> str:
    """A word of help with a file that is something else of ours."""
    space = isinstance(data, Mapping) and data.get("schema") == movinet.SCHEMA
    return "; put this under the key space of a search" if space else ""


def _limit(place: str, name: str, at_most: Any) -> Limit:
    try:
        return Limit(name, at_most)
    except InputError as error:
        raise InputError(f"{place}.{name}", error.value, error.rule) from None


def to_dict(config: SearchConfig) -> dict[str, Any]:
    """Plain, versioned data for YAML or JSON; the inverse of `from_dict`."""
    sections = {name: getattr(config, name) for name in _SECTIONS}
    data = {name: _plain(vars(section)) for name, section in sections.items() if section is not None}
    data |= {name: getattr(config, name) for name in ("trials", "statistic", "seed", "workers", "worker_memory_mb")}
    if config.networks:
        data["networks"] = [_plain(vars(network)) for network in config.networks]
    limits = {limit.name: limit.at_most for limit in config.limits}
    family = _plain(config.family)
    space = movinet.to_dict(config.space)
    return {"schema": SCHEMA, **data, "limits": limits, "costs": list(config.costs), "space": space, "family": family}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def presets() -> list[str]:
    """The names of the presets that come with the project."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load(name: str) -> SearchConfig:
    """Return a preset by name, or the search in a YAML file; paths in it are taken from the working directory.

    A file with `extends: PRESET` holds only what differs from that preset: keys replace the preset's, and within the
    sections those of the section. `algorithm` is replaced whole, and so is a `space` with a `schema` of its own.

    Raises:
      InputError: neither, unreadable, not YAML, or not a search.
    """
    path: Path | str = name
    if name in presets():
        path = PRESETS / f"{name}.yaml"
    elif not name.endswith((".yaml", ".yml")) and not os.path.isfile(name):
        rule = f"is neither a preset ({', '.join(presets())}) nor a YAML file{hint(name, presets())}"
        raise InputError("search", name, rule)
    config = from_dict(_extended(read_yaml(path, "search"), f"{name}: search"), f"{name}: search")
    if config.data.path:
        data = dataclasses.replace(config.data, path=_absolute(config.data.path))
        config = dataclasses.replace(config, data=data)
    if config.simulation and config.simulation.table:
        simulation = dataclasses.replace(config.simulation, table=_absolute(config.simulation.table))
        config = dataclasses.replace(config, simulation=simulation)
    return config


def _extended(data: Any, place: str) -> Any:
    """Plain data with the preset that its key `extends` names below it."""
    if not isinstance(data, Mapping) or "extends" not in data:
        return data
    data = dict(data)
    name = data.pop("extends")
    check_choice(f"{place}.extends", name, presets())
    base = dict(_extended(read_yaml(PRESETS / f"{name}.yaml", place), place))
    for key, value in data.items():
        whole = key == "algorithm" or not isinstance(value, Mapping) or not isinstance(base.get(key), Mapping)
        whole = whole or (key == "space" and "schema" in value)
        base[key] = value if whole else {**base[key], **value}
    return base


def _absolute(path: str) -> str:
    """A run is also resumed from elsewhere."""
    return os.path.abspath(os.path.expanduser(path))
