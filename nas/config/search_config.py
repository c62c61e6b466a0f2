"""The configuration of a search: space, clips, budget, algorithm and resources. Schema `movinet-nas/search/1`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from movinet.proxy.recipe import Recipe
from nas.config.costs import COSTS
from nas.config.metrics import METRICS
from nas.config.sections import (
    AlgorithmConfig,
    DataConfig,
    EarlyStopping,
    FaultsConfig,
    Finals,
    OneShot,
    ResourcesConfig,
    SimulationConfig,
    TaskConfig,
    TrackingConfig,
)
from nas.loop.fixed_networks import FixedNetwork
from nas.record.objective import LIKELIHOOD, STATISTICS, Objective
from nas.tasks.registry import MOVINET
from search_space.base.catalogue import Named
from search_space.base.checks import check_keys, check_schema
from search_space.base.configuration import Options, configuration, made_from, plain, within
from search_space.base.errors import InputError
from search_space.base.names import check_choice, hint
from search_space.base.yaml_file import located, read_yaml
from search_space.space import movinet
from search_space.space.movinet import SpaceConfig
from search_space.space.sampling import Limit

SCHEMA = "movinet-nas/search/1"
PRESETS = Path(__file__).parent / "presets"
MAX_TRIALS = 10_000_000


def _limits(limits: object) -> object:
    """Validate limits as a mapping from costs to their highest values."""
    if isinstance(limits, tuple):
        return limits
    if not isinstance(limits, Mapping):
        raise InputError("", limits, "must be a mapping from names of costs to numbers")
    return tuple(_limit(name, at_most) for name, at_most in limits.items())


def _limit(name: str, at_most: Any) -> Limit:
    try:
        return Limit(name, at_most)
    except InputError as error:
        raise InputError(name, error.value, error.rule) from None


COST = Named(COSTS)
# Checked once the task is known, which may name costs of its own.
_ANY_COST = {"anyOf": [*COST.json_schema["anyOf"], {"type": "string", "allowed": "a cost of your own task"}]}
CostName = Annotated[str, WithJsonSchema(_ANY_COST)]
Limits = Annotated[
    tuple[Limit, ...],
    BeforeValidator(_limits),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": _ANY_COST,
            "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
        }
    ),
]


@configuration
class SearchConfig:
    """Configuration of a search, which determines everything in a run.

    Attributes:
      space: architectures to search; left out with a task of your own.
      training: budget and recipe of proxy training.
      task: network family to search.
      data: source of the clips.
      trials: candidates that the algorithm proposes.
      statistic: metric that is modelled, compared for early stopping and used to select the Pareto front; or
        `module:name` of a function of logits and labels. Accuracy is reported in all cases.
      limits: highest value of each exact cost, such as {macs: 8000000}; more expensive candidates are not proposed.
      costs: cost objectives, the first of which sets the cost bins; as in `limits`, also `module:name` of a function of
        a batch of architectures.
      algorithm: search algorithm and its options.
      early_stopping: rule by which trials are ended early.
      finals: re-evaluation of the selected architectures with new seeds.
      family: networks A0 to A6 to scale from the Pareto front.
      one_shot: settings of the one-shot search; only for `run_search.py one-shot`.
      networks: networks to train in place of a search, `finals.repeats` times each; an empty list searches.
      simulation: simulated measurements in place of training; null trains.
      seed: seed of everything random in the run.
      workers: trials trained in parallel; 0 for as many as fit on this machine or in the cluster.
      resources: cores and GPUs of each trial.
      worker_memory_mb: resident memory in megabytes above which a worker is replaced by a new process.
      faults: failures that a search tolerates.
      tracking: additional experiment trackers.
    """

    space: SpaceConfig | None
    training: Recipe
    task: TaskConfig = TaskConfig()
    data: DataConfig = DataConfig()
    trials: Annotated[int, within(1, MAX_TRIALS)] = 48
    statistic: Annotated[str, Named(METRICS)] = LIKELIHOOD.name
    limits: Limits = ()
    costs: Options[CostName] = ("macs",)
    algorithm: AlgorithmConfig = AlgorithmConfig()
    early_stopping: EarlyStopping = EarlyStopping()
    finals: Finals = Finals()
    family: Mapping[str, Any] = field(default_factory=dict)
    one_shot: OneShot | None = None
    networks: tuple[FixedNetwork, ...] = ()
    simulation: SimulationConfig | None = None
    seed: Annotated[int, within(0, 2**31 - 1)] = 0
    workers: Annotated[int, within(0, 100_000)] = 0
    resources: ResourcesConfig = ResourcesConfig()
    worker_memory_mb: Annotated[int, within(100, 10_000_000)] = 3000
    faults: FaultsConfig = FaultsConfig()
    tracking: TrackingConfig = TrackingConfig()

    def __post_init__(self) -> None:
        own = self.task.own
        if own is None and self.space is None:
            raise InputError("", [MOVINET], "lacks the key 'space'")
        if own is not None:
            self._check_of_movinets()
        for place, name in self._cost_places():
            if own is None:
                COST.check(name, place)
            else:
                check_choice(place, name, own.cost_names)
        if self.statistic not in STATISTICS and self.simulation is not None:
            raise InputError("statistic", self.statistic, "is computed from logits, but a simulation has none")
        if self.networks and not self.finals.repeats:
            raise InputError("finals.repeats", 0, "must be at least 1 to train the listed networks")
        if self.simulation is not None and self.one_shot is not None:
            raise InputError(
                "simulation", "one_shot", "cannot be combined with it, which trains networks; remove one of them"
            )

    def _cost_places(self) -> Iterator[tuple[str, str]]:
        yield from ((f"costs[{i}]", name) for i, name in enumerate(self.costs))
        yield from ((f"limits.{limit.name}", limit.name) for limit in self.limits)

    def _check_of_movinets(self) -> None:
        """Refuse settings of MoViNets beside another task, which does not see them."""
        seen = Recipe(self.training.steps, self.training.batch_size)
        given: list[tuple[str, object, object]] = [
            ("space", self.space, None),
            ("data", self.data, DataConfig()),
            ("family", self.family, {}),
            ("one_shot", self.one_shot, None),
            ("networks", self.networks, ()),
            ("finals.references", self.finals.references, Finals().references),
            ("resources.engine", self.resources.engine, ResourcesConfig().engine),
            *((f"training.{name}", value, getattr(seen, name)) for name, value in vars(self.training).items()),
        ]
        for place, value, default in given:
            if value != default:
                shown = plain(value) if dataclasses.is_dataclass(value) else value
                raise InputError(place, shown, f"is for MoViNets; leave it out with the task {self.task.name}")

    @property
    def movinet_space(self) -> SpaceConfig:
        """The space of MoViNets.

        Raises:
          InputError: the task is another one; the caller supports only MoViNets.
        """
        if self.space is None:
            rule = "is a task of your own; one-shot search, validation and scaling are for MoViNets alone"
            raise InputError("task.name", self.task.name, rule)
        return self.space

    @property
    def objective(self) -> Objective:
        """The objective statistic, with its direction."""
        return STATISTICS.get(self.statistic) or Objective(self.statistic, "max")

    @property
    def reserved(self) -> ResourcesConfig:
        """Resources that Ray reserves for a trial; no GPU for a simulated one."""
        return self.resources if self.simulation is None else dataclasses.replace(self.resources, gpus=0)


def from_dict(data: object, place: str = "search") -> SearchConfig:
    """Return the search from plain data.

    Raises:
      InputError: an unknown or missing key, a wrong type or a value out of range.
    """
    check_schema(place, data, SCHEMA, _what(data))
    names = [each.name for each in dataclasses.fields(SearchConfig)]
    required = ["schema", "training"] if _own_task(data) else ["schema", "space", "training"]
    top = dict(check_keys(place, data, ["schema", *names], required))
    del top["schema"]
    top["space"] = None if "space" not in top else movinet.completed(top["space"], f"{place}.space")
    return made_from(SearchConfig, top, place)


def _own_task(data: Any) -> bool:
    """Return whether plain data names a task other than MoViNets."""
    task = data.get("task") if isinstance(data, Mapping) else None
    return isinstance(task, Mapping) and task.get("name", MOVINET) != MOVINET


def _what(data: object) -> str:
    """Return a suggestion if the file is of another kind of this project."""
    space = isinstance(data, Mapping) and data.get("schema") == movinet.SCHEMA
    return "; put this under the key space of a search" if space else ""


def to_dict(config: SearchConfig) -> dict[str, Any]:
    """Return plain, versioned data for YAML or JSON; the inverse of `from_dict`."""
    data = plain(config)
    if not config.networks:
        del data["networks"]
    if config.task == TaskConfig():
        del data["task"]
    if config.space is not None:
        data["space"] = movinet.to_dict(config.space)
    limits = {limit.name: limit.at_most for limit in config.limits}
    return {"schema": SCHEMA, **data, "limits": limits}


def presets() -> list[str]:
    """Return the names of the bundled presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load(name: str) -> SearchConfig:
    """Return a preset by name, or the search in a YAML file; its paths are relative to the working directory.

    A file with `extends: PRESET` contains only the differences from that preset: keys replace the preset's, within
    sections those of the section. `algorithm` is replaced as a whole, and so is a `space` with a `schema`.

    Raises:
      InputError: not a preset or file, unreadable, not YAML, or not a search.
    """
    path: Path | str = name
    if name in presets():
        path = PRESETS / f"{name}.yaml"
    elif not name.endswith((".yaml", ".yml")) and not os.path.isfile(name):
        rule = f"is neither a preset ({', '.join(presets())}) nor a YAML file{hint(name, presets())}"
        raise InputError("search", name, rule)
    with located(path, "search"):
        return from_plain(read_yaml(path, "search"))


def from_plain(data: object, place: str = "search") -> SearchConfig:
    """Return the search in plain data, which may extend a preset; its paths are relative to the working directory.

    Raises:
      InputError: not a search.
    """
    config = from_dict(_extended(data, place), place)
    if config.data.path:
        root = _absolute(config.data.video_root) if config.data.video_root else ""
        data = dataclasses.replace(config.data, path=_absolute(config.data.path), video_root=root)
        config = dataclasses.replace(config, data=data)
    if config.simulation and config.simulation.table:
        simulation = dataclasses.replace(config.simulation, table=_absolute(config.simulation.table))
        config = dataclasses.replace(config, simulation=simulation)
    return config


def _extended(data: Any, place: str) -> Any:
    """Merge plain data over the preset that its key `extends` names."""
    if not isinstance(data, Mapping) or "extends" not in data:
        return data
    data = dict(data)
    name = data.pop("extends")
    check_choice(f"{place}.extends", name, presets())
    if _own_task(data):
        raise InputError(f"{place}.extends", name, f"is a preset for MoViNets; write `schema: {SCHEMA}` in its place")
    base = dict(_extended(read_yaml(PRESETS / f"{name}.yaml", place), place))
    for key, value in data.items():
        whole = key == "algorithm" or not isinstance(value, Mapping) or not isinstance(base.get(key), Mapping)
        whole = whole or (key == "space" and "schema" in value)
        base[key] = value if whole else {**base[key], **value}
    return base


def _absolute(path: str) -> str:
    """Return an absolute path, because a run may be resumed from another working directory."""
    return os.path.abspath(os.path.expanduser(path))
