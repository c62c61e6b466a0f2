"""A search around one model of a family: the run's space scaled until its median member costs what the model does.

MoViNets, arXiv 2103.11511, section 3, scale the space as well as its networks. Scaling leaves the proportions of a
parent as they were found at the proxy's scale; a search in the scaled space is free to mend them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.record.ledger import Ledger
from results.family import growth as families
from results.family.growth import FamilyConfig
from results.tables.frame import selected_front
from search_space import architecture
from search_space.architecture import with_strides
from search_space.base.atomic_files import replaced
from search_space.base.errors import InputError
from search_space.base.names import hint
from search_space.network import yaml_text
from search_space.scaling.compound import UNSCALED, Coefficients, Factors, scale_space, scale_to_macs
from search_space.space import movinet
from search_space.space.movinet import SpaceConfig, nearest

STEPS = 32  # of phi per unit: neighbours differ by 2 %, before rounding
REACH = 12  # units of phi searched either way
SAMPLE = 1000
PARENTS = 3
_FIXED_CLIPS = "moving_digits"  # the source whose clips have one length and size
_STARTED = "frontier_search"  # the algorithm that can be told where to start


def refinement(ledger: Ledger, config: FamilyConfig, name: str) -> dict[str, Any]:
    """The configuration of a search, as plain data, in the run's space scaled to the target of the model `name`.

    Everything else is the run's: clips, recipe, trials, algorithm. The cap on multiply-adds is the target; other caps
    held for small networks and go, and so do the published networks, which fit the proxy's scale. An algorithm that
    can be given a start begins with the nearest members to parents from the front, scaled to the target.

    Moving digits cannot be had longer or larger, so there only depth and width grow.

    Raises:
      InputError: no such model; an option of the space leaves its range before its median member costs enough.
    """
    if name not in config.targets:
        raise InputError(
            "--refine", name, f"is not one of the targets {', '.join(config.targets)}{hint(name, config.targets)}"
        )
    run, target = ledger.header.config, config.targets[name]
    space = movinet.from_dict(run["space"], f"{ledger.path}:1: config.space")
    fixed = run["data"]["source"] == _FIXED_CLIPS
    coefficients, lift = _within_the_clips(config) if fixed else (config.coefficients, config.lift)
    strides = () if fixed else config.strides
    if strides:
        space = space.with_strides(strides)
    scaled = replace(_scaled(space, target, coefficients, lift, run["seed"]), name=f"{space.name}_{name}")
    most = round(target * (1 + config.tolerance))
    algorithm = dict(run["algorithm"])
    if algorithm["name"] == _STARTED:
        start = _start(ledger, scaled, target, coefficients, lift)
        kept = {name: option for name, option in algorithm["options"].items() if name != "hints"}  # of another space
        algorithm["options"] = {**kept, "start_genotypes": start}
    # The same seconds of video in more frames.
    stride = max(1, round(run["data"]["frame_stride"] * space.frames / scaled.frames))
    return {
        **run,
        "space": movinet.to_dict(scaled),
        "data": {**run["data"], "frame_stride": stride},
        "limits": {"macs": most},
        "algorithm": algorithm,
        "finals": {**run["finals"], "references": []},
        "family": families.to_dict(replace(config, lift=UNSCALED, strides=(), targets={name: target}, ensemble={})),
    }


def _within_the_clips(config: FamilyConfig) -> tuple[Coefficients, Factors]:
    """Growth of depth and width from where the proxy is: the lift is to the size of networks on other clips."""
    return replace(config.coefficients, resolution=1, frames=1), UNSCALED


def _scaled(space: SpaceConfig, target: float, coefficients: Coefficients, lift: Factors, seed: int) -> SpaceConfig:
    """The space at the phi whose median member costs nearest to the target."""

    def scaled(step: int) -> SpaceConfig:
        return scale_space(space, step / STEPS, coefficients, lift)

    def median(step: int) -> float:
        try:
            members = movinet.movinet_space(scaled(step))
        except InputError:  # an option out of its range
            return np.inf
        return float(np.median(members.count(members.sample(np.random.default_rng(seed), SAMPLE))["macs"]))

    low, high = -REACH * STEPS, REACH * STEPS
    while high - low > 1:  # the median rises but for rounding, so this is near the best step, which is then looked for
        middle = (low + high) // 2
        low, high = (middle, high) if median(middle) < target else (low, middle)
    best = min(range(low - 4, high + 5), key=lambda step: abs(median(step) - target))
    if not abs(median(best) / target - 1) < 0.25:
        raise InputError("target", target, "multiply-adds are not what the median member of any scaled space costs")
    return scaled(best)


def _start(
    ledger: Ledger, space: SpaceConfig, target: float, coefficients: Coefficients, lift: Factors
) -> list[list[int]]:
    """Members nearest to the best parents, each scaled to the target."""
    members = movinet.movinet_space(space)
    front = selected_front(ledger).tail(PARENTS)  # the most expensive ones
    found: dict[tuple[int, ...], None] = {}
    for data in front["architecture"]:
        with suppress(InputError):  # it does not reach the target without a larger clip
            parent = with_strides(architecture.from_dict(data), [block.stride for block in space.blocks])
            scaled = scale_to_macs(parent, target, space.classes, coefficients, lift, 0.25)
            found[nearest(members, scaled.architecture)] = None
    return [list(genotype) for genotype in found]


def write(configuration: Mapping[str, Any], name: str, path: Path) -> str:
    """The configuration as a YAML file that `run_search.py search` takes; returns what to say of it.

    Raises:
      InputError: the file cannot be written.
    """
    with replaced(path) as new:
        new.write_text(f"# A search around the model {name} of a family.\n{yaml_text(configuration)}", encoding="utf-8")
    return f"{path}\nrun it with: run_search.py search {path}"
