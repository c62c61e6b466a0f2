"""The family of a run: parents scaled to FLOPs targets, A0 to A5, and their ensemble A6.

MoViNets, arXiv 2103.11511: section 3 (compound scaling of searched networks) and appendix (A6 = A4 and A5 together).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from nas.record.objective import ACCURACY
from results.family.parent_variants import Settle, Settled
from results.family.parents import Candidate, Candidates, Guess
from search_space import architecture
from search_space.architecture import (
    MAX_CHANNELS,
    MAX_FRAMES,
    Architecture,
    with_strides,
)
from search_space.base.configuration import configuration, made_from, plain, within
from search_space.base.errors import InputError
from search_space.base.names import check_choice
from search_space.cost.labels import label_of
from search_space.network import Network, counted, network_cost
from search_space.scaling.compound import DEFAULT_COEFFICIENTS, UNSCALED, Coefficients, Factors, Scaled, scale_to_macs
from search_space.space.movinet import SpaceConfig

SCHEMA = "movinet-nas/family/1"

# Multiply-adds per clip of A0 to A5: arXiv 2103.11511, tables of Kinetics-600.
PUBLISHED_MACS: Mapping[str, float] = {
    "a0": 2.7e9,
    "a1": 6.0e9,
    "a2": 10.3e9,
    "a3": 57e9,
    "a4": 105e9,
    "a5": 281e9,
}
SHOWN = 8  # best candidates in the record of a target, besides excluded ones
NOTHING_SETTLED: Mapping[str, Mapping[str, Any]] = {}
PUBLISHED_ENSEMBLE: Mapping[str, tuple[str, ...]] = {"a6": ("a4", "a5")}


@configuration
class FamilyConfig:
    """Family of networks to scale from a Pareto front.

    Attributes:
      classes: outputs of each network.
      clip_ticks: frames of a source clip at frame stride 1; a network of n frames gets the stride nearest to
        clip_ticks / n.
      lift: factors from the proxy's scale to full scale, applied before phi.
      strides: spatial stride of each block at full scale; an empty list keeps those of the proxy.
      coefficients: growth of each dimension per unit of phi.
      coefficients_from: source of the coefficients: default, configuration or the record that chose them.
      targets: multiply-adds per clip of each network, in rising order; any number of networks.
      ensemble: further networks that average the logits of other networks, by their names.
      tolerance: largest relative distance of a network from its target.
      settle: training of scaled variants of the best parents of each target after a search; null skips it.
    """

    classes: Annotated[int, within(1, MAX_CHANNELS)] = 600
    clip_ticks: Annotated[int, within(1, MAX_FRAMES)] = 250
    lift: Factors = UNSCALED
    strides: tuple[Annotated[int, within(1, 2)], ...] = ()
    coefficients: Coefficients = DEFAULT_COEFFICIENTS
    coefficients_from: str = "default"
    targets: Mapping[str, Annotated[float, within(1, 1e18)]] = field(default_factory=lambda: dict(PUBLISHED_MACS))
    ensemble: Mapping[str, Annotated[tuple[str, ...], Field(min_length=2)]] = field(
        default_factory=lambda: dict(PUBLISHED_ENSEMBLE)
    )
    tolerance: Annotated[float, within(0, 1)] = 0.02
    settle: Settle | None = None

    def __post_init__(self) -> None:
        for place, models in (("targets", self.targets), ("ensemble", self.ensemble)):
            for name in models:  # names become file names
                if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", name):
                    raise InputError(place, name, "must be a name of lower-case letters, digits, '-' and '_'")
        if not self.targets:
            raise InputError("targets", dict(self.targets), "must hold at least one model")
        for (_, last), (name, target) in itertools.pairwise(self.targets.items()):
            if target < last:
                raise InputError(f"targets.{name}", target, f"must not be below the target before it, {last:g}")
        for name, members in self.ensemble.items():
            if name in self.targets:
                raise InputError(f"ensemble.{name}", name, "is already the name of a target")
            for member in members:
                check_choice(f"ensemble.{name}", member, self.targets)


def to_dict(config: FamilyConfig) -> dict[str, Any]:
    """Return plain data for YAML or JSON; the inverse of `from_dict`."""
    return {"settle": None, **plain(config)}


def from_dict(data: object, place: str = "family") -> FamilyConfig:
    """Read the configuration from plain data; missing keys, also those of `lift`, have their defaults.

    Without `ensemble`, A6 is added if its members are among the targets.

    Raises:
      InputError: an unknown key, a wrong type, a value out of range.
    """
    if isinstance(data, Mapping):
        data = dict(data)
        if "coefficients" in data:
            data.setdefault("coefficients_from", "configuration")
        if isinstance(targets := data.get("targets"), Mapping):
            known = targets.keys()
            data.setdefault("ensemble", {a: both for a, both in PUBLISHED_ENSEMBLE.items() if known >= set(both)})
    return made_from(FamilyConfig, data, place)


def checked(data: object, space: SpaceConfig | None, place: str) -> FamilyConfig:
    """Return the family configuration of a search in `space`; `InputError` if it does not fit, before any training."""
    config = from_dict(data, place)
    if config.strides and space is not None:
        space.with_strides(config.strides, f"{place}.strides")
    return config


@dataclass(frozen=True)
class Member:
    """A model of the family, and the decisions that led to it, as plain data."""

    name: str
    network: Network
    decision: Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """Models in order of cost, and the candidates for their parents."""

    models: tuple[Member, ...]
    config: FamilyConfig
    candidates: Candidates

    def record(self) -> dict[str, Any]:
        """Return the whole decision, for JSON: configuration, candidates, and each model's steps."""
        return {
            "schema": SCHEMA,
            "config": to_dict(self.config),
            "chance": self.candidates.chance,
            "noise": self.candidates.trend.noise,
            "warning": self.candidates.warning,
            "costs": list(self.candidates.costs),
            "candidates": [candidate.plain() for candidate in self.candidates.networks],
            "models": [dict(member.decision) for member in self.models],
        }

    def parents(self) -> pd.DataFrame:
        """Return a row per chosen parent: macs, cost objectives, accuracy, low, high, fingerprint, n and models."""
        chosen: dict[str, dict[str, Any]] = {}
        for member in self.models:
            if parent := member.decision.get("parent"):
                low, high = parent["interval"]
                row = {
                    "macs": parent["macs"],
                    **{name: parent[name] for name in self.candidates.costs},
                    ACCURACY.name: parent["accuracy"],
                }
                row |= {
                    "low": low,
                    "high": high,
                    "fingerprint": parent["fingerprint"],
                    "n": parent["trainings"],
                    "models": [],
                }
                chosen.setdefault(parent["fingerprint"], row)["models"].append(member.name)
        return pd.DataFrame(list(chosen.values()))


def scale_family(
    candidates: Candidates | None, config: FamilyConfig, settled: Mapping[str, Mapping[str, Settled]] = NOTHING_SETTLED
) -> Family:
    """Scale the candidates of a run to a family.

    The logarithms of the targets are mapped linearly to the log cost (the first cost objective) of the candidates'
    front: the first target to the cheapest network and the last to the most expensive one (a single target to the
    middle). The parent of a target is the candidate expected to be best there
    (`results.family.parents`), or the one whose scaled variant had the highest accuracy if `settled` has variants of
    the model by fingerprint. It gets the strides and the size of full scale (`lift`), and is scaled to its target with
    integer-exact cost. If that misses the tolerance or the order of cost, the next best is used, and the record reports
    it.

    Raises:
      InputError: no candidates; a target that no parent reaches; an ensemble cheaper than the model before it.
    """
    if candidates is None:
        raise InputError("front", 0, "networks are too few for a family: no trial was trained to the full budget")
    models: list[Member] = []
    for name in config.targets:
        least = models[-1].network.cost["macs"] if models else 0
        models.append(_model(name, candidates, config, least, settled.get(name, {})))
    for name in config.ensemble:
        models.append(_ensemble(name, models, config))
    return Family(tuple(models), config, candidates)


def _with_strides(parent: Architecture, strides: tuple[int, ...]) -> Architecture:
    return with_strides(parent, strides, "family.strides") if strides else parent


def _model(
    name: str, candidates: Candidates, config: FamilyConfig, least: int, settled: Mapping[str, Settled]
) -> Member:
    place = candidates.place(name, config.targets)
    guesses = sorted(candidates.at(place), key=lambda guess: _settled_order(guess, settled))
    missed: dict[str, str] = {}  # fingerprint -> reason why a better candidate was rejected
    for guess in guesses:
        if guess.rejected:
            break
        candidate = guess.candidate
        parent = _with_strides(architecture.from_dict(candidate.architecture), config.strides)
        try:
            scaled = _scaled(name, parent, config, least)
        except InputError as error:
            missed[candidate.fingerprint] = error.rule
            continue
        return _member(name, candidate, scaled, config, _comparison(place, guesses, missed, candidate, settled))
    raise InputError(f"family.targets.{name}", config.targets[name], next(iter(missed.values())))


def _settled_order(guess: Guess, settled: Mapping[str, Settled]) -> tuple[bool, bool, float]:
    """Return the sort key: candidates with a scaled variant first, best first; the rest in their order."""
    variant = settled.get(guess.candidate.fingerprint)
    return bool(guess.rejected), variant is None, -variant.accuracy if variant else 0.0


def _comparison(
    place: float,
    guesses: Sequence[Guess],
    missed: Mapping[str, str],
    chosen: Candidate,
    settled: Mapping[str, Settled],
) -> dict[str, Any]:
    """Compare the candidates at the cost of a target, as plain data."""

    def verdict(guess: Guess) -> str:
        name = guess.candidate.fingerprint
        worse = "its scaled variant was worse" if name in settled else "expected to be worse"
        return "chosen" if name == chosen.fingerprint else missed.get(name) or guess.rejected or worse

    last = max(SHOWN, 2 + guesses.index(next(guess for guess in guesses if guess.candidate == chosen)))
    rows = [
        {
            **guess.candidate.plain(),
            "expected": guess.expected.mean,
            "expected_interval": guess.expected.plain(),
            **({"scaled_variant": asdict(settled[name])} if (name := guess.candidate.fingerprint) in settled else {}),
            "verdict": verdict(guess),
        }
        for guess in (*guesses[:last], *(guess for guess in guesses[last:] if guess.rejected))
    ]
    best = next(row for row in rows if row["verdict"] == "chosen")
    cost = next(iter(chosen.costs))
    if variant := settled.get(chosen.fingerprint):
        why = f"its scaled variant had the best accuracy of {len(settled)} that were trained: {variant.accuracy:.3f}"
    else:
        at = f"{label_of(cost).quantity(place)} {label_of(cost).words}"
        why = f"best expected accuracy at the target's cost, {at}: {_interval(best)}"
    rest = [row for row in rows if row["verdict"] == "expected to be worse"]
    if rest:
        why = f"{why}; next {_interval(rest[0])}"
    if missed:
        why = f"{why}; {len(missed)} better candidates rejected"
    return {"place": {cost: place}, "why": why, "comparison": rows}


def _interval(row: Mapping[str, Any]) -> str:
    low, high = row["expected_interval"]
    return f"{row['expected']:.3f} [{low:.3f}, {high:.3f}]"


def _scaled(name: str, parent: Architecture, config: FamilyConfig, least: int) -> Scaled:
    target = config.targets[name]
    scaled = scale_to_macs(parent, target, config.classes, config.coefficients, config.lift, config.tolerance)
    if scaled.macs < least:
        raise InputError(name, scaled.macs, f"{scaled.macs} multiply-adds are below the {least} of the previous model")
    return scaled


def _with_stride(network: Architecture, ticks: int) -> Architecture:
    """Set the frame stride that spreads the clip over `ticks` source frames; this does not change the cost."""
    clip = network.clip
    return replace(network, clip=replace(clip, frame_stride=max(1, math.floor(ticks / clip.frames + 0.5))))


def _member(name: str, parent: Candidate, scaled: Scaled, config: FamilyConfig, choice: Mapping[str, Any]) -> Member:
    network = _with_stride(scaled.architecture, config.clip_ticks)
    decision = {
        "model": name,
        "target_macs": scaled.target,
        "parent": parent.plain(),
        **choice,
        "lift": asdict(config.lift),
        "strides": [block.stride for block in network.blocks],
        "coefficients": asdict(config.coefficients),
        "coefficients_from": config.coefficients_from,
        "phi": scaled.phi,
        "factors": asdict(scaled.factors),
        "clip": asdict(network.clip),
        "fingerprint": network.fingerprint,
        "macs": scaled.macs,
        "deviation": scaled.deviation,
    }
    return Member(name, counted(f"movinet_{name}", (network,), config.classes, scaled.target, decision), decision)


def _ensemble(name: str, models: Sequence[Member], config: FamilyConfig) -> Member:
    members = [_named(models, member) for member in config.ensemble[name]]
    networks = tuple(network for member in members for network in member.network.members)
    target = sum(round(config.targets[member.name]) for member in members)
    macs, before = network_cost(networks, config.classes)["macs"], models[-1].network.cost["macs"]
    if macs < before:
        raise InputError(f"family.ensemble.{name}", macs, f"multiply-adds are below the {before} of the previous model")
    decision = {
        "model": name,
        "target_macs": target,
        "members": [member.name for member in members],
        "why": "mean of the members' logits; its target is the sum of theirs",
        "macs": macs,
        "deviation": macs / target - 1,
    }
    return Member(name, counted(f"movinet_{name}", networks, config.classes, target, decision), decision)


def _named(models: Sequence[Member], name: str) -> Member:
    return next(member for member in models if member.name == name)
