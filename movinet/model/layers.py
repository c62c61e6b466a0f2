"""Stem, inverted bottleneck and head: the mathematics of the network, written once.

Every function takes an interpreter `run`, which executes primitives, and weights by name. Interpreters are `Forward`
(here, for Keras and inference) and `tape.Tape`, which also records primitives for the gradient.
Activations are `[T*B, H, W, C]`, time-major; see `ops`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf

from movinet.model import depthwise_ops, norm_ops, ops, stream_ops
from movinet.model.depthwise_ops import Reach
from movinet.model.ops import Primitive, Tensor
from movinet.model.specs import BN_EPSILON, BottleneckSpec, Spec
from movinet.model.stream_ops import Memory
from search_space.variant import BASE, Variant

Norm = tuple[Tensor, Tensor]  # gamma, beta


class Interpreter(Protocol):
    """Executes primitives, and convolutions with the batch norm that follows them."""

    def __call__(self, primitive: Primitive, *inputs: Any, **attributes: Any) -> Tensor: ...

    def normalised(
        self, primitive: Primitive, name: str, norm: Norm, x: Tensor, kernel: Tensor, *inputs: Any, **attributes: Any
    ) -> Tensor:
        """Apply `primitive` to x and a kernel, then `norm` (scale and offset); `name` is that of the norm."""
        ...


@dataclass(frozen=True)
class BottleneckForm:
    """Signature of a compiled bottleneck: everything but its widths and sizes.

    `reach` is the extent of the depthwise kernel, or of its spatial part; `temporal` that of a separate temporal part.
    """

    reach: Reach
    squeeze_excite: bool
    projected_skip: bool
    temporal: Reach | None = None
    variant: Variant = BASE

    @classmethod
    def at(cls, spec: BottleneckSpec, frames: int | None, size: int | None) -> BottleneckForm:
        """Return the signature of `spec` on clips of `frames` frames with an input of `size` x `size` pixels."""
        # With stored past frames every tap can meet a real frame.
        known = None if spec.variant.causal else frames
        (_, kernel), *temporal = spec.depthwise_kernels
        reach = Reach.of(kernel, spec.stride, known, size)
        then = Reach.of(temporal[0][1], 1, known, 1) if temporal else None
        return cls(reach, spec.gated, spec.projected_skip, then, spec.variant)

    def for_inference(self) -> BottleneckForm:
        """Return the signature without the padding that only the kernel's gradient needs."""
        return dataclasses.replace(self, reach=dataclasses.replace(self.reach, padding=None))


def stem(run: Interpreter, x: Tensor, w: Mapping[str, Tensor], variant: Variant = BASE) -> Tensor:
    """Compute x[T*B, H, W, 3] -> [T*B, H/2, W/2, C]."""
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

    x[T*B, H, W, C] -> [T*B, H/stride, W/stride, D]; keep[B] weighs each clip's branch; None keeps it whole. A causal
    layer's `memory` holds its states from earlier frames; None starts a clip.
    """
    memory = memory or Memory()
    activation = stream_ops.ACTIVATIONS[form.variant.activation]
    y = run(activation, run.normalised(ops.expansion, "expand", _norm_of(w, "expand"), x, w["expand"]))
    y = run(activation, _depthwise(run, "depthwise", y, w, batch, form.reach, form.variant.causal, memory))
    if form.temporal:
        y = run(activation, _depthwise(run, "temporal", y, w, batch, form.temporal, form.variant.causal, memory))
    if form.squeeze_excite:
        y = _squeeze_excite(run, y, w, batch, form.variant, memory)
    # ReZero multiplies the branch by one scalar. Multiplying scale and offset of the last norm has the same result, and
    # costs C products instead of a whole activation.
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
    """Compute a depthwise convolution and its norm; a causal one after the frames before, stored or zero."""
    primitive, past = depthwise_ops.depthwise, reach.kernel[0] - 1
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
    """Compute x[T*B, H, W, C] -> [B, dense], the classifier's input; with `memory`, over all frames so far."""
    activation = stream_ops.ACTIVATIONS[variant.activation]
    y = run(activation, run.normalised(ops.expansion, "project", _norm_of(w, "project"), x, w["project"]))
    if memory is None:
        y = run(ops.clip_pool, y, batch)
    else:
        y = tf.cast(stream_ops.mean_of_all(stream_ops.frame_means(y, batch), memory), y.dtype)
    return run(stream_ops.ACTIVATIONS[variant.classifier_activation], run(ops.dense, y, w["dense"], w["dense_bias"]))


def classifier(run: Interpreter, features: Tensor, w: Mapping[str, Tensor]) -> Tensor:
    """Compute features[B, dense] -> logits [B, classes]."""
    return run(ops.dense, features, w["classifier"], w["classifier_bias"])


class Forward:
    """Executes primitives without recording; batch norm uses the moving statistics (name -> mean, variance)."""

    def __init__(self, moving: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        self.moving = moving

    def __call__(self, primitive: Primitive, *inputs: Any, **attributes: Any) -> Tensor:
        return primitive.forward(*inputs, **attributes)[0]

    def normalised(
        self, primitive: Primitive, name: str, norm: Norm, x: Tensor, kernel: Tensor, *inputs: Any, **attributes: Any
    ) -> Tensor:
        """See `Interpreter`; normalises by the moving statistics."""
        # With fixed statistics a norm is a factor and an offset per channel; the factor goes into the kernel.
        (gamma, beta), (mean, variance) = norm, self.moving[name]
        factor = gamma * tf.math.rsqrt(variance + BN_EPSILON)
        y = self(primitive, x, kernel * tf.cast(factor, kernel.dtype), *inputs, **attributes)
        return tf.nn.bias_add(y, tf.cast(beta - mean * factor, y.dtype))


class Folded(Forward):
    """Executes primitives with kernels that include their norms: name -> kernel, offset; see `fold`."""

    def __init__(self, kernels: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        super().__init__({})
        self.kernels = kernels

    def normalised(
        self, primitive: Primitive, name: str, norm: Norm, x: Tensor, kernel: Tensor, *inputs: Any, **attributes: Any
    ) -> Tensor:
        """See `Interpreter`; the kernel includes the norm."""
        kernel, offset = self.kernels[name]
        return tf.nn.bias_add(self(primitive, x, kernel, *inputs, **attributes), offset)


def fold(
    spec: Spec, w: Mapping[str, Tensor], moving: Mapping[str, tuple[Tensor, Tensor]]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return kernel and offset of each convolution with its norm folded in by fixed statistics; ReZero in the last."""
    found = {}
    for name, _ in spec.norms:
        mean, variance = moving[name]
        scale = w["rezero"] if name == "project" and "rezero" in w else 1.0
        factor = scale * w[f"{name}_gamma"] * tf.math.rsqrt(variance + BN_EPSILON)
        found[name] = w[name] * factor, scale * w[f"{name}_beta"] - mean * factor
    return found


class ForwardTraining(Forward):
    """Executes primitives without recording; batch norm uses the batch's statistics and keeps them by name."""

    def __init__(self) -> None:
        super().__init__({})
        self.statistics: dict[str, tuple[Tensor, Tensor]] = {}

    def normalised(
        self, primitive: Primitive, name: str, norm: Norm, x: Tensor, kernel: Tensor, *inputs: Any, **attributes: Any
    ) -> Tensor:
        """See `Interpreter`; normalises by the batch's statistics and keeps them."""
        y, self.statistics[name] = norm_ops.normalise(self(primitive, x, kernel, *inputs, **attributes), *norm)
        return y
