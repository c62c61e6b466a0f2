"""Weights and norms of each kind of layer, and how they are initialised: plain data that needs no TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from search_space.architecture import Architecture, Kernel
from search_space.rounding import make_divisible
from search_space.variant import BASE, Variant

BN_EPSILON = 1e-3  # from the Model Garden's configs
SQUEEZE_RATIO = 0.25  # of the expanded channels, in the Model Garden

# HeNormal draws from a normal cut at two standard deviations, which has this standard deviation.
_TRUNCATED_STD = 0.87962566103423978


@dataclass(frozen=True)
class Weight:
    """One trainable array.

    Attributes:
      start: "he" for HeNormal with the fan-in of its shape, else the constant.
      decayed: weight decay applies.
      orthogonal: trained by Muon, as a matrix with a column for each output channel; otherwise by AdamW.
    """

    name: str
    shape: tuple[int, ...]
    start: str | float
    decayed: bool
    orthogonal: bool = False


def _kernel(name: str, *shape: int, orthogonal: bool = True) -> Weight:
    return Weight(name, shape, "he", True, orthogonal)


def _norm(name: str, channels: int) -> tuple[Weight, Weight]:
    return Weight(f"{name}_gamma", (channels,), 1.0, False), Weight(f"{name}_beta", (channels,), 0.0, False)


def _bias(name: str, channels: int) -> Weight:
    return Weight(name, (channels,), 0.0, False)


@dataclass(frozen=True)
class StemSpec:
    """1x3x3 convolution of stride (1, 2, 2) to `width` channels."""

    width: int
    variant: Variant = BASE

    def weights(self) -> tuple[Weight, ...]:
        """The trainable arrays, in a fixed order."""
        return (_kernel("conv", 3, 3, 3, self.width), *_norm("conv", self.width))

    @property
    def norms(self) -> tuple[tuple[str, int], ...]:
        """Name and channels of each batch norm."""
        return (("conv", self.width),)


@dataclass(frozen=True)
class BottleneckSpec:
    """One inverted bottleneck at its position in the network; widths are in channels."""

    width_in: int
    expand: int
    width: int
    kernel: Kernel
    stride: int
    squeeze_excite: bool
    variant: Variant = BASE

    @property
    def gated(self) -> bool:
        """True if both the layer and the variant have squeeze-excite."""
        return self.squeeze_excite and self.variant.se_type != "none"

    @property
    def depthwise_kernels(self) -> tuple[tuple[str, Kernel], ...]:
        """Name and kernel of each depthwise convolution: one, or one over space and one over time."""
        time, space, _ = self.kernel
        if not self.variant.factorised or time == 1:
            return (("depthwise", self.kernel),)
        return ("depthwise", (1, space, space)), ("temporal", (time, 1, 1))

    @property
    def seen(self) -> int:
        """Channels of the input of squeeze-excite."""
        return self.expand * (2 if self.variant.se_type == "2plus3d" else 1)

    @property
    def projected_skip(self) -> bool:
        """True if shapes differ, so that the skip is a projection (after a pool where it downsamples)."""
        return self.stride != 1 or self.width_in != self.width

    @property
    def hidden(self) -> int:
        """Channels between the two layers of squeeze-excite."""
        return make_divisible(SQUEEZE_RATIO * self.seen)

    def weights(self) -> tuple[Weight, ...]:
        """The trainable arrays, in a fixed order."""
        found = [_kernel("expand", self.width_in, self.expand), *_norm("expand", self.expand)]
        for name, kernel in self.depthwise_kernels:
            found += [_kernel(name, *kernel, self.expand), *_norm(name, self.expand)]
        if self.gated:
            found += [_kernel("squeeze", self.seen, self.hidden, orthogonal=False), _bias("squeeze_bias", self.hidden)]
            found += [_kernel("excite", self.hidden, self.expand, orthogonal=False), _bias("excite_bias", self.expand)]
            if self.variant.encodes_position:
                found += [Weight("positional", (1,), 0.0, False)]
        found += [_kernel("project", self.expand, self.width), *_norm("project", self.width)]
        found += [Weight("rezero", (1,), 0.0, False)]
        if self.projected_skip:
            found += [_kernel("skip", self.width_in, self.width), *_norm("skip", self.width)]
        return tuple(found)

    @property
    def norms(self) -> tuple[tuple[str, int], ...]:
        """Name and channels of each batch norm."""
        inner = ("expand", *(name for name, _ in self.depthwise_kernels))
        outer = ("project", "skip") if self.projected_skip else ("project",)
        return (*((name, self.expand) for name in inner), *((name, self.width) for name in outer))


@dataclass(frozen=True)
class HeadSpec:
    """Projection, pool over the clip, dense layer, classifier."""

    width_in: int
    project: int
    dense: int
    classes: int
    variant: Variant = BASE

    def weights(self) -> tuple[Weight, ...]:
        """The trainable arrays, in a fixed order."""
        return (
            _kernel("project", self.width_in, self.project),
            *_norm("project", self.project),
            _kernel("dense", self.project, self.dense),
            _bias("dense_bias", self.dense),
            _kernel("classifier", self.dense, self.classes, orthogonal=False),
            _bias("classifier_bias", self.classes),
        )

    @property
    def norms(self) -> tuple[tuple[str, int], ...]:
        """Name and channels of each batch norm."""
        return (("project", self.project),)


Spec = StemSpec | BottleneckSpec | HeadSpec


def initial(spec: Spec, seed: int, rezero: float | None = None) -> dict[str, np.ndarray]:
    """Return the initial weights of a layer by name: HeNormal kernels, unit scales, zero biases; float32.

    `rezero` replaces the initial value of the ReZero scalars.
    """
    rng = np.random.default_rng(seed)
    return {weight.name: first_value(weight, rng, rezero) for weight in spec.weights()}


def first_states(architecture: Architecture, classes: int, seed: int, rezero: float) -> list[np.ndarray]:
    """The initial state of each layer from stem to head, float32 [3, weights]: flat weights and two moments, zero."""
    specs = layer_specs(architecture, classes)
    states = []
    for spec, layer_seed in zip(specs, layer_seeds(seed, len(specs)), strict=True):
        weights = np.concatenate([value.ravel() for value in initial(spec, layer_seed, rezero).values()])
        states.append(np.stack([weights, *np.zeros((2, len(weights)), np.float32)]))
    return states


def first_value(weight: Weight, rng: np.random.Generator, rezero: float | None = None) -> np.ndarray:
    """Return the initial value of one weight, float32 of any shape; `rezero` replaces that of a ReZero scalar."""
    if weight.start == "he":
        return _he_normal(weight.shape, rng)
    start = rezero if weight.name == "rezero" and rezero is not None else weight.start
    return np.full(weight.shape, start, np.float32)


def _he_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    values = rng.standard_normal(math.prod(shape), dtype=np.float32)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(int(outside.sum()), dtype=np.float32)
    return (values * np.float32(math.sqrt(2 / math.prod(shape[:-1])) / _TRUNCATED_STD)).reshape(shape)


def layer_seeds(seed: int, layers: int) -> list[int]:
    """A seed for each layer of a network, stem and head included."""
    return [int(s) for s in np.random.SeedSequence(seed).generate_state(layers)]


def bottlenecks(architecture: Architecture, variant: Variant = BASE) -> Iterator[tuple[str, BottleneckSpec]]:
    """Name (`block2_layer1`, counted from 1) and spec of every inverted bottleneck, in order."""
    width = architecture.stem.width
    for i, block in enumerate(architecture.blocks, 1):
        for j, layer in enumerate(block.layers, 1):
            stride = block.stride if j == 1 else 1
            spec = BottleneckSpec(width, layer.expand, block.width, layer.kernel, stride, layer.squeeze_excite, variant)
            yield f"block{i}_layer{j}", spec
            width = block.width


def head_spec(architecture: Architecture, classes: int, variant: Variant = BASE) -> HeadSpec:
    """The head of an architecture for a number of classes."""
    head = architecture.head
    return HeadSpec(architecture.blocks[-1].width, head.project, head.dense, classes, variant)


def layer_specs(architecture: Architecture, classes: int) -> list[Spec]:
    """The layers of an architecture in the base variant, from stem to head."""
    inner = [spec for _, spec in bottlenecks(architecture)]
    return [StemSpec(architecture.stem.width), *inner, head_spec(architecture, classes)]
