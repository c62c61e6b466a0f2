"""Stem, inverted bottleneck and head: the mathematics of the network, written once.

Every function takes an interpreter `run` that carries primitives out (`Forward` here, for Keras and for
inference; `tape.Tape`, which also records them for the gradient) and weights by name.
Activations are `[T*B, H, W, C]`, time-major; see `ops`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf

from movinet.model import ops, stream_ops
from movinet.model.ops import Primitive, Reach, Tensor
from movinet.model.specs import BN_EPSILON, BottleneckSpec, Spec
from movinet.model.stream_ops import Memory
from search_space.variant import BASE, Variant

Norm = tuple[Tensor, Tensor]  # gamma, beta


class Interpreter(Protocol):
    """Carries out primitives, and convolutions with the batch norm after them by the statistics it stands for."""

    def __call__(self, primitive: Primitive, *inputs: Any, **attributes: Any) -> Tensor: ...

    def normalised(
        self, primitive: Primitive, name: str, norm: Norm, x: Tensor, kernel: Tensor, *inputs: Any, **attributes: Any
    ) -> Tensor:
        """`primitive` of x and a kernel, with `norm` (scale and offset) after it; `name` is that of the norm."""
        ...


@dataclass(frozen=True)
class BottleneckForm:
    """What is compiled into a bottleneck: everything but its widths and sizes.

    `reach` is of the depthwise kernel, or of its part over space; `temporal` of the part over time, if it has one.
    """

    reach: Reach
    squeeze_excite: bool
    projected_skip: bool
    temporal: Reach | None = None
    variant: Variant = BASE

    @classmethod
    def at(cls, spec: BottleneckSpec, frames: int | None, size: int | None) -> BottleneckForm:
        """The form of `spec` on clips of `frames` frames that come in at `size` x `size` pixels."""
        # Behind a past that may be remembered, every tap can meet a real frame.
        known = None if spec.variant.causal else frames
        (_, kernel), *temporal = spec.depthwise_kernels
        reach = Reach.of(kernel, spec.stride, known, size)
        then = Reach.of(temporal[0][1], 1, known, 1) if temporal else None
        return cls(reach, spec.gated, spec.projected_skip, then, spec.variant)

    def for_inference(self) -> BottleneckForm:
        """The same without the padding that is written out for the sake of the kernel's gradient alone."""
        return dataclasses.replace(self, reach=dataclasses.replace(self.reach, padding=None))


def stem(run: Interpreter, x: Tensor, w: Mapping[str, Tensor], variant: Variant = BASE) -> Tensor:
    """x[T*B, H, W, 3] -> [T*B, H/2, W/2, C]."""
    y = run.normalised(ops.stem_convolution, "conv", _norm_of(w, "conv"), x, w["conv"])
    return run(stream_ops.ACTIVATIONS[variant.activation], y)


def _norm_of(w: Mapping[str, Tensor], name: str) -> Norm:
    return w[f"{name}_gamma"], w[f"{name}_beta"]


def bottleneck(
    run: Interpreter,
    x: Tensor,
    w: Mapping[str, Tensor],
    batch: Any,
    form: BottleneckForm,
    keep: Tensor | None = None,
    memory: Memory | None = None,
) -> Tensor:
    """Expand, depthwise, squeeze-excite, project, ReZero, stochastic depth, skip.

    x[T*B, H, W, C] -> [T*B, H/stride, W/stride, D]; keep[B] weighs each clip's branch, or None for all of it. A causal
    layer's `memory` is what it carries on from earlier frames; None starts a clip.
    """
    memory = memory or Memory()
    activation = stream_ops.ACTIVATIONS[form.variant.activation]
    y = run(activation, run.normalised(ops.expansion, "expand", _norm_of(w, "expand"), x, w["expand"]))
    y = run(activation, _depthwise(run, "depthwise", y, w, batch, form.reach, form.variant.causal, memory))
    if form.temporal:
        y = run(activation, _depthwise(run, "temporal", y, w, batch, form.temporal, form.variant.causal, memory))
    if form.squeeze_excite:
        y = _squeeze_excite(run, y, w, batch, form.variant, memory)
    # ReZero multiplies the branch by one scalar: on the scale and offset of its last norm that is the same
    # product, for C numbers instead of a whole activation.
    gamma = run(ops.times_scalar, w["project_gamma"], w["rezero"])
    beta = run(ops.times_scalar, w["project_beta"], w["rezero"])
    y = run.normalised(ops.pointwise, "project", (gamma, beta), y, w["project"])
    if keep is not None:
        y = run(ops.stochastic_depth, y, keep, batch)
    return run(ops.add, y, _skip(run, x, w, form))


def _depthwise(
    run: Interpreter, name: str, x: Tensor, w: Mapping[str, Tensor], batch: Any, reach: Reach, causal: bool,
    memory: Memory,
) -> Tensor:  # fmt: skip
    """A depthwise convolution and its norm; a causal one behind the frames before, remembered or zero."""
    primitive, past = ops.depthwise, reach.kernel[0] - 1
    if causal and past:
        primitive, x = stream_ops.depthwise_behind_past, stream_ops.with_past(x, past, batch, memory)
    return run.normalised(primitive, name, _norm_of(w, name), x, w[name], batch, reach=reach)


def _squeeze_excite(
    run: Interpreter, x: Tensor, w: Mapping[str, Tensor], batch: Any, variant: Variant, memory: Memory
) -> Tensor:
    whole_clip = not variant.causal and variant.se_type == "3d"
    if whole_clip and (variant.activation, variant.gating_activation) == (BASE.activation, BASE.gating_activation):
        return run(ops.squeeze_excite, x, w["squeeze"], w["squeeze_bias"], w["excite"], w["excite_bias"], batch)
    return stream_ops.squeeze_excite(x, w, batch, variant, memory)


def _skip(run: Interpreter, x: Tensor, w: Mapping[str, Tensor], form: BottleneckForm) -> Tensor:
    if not form.projected_skip:
        return x
    if form.reach.stride != 1:
        x = run(ops.skip_pool, x)
    return run.normalised(ops.expansion, "skip", _norm_of(w, "skip"), x, w["skip"])


def head_features(
    run: Interpreter,
    x: Tensor,
    w: Mapping[str, Tensor],
    batch: Any,
    variant: Variant = BASE,
    memory: Memory | None = None,
) -> Tensor:
    """x[T*B, H, W, C] -> [B, dense]: what dropout and the classifier follow; with `memory`, of all frames so far."""
    activation = stream_ops.ACTIVATIONS[variant.activation]
    y = run(activation, run.normalised(ops.expansion, "project", _norm_of(w, "project"), x, w["project"]))
    if memory is None:
        y = run(ops.clip_pool, y, batch)
    else:
        y = tf.cast(stream_ops.mean_of_all(stream_ops.frame_means(y, batch), memory), y.dtype)
    return run(stream_ops.ACTIVATIONS[variant.classifier_activation], run(ops.dense, y, w["dense"], w["dense_bias"]))


def classifier(run: Interpreter, features: Tensor, w: Mapping[str, Tensor]) -> Tensor:
    """features[B, dense] -> logits [B, classes]."""
    return run(ops.dense, features, w["classifier"], w["classifier_bias"])


class Forward:
    """Runs primitives without recording; batch norm with given moving statistics (name -> mean, variance)."""

    def __init__(self, moving: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        self.moving = moving

    def __call__(self, primitive: Primitive, *inputs: Any, **attributes: Any) -> Tensor:
        return primitive.forward(*inputs, **attributes)[0]

    def normalised(
        self, primitive: Primitive, name: str, norm: Norm, x: Tensor, kernel: Tensor, *inputs: Any, **attributes: Any
    ) -> Tensor:
        """As of `Interpreter`, by moving statistics."""
        # With fixed statistics a norm is a factor and an offset for each channel, and the factor goes into the kernel.
        (gamma, beta), (mean, variance) = norm, self.moving[name]
        factor = gamma * tf.math.rsqrt(variance + BN_EPSILON)
        y = self(primitive, x, kernel * tf.cast(factor, kernel.dtype), *inputs, **attributes)
        return tf.nn.bias_add(y, tf.cast(beta - mean * factor, y.dtype))


class Folded(Forward):
    """Runs primitives with kernels that hold their norms already: name -> kernel, offset; see `fold`."""

    def __init__(self, kernels: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        super().__init__({})
        self.kernels = kernels

    def normalised(
        self, primitive: Primitive, name: str, norm: Norm, x: Tensor, kernel: Tensor, *inputs: Any, **attributes: Any
    ) -> Tensor:
        """As of `Interpreter`, by the kernel that has the norm in it."""
        kernel, offset = self.kernels[name]
        return tf.nn.bias_add(self(primitive, x, kernel, *inputs, **attributes), offset)


def fold(
    spec: Spec, w: Mapping[str, Tensor], moving: Mapping[str, tuple[Tensor, Tensor]]
) -> dict[str, tuple[Tensor, Tensor]]:
    """The kernel and offset of every convolution with its norm in them, by fixed statistics; ReZero in the last."""
    found = {}
    for name, _ in spec.norms:
        mean, variance = moving[name]
        scale = w["rezero"] if name == "project" and "rezero" in w else 1.0
        factor = scale * w[f"{name}_gamma"] * tf.math.rsqrt(variance + BN_EPSILON)
        found[name] = w[name] * factor, scale * w[f"{name}_beta"] - mean * factor
    return found


class ForwardTraining(Forward):
    """Runs primitives without recording; batch norm with the batch's own statistics, which it keeps by name."""

    def __init__(self) -> None:
        super().__init__({})
        self.statistics: dict[str, tuple[Tensor, Tensor]] = {}

    def normalised(
        self, primitive: Primitive, name: str, norm: Norm, x: Tensor, kernel: Tensor, *inputs: Any, **attributes: Any
    ) -> Tensor:
        """As of `Interpreter`, by the batch's own statistics, which are kept."""
        y, self.statistics[name] = ops.normalise(self(primitive, x, kernel, *inputs, **attributes), *norm)
        return y
