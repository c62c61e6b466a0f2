"""The published networks A0-A5 and T0 as literals: MoViNets, arXiv 2103.11511, as in the TensorFlow Model Garden.

All numbers are from `BLOCK_SPECS` of the Model Garden (official/projects/movinet/modeling/movinet.py) and its
experiment files. Where paper and Model Garden differ, the Model Garden's values are used, because they fit its
checkpoints.
"""

from __future__ import annotations

from search_space.architecture import Architecture, Block, Clip, Head, Kernel, Layer, Stem
from search_space.base.errors import InputError
from search_space.base.names import hint

K13 = (1, 3, 3)
K15 = (1, 5, 5)
K33 = (3, 3, 3)
K53 = (5, 3, 3)


def _block(width: int, stride: int, expansions: tuple[int, ...], kernels: tuple[Kernel, ...]) -> Block:
    layers = tuple(Layer(expand, kernel) for expand, kernel in zip(expansions, kernels, strict=True))
    return Block(width, stride, layers)


# Clip(frames, resolution, frame stride at 25 fps); a block is width, stride, then its layers' expansions and kernels.
# fmt: off
A0 = Architecture(
    Clip(50, 172, 5), Stem(8), (
        _block(8, 2, (24,), (K15,)),
        _block(32, 2, (80, 80, 80), (K33, K33, K33)),
        _block(56, 2, (184, 112, 184), (K53, K33, K33)),
        _block(56, 1, (184, 184, 184, 184), (K53, K33, K33, K33)),
        _block(104, 2, (384, 280, 280, 344), (K53, K15, K15, K15)),
    ), Head(480, 2048),
)

A1 = Architecture(
    Clip(50, 172, 5), Stem(16), (
        _block(16, 2, (40, 40), (K15, K33)),
        _block(40, 2, (96, 120, 96, 96), (K33, K33, K33, K33)),
        _block(64, 2, (216, 128, 216, 168, 216), (K53, K33, K33, K33, K33)),
        _block(64, 1, (216, 216, 216, 128, 128, 216), (K53, K33, K33, K33, K15, K33)),
        _block(136, 2, (456, 360, 360, 360, 456, 456, 544), (K53, K15, K15, K15, K15, K33, K13)),
    ), Head(600, 2048),
)

A2 = Architecture(
    Clip(50, 224, 5), Stem(16), (
        _block(16, 2, (40, 40, 64), (K15, K33, K33)),
        _block(40, 2, (96, 120, 96, 96, 120), (K33, K33, K33, K33, K33)),
        _block(72, 2, (240, 160, 240, 192, 240), (K53, K33, K33, K33, K33)),
        _block(72, 1, (240, 240, 240, 240, 144, 240), (K53, K33, K33, K33, K15, K33)),
        _block(144, 2, (480, 384, 384, 480, 480, 480, 576), (K53, K15, K15, K15, K15, K33, K13)),
    ), Head(640, 2048),
)

A3 = Architecture(
    Clip(120, 256, 2), Stem(16), (
        _block(16, 2, (40, 40, 64, 40), (K15, K33, K33, K33)),
        _block(48, 2, (112, 144, 112, 112, 144, 144), (K33, K33, K33, K15, K33, K33)),
        _block(80, 2, (240, 152, 240, 192, 240), (K53, K33, K33, K33, K33)),
        _block(88, 1, (264, 264, 264, 264, 160, 264, 264, 264),
                      (K53, K33, K33, K33, K15, K33, K33, K33)),
        _block(168, 2, (560, 448, 448, 560, 560, 560, 448, 448, 560, 672),
                       (K53, K15, K15, K15, K15, K33, K15, K15, K33, K13)),
    ), Head(744, 2048),
)

A4 = Architecture(
    Clip(80, 290, 3), Stem(24), (
        _block(24, 2, (64, 64, 96, 64, 96, 64), (K15, K33, K33, K33, K33, K33)),
        _block(56, 2, (168, 168, 136, 136, 168, 168, 168, 136, 136),
                      (K33, K33, K33, K33, K33, K33, K33, K15, K33)),
        _block(96, 2, (320, 160, 320, 192, 320, 160, 320, 256, 320),
                      (K53, K33, K33, K33, K33, K33, K33, K33, K33)),
        _block(96, 1, (320, 320, 320, 320, 192, 320, 320, 192, 320, 320),
                      (K53, K33, K33, K33, K15, K33, K33, K33, K33, K33)),
        _block(192, 2, (640, 512, 512, 640, 640, 640, 512, 512, 640, 768, 640, 640, 768),
                       (K53, K15, K15, K15, K15, K33, K15, K15, K15, K15, K15, K33, K33)),
    ), Head(856, 2048),
)

A5 = Architecture(
    Clip(120, 320, 2), Stem(24), (
        _block(24, 2, (64, 64, 96, 64, 96, 64), (K15, K15, K33, K33, K33, K33)),
        _block(64, 2, (192, 152, 152, 152, 192, 192, 192, 152, 152, 192, 192),
                      (K53, K33, K33, K33, K33, K33, K33, K33, K33, K33, K33)),
        _block(112, 2, (376, 224, 376, 376, 296, 376, 224, 376, 376, 296, 376, 376, 376),
                       (K53, K33, K33, K33, K33, K33, K33, K33, K33, K33, K33, K33, K33)),
        _block(120, 1, (376, 376, 376, 376, 224, 376, 376, 224, 376, 376, 376),
                       (K53, K33, K33, K33, K15, K33, K33, K33, K33, K33, K33)),
        _block(224, 2, (744, 744, 600, 600, 744, 744, 744, 896, 600, 600, 896, 744, 744, 896, 600, 600, 744, 744),
                       (K53, K33, K15, K15, K15, K15, K33, K15, K15, K15, K15, K15, K33, K15, K15, K15, K15, K33)),
    ), Head(992, 2048),
)

T0 = Architecture(
    Clip(25, 160, 10), Stem(8), (
        _block(8, 2, (16,), (K15,)),
        _block(32, 2, (72, 72), (K33, K15)),
        _block(56, 2, (112, 112, 112), (K53, K15, K33)),
        _block(56, 1, (184, 184, 184, 184), (K53, K15, K33, K33)),
        _block(104, 2, (344, 344, 344, 344), (K53, K15, K15, K33)),
    ), Head(240, 1024),
)
# fmt: on

PUBLISHED = {"a0": A0, "a1": A1, "a2": A2, "a3": A3, "a4": A4, "a5": A5, "t0": T0}


def published(name: str) -> Architecture:
    """Return the published network called `name`, in upper or lower case: a0 ... a5 or t0.

    Raises:
      InputError: no such network; the message has the known names and the nearest.
    """
    if name.lower() in PUBLISHED:
        return PUBLISHED[name.lower()]
    rule = f"is not a published network; known: {', '.join(PUBLISHED)}{hint(name, PUBLISHED)}"
    raise InputError("network", name, rule)
