"""Choices of an architecture as comparable numbers: of the whole network, and of each block.

Kernels, expansions and squeeze-excite are chosen per layer; here they are means over layers, so that networks of
different depth have the same numbers. An expansion is the inner channels of a layer per channel of its block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from search_space.architecture import Architecture, Block, Layer

WHOLE = "whole network"
Chosen = Mapping[str, Any]  # architecture of a network family that a user brought: options by choice
KERNELS = ("spatial kernel", "temporal kernel")
Measure = tuple[str, str]  # the part of the network, and the measure


def measures(network: Architecture | Chosen) -> dict[Measure, float]:
    """Return every measure of a network, in the order of display; of another family its choices among numbers."""
    if not isinstance(network, Architecture):
        return {(WHOLE, name): float(value) for name, value in network.items() if isinstance(value, int | float)}
    found: dict[Measure, float] = {(WHOLE, name): value for name, value in _whole(network).items()}
    for number, block in enumerate(network.blocks, 1):
        own = {"layers": len(block.layers), "width": block.width, **_layers([block])}
        found |= {(f"block {number}", name): value for name, value in own.items()}
    return found


def _whole(network: Architecture) -> Mapping[str, float]:
    clip = {"frames": network.clip.frames, "resolution": network.clip.resolution}
    size = {"layers": network.depth, "mean width": fmean(block.width for block in network.blocks)}
    ends = {"stem width": network.stem.width, "head width": network.head.project}
    return {**clip, **size, **_layers(network.blocks), **ends}


def _layers(blocks: Sequence[Block]) -> Mapping[str, float]:
    layers: list[tuple[Block, Layer]] = [(block, layer) for block in blocks for layer in block.layers]
    return {
        "expansion": fmean(layer.expand / block.width for block, layer in layers),
        "temporal kernel": fmean(layer.kernel[0] for _, layer in layers),
        "spatial kernel": fmean(layer.kernel[1] for _, layer in layers),
        "squeeze-excite": fmean(layer.squeeze_excite for _, layer in layers),
    }


def dimensions(network: Architecture) -> dict[str, tuple[float, ...]]:
    """Return the dimensions of the search space as numbers: a block's depth, or a mean over layers per block."""
    layered = [_layers([block]) for block in network.blocks]
    widths = (network.stem.width, *(block.width for block in network.blocks), network.head.project)
    return {
        **{f"depth of block {number}": (float(len(block.layers)),) for number, block in enumerate(network.blocks, 1)},
        "width": tuple(map(math.log, widths)),
        "expansion": tuple(math.log(each["expansion"]) for each in layered),
        **{name: tuple(each[name] for each in layered) for name in KERNELS},
        "squeeze-excite": tuple(each["squeeze-excite"] for each in layered),
        "resolution": (math.log(network.clip.resolution),),
        "frame stride": (math.log(network.clip.frame_stride), math.log(network.clip.frames)),
    }


def chosen_options(networks: Sequence[Chosen]) -> list[dict[str, tuple[float, ...]]]:
    """Return the dimensions of networks of another family: by choice, 1 for the option chosen and 0 for the others."""
    options: dict[str, list[Any]] = {}
    for network in networks:
        for name, option in network.items():
            known = options.setdefault(name, [])
            if option not in known:
                known.append(option)
    return [
        {name: tuple(float(network.get(name) == option) for option in known) for name, known in options.items()}
        for network in networks
    ]
