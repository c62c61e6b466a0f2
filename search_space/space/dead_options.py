"""Kernel options that compute the same function as another option, because the feature map is small.

A kernel of stride 1 that is wider than 2n - 1 on n x n pixels, or longer than 2T - 1 in T frames, multiplies its outer
weights with padding only. Such options differ only in cost.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from search_space.architecture import Architecture, Kernel
from search_space.space.movinet import SpaceConfig


@dataclass(frozen=True)
class DeadOption:
    """A kernel that computes the same function as a cheaper one in some networks of a space.

    Attributes:
      choice: name of the choice, as in "block5.layer2.kernel".
      option: the more expensive of two kernels that compute the same function.
      same_as: the cheaper one.
      resolutions: those of the space to which this applies.
      frame_strides: those of the space to which this applies.
    """

    choice: str
    option: Kernel
    same_as: Kernel
    resolutions: tuple[int, ...]
    frame_strides: tuple[int, ...]


Weights = frozenset[tuple[tuple[int, int], ...]]


@functools.cache
def used_weights(width: int, size: int, stride: int) -> Weights:
    """Return, for each weight of a 1D kernel that reaches more than padding, the (output, input) positions it connects.

    Two kernels of equal sets compute the same functions of `size` inputs. Padding is that of TensorFlow's "SAME".
    """
    outputs = -(-size // stride)
    before = max(0, (outputs - 1) * stride + width - size) // 2
    connected = (
        tuple((i, i * stride - before + w) for i in range(outputs) if 0 <= i * stride - before + w < size)
        for w in range(width)
    )
    return frozenset(pairs for pairs in connected if pairs)


def without_dead_weights(architecture: Architecture) -> Architecture:
    """Return the same network with the smallest kernels of odd sizes that compute the same functions."""
    size, blocks = -(-architecture.clip.resolution // 2), []
    for block in architecture.blocks:
        layers = []
        for layer, stride in zip(block.layers, itertools.chain([block.stride], itertools.repeat(1)), strict=False):
            time, side = (
                _smallest(layer.kernel[0], architecture.clip.frames, 1),
                _smallest(layer.kernel[1], size, stride),
            )
            layers.append(replace(layer, kernel=(time, side, side)))
            size = -(-size // stride)
        blocks.append(replace(block, layers=tuple(layers)))
    return replace(architecture, blocks=tuple(blocks))


def _smallest(width: int, size: int, stride: int) -> int:
    used = used_weights(width, size, stride)
    return next(w for w in range(1, width + 1, 2) if used_weights(w, size, stride) == used)


def dead_options(config: SpaceConfig) -> list[DeadOption]:
    """Return all kernel options of a space that compute the same function as a cheaper option of the same choice."""
    found = []
    for choice, kernels, sizes, stride in _kernel_choices(config):
        for cheaper, option in itertools.combinations(sorted(kernels, key=lambda k: (k[0] * k[1] * k[2], k)), 2):
            same_at = [
                resolution
                for resolution, size in sizes.items()
                if used_weights(option[1], size, stride) == used_weights(cheaper[1], size, stride)
            ]
            same_over = [
                frame_stride
                for frame_stride in config.frame_strides
                for frames in [-(-config.frames // frame_stride)]
                if used_weights(option[0], frames, 1) == used_weights(cheaper[0], frames, 1)
            ]
            if same_at and same_over:
                found.append(DeadOption(choice, option, cheaper, tuple(same_at), tuple(same_over)))
    return found


def _kernel_choices(config: SpaceConfig) -> Iterator[tuple[str, tuple[Kernel, ...], dict[int, int], int]]:
    """Yield each choice of a kernel: name, options, pixels of a side of its input by resolution, and stride."""
    sizes = {resolution: -(-resolution // 2) for resolution in config.resolutions}
    for i, block in enumerate(config.blocks, 1):
        for j in range(1, max(block.depths) + 1):
            stride = block.stride if j == 1 else 1
            yield f"block{i}.layer{j}.kernel", block.kernels, sizes, stride
            sizes = {resolution: -(-size // stride) for resolution, size in sizes.items()}


def warning(config: SpaceConfig) -> str:
    """Return one line that names the dead options of a space by block; '' if it has none."""
    found: dict[str, dict[Kernel, list[DeadOption]]] = {}
    for dead in dead_options(config):
        found.setdefault(dead.choice.partition(".")[0], {}).setdefault(dead.option, []).append(dead)
    if not found:
        return ""
    blocks = (
        f"{block} {', '.join(_described(option, dead, config) for option, dead in options.items())}"
        for block, options in found.items()
    )
    rule = "kernels that compute the same function as a cheaper one, because their other weights reach padding only"
    return f"space {config.name}: {rule}: {'; '.join(blocks)}"


def _described(option: Kernel, dead: list[DeadOption], config: SpaceConfig) -> str:
    some = sorted({resolution for each in dead for resolution in each.resolutions})
    where = "" if len(some) == len(config.resolutions) else f" (resolution {', '.join(map(str, some))})"
    return "x".join(map(str, option)) + where
