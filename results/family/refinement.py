"""A search around one model of a family: the run's space, scaled so that its median architecture costs the same.

MoViNets, arXiv 2103.11511, section 3, scale the space as well as its networks. Scaling keeps the proportions of a
parent that were found at the proxy's scale; a search in the scaled space can improve them.
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
REACH = 12  # units of phi searched in both directions
SAMPLE = 1000
PARENTS = 3
_FIXED_CLIPS = "moving_digits"  # the source whose clips have a fixed length and size
_STARTED = "frontier_search"  # the algorithm that accepts start architectures


def refinement(ledger: Ledger, config: FamilyConfig, name: str) -> dict[str, Any]:
    """Return the configuration, as plain data, of a search in the run's space scaled to the target of the model `name`.

    Clips, recipe, trials and algorithm are those of the run. The limit of multiply-adds is the target. Other limits
    and the published networks are removed, because they fit the proxy's scale. An algorithm that accepts a start
    begins with the architectures nearest to parents from the front, scaled to the target.

    Clips of moving digits have a fixed length and size, so for them only depth and width grow.

    Raises:
      InputError: no such model; an option leaves its range before the median architecture costs enough.
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
    # The clip has more frames of the same seconds of video.
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
    """Return growth of depth and width only, without proxy-to-full scaling, which is for clips of other sizes."""
    return replace(config.coefficients, resolution=1, frames=1), UNSCALED


def _scaled(space: SpaceConfig, target: float, coefficients: Coefficients, lift: Factors, seed: int) -> SpaceConfig:
    """Return the space at the phi whose median architecture costs nearest to the target."""

    def scaled(step: int) -> SpaceConfig:
        return scale_space(space, step / STEPS, coefficients, lift)

    def median(step: int) -> float:
        try:
            members = movinet.movinet_space(scaled(step))
        except InputError:  # an option is out of its range
            return np.inf
        return float(np.median(members.count(members.sample(np.random.default_rng(seed), SAMPLE))["macs"]))

    low, high = -REACH * STEPS, REACH * STEPS
    while high - low > 1:  # the median rises except for rounding, so this is near the best step, which is searched next
        middle = (low + high) // 2
        low, high = (middle, high) if median(middle) < target else (low, middle)
    best = min(range(low - 4, high + 5), key=lambda step: abs(median(step) - target))
    if not abs(median(best) / target - 1) < 0.25:
        raise InputError("target", target, "multiply-adds: no scaled space has a median architecture of this cost")
    return scaled(best)


def _start(
    ledger: Ledger, space: SpaceConfig, target: float, coefficients: Coefficients, lift: Factors
) -> list[list[int]]:
    """Return the architectures nearest to the best parents, each scaled to the target."""
    members = movinet.movinet_space(space)
    front = selected_front(ledger).tail(PARENTS)  # the most expensive ones
    found: dict[tuple[int, ...], None] = {}
    for data in front["architecture"]:
        with suppress(InputError):  # raised if the target needs a larger clip
            parent = with_strides(architecture.from_dict(data), [block.stride for block in space.blocks])
            scaled = scale_to_macs(parent, target, space.classes, coefficients, lift, 0.25)
            found[nearest(members, scaled.architecture)] = None
    return [list(genotype) for genotype in found]


def write(configuration: Mapping[str, Any], name: str, path: Path) -> str:
    """Write the configuration as a YAML file for `run_search.py search`; return the text to print.

    Raises:
      InputError: the file cannot be written.
    """
    with replaced(path) as new:
        new.write_text(f"# A search around the model {name} of a family.\n{yaml_text(configuration)}", encoding="utf-8")
    return f"{path}\nrun it by: run_search.py search {path}"
