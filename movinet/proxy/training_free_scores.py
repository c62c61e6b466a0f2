"""Training-free scores: statistics of an untrained network that may predict how well it learns.

NASWOT, Mellor et al., arXiv 2006.04647; synflow, Tanaka et al., arXiv 2006.05467; gradient norm and synflow to rank
architectures, Abdelfattah et al., arXiv 2101.08134. Higher is better for all of them. A network runs once, forward and
backward, so layers are not compiled: compiling takes longer than a few steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from movinet.model import layers, ops
from movinet.model.layers import BottleneckForm, Norm
from movinet.model.ops import Primitive, Tensor
from movinet.model.specs import Spec, StemSpec, bottlenecks, head_spec, initial, layer_seeds
from search_space.architecture import Architecture, Clip

NAMES = ("naswot", "grad_norm", "synflow")
Weights = Mapping[str, Tensor]


def scores(
    architecture: Architecture, frames: Tensor, labels: np.ndarray, classes: int, seed: int, rezero: float
) -> dict[str, float]:
    """Return all scores of a network with the initial weights of a seed.

    Args:
      architecture: the network; its clip's frames and resolution are those of `frames`.
      frames: float32 [T*B, H, W, 3] in 0..1, time-major, of B clips.
      labels: int [B].
      classes: number of classes.
      seed: of the weights, which are the initial ones of a `proxy.Candidate` of this seed.
      rezero: initial value of the ReZero scalars.
    """
    specs = _specs(architecture, classes)
    seeds = layer_seeds(seed, len(specs))
    start = [initial(spec, own, rezero) for spec, own in zip(specs, seeds, strict=True)]
    kernel, gradient = _trained_once(specs, start, architecture.clip, frames, labels)
    return {"naswot": naswot(kernel), "grad_norm": gradient, "synflow": synflow(specs, start, architecture.clip)}


def _specs(architecture: Architecture, classes: int) -> list[Spec]:
    """Return the layer specs from stem to head."""
    inner = [spec for _, spec in bottlenecks(architecture)]
    return [StemSpec(architecture.stem.width), *inner, head_spec(architecture, classes)]


def _logits(
    run: layers.Interpreter, specs: Sequence[Any], weights: Sequence[Weights], clip: Clip, x: Tensor, clips: int
) -> Tensor:
    """Compute frames [T*B, H, W, 3] -> logits [B, classes]."""
    x = layers.stem(run, x, weights[0])
    for spec, own in zip(specs[1:-1], weights[1:-1], strict=True):
        x = layers.bottleneck(run, x, own, clips, BottleneckForm.at(spec, clip.frames, x.shape[1]))
    return layers.classifier(run, layers.head_features(run, x, weights[-1], clips), weights[-1])


class _Agreement(layers.ForwardTraining):
    """Batch norm by the batch's statistics; counts the units on which two clips agree: both active or neither.

    A unit is one value before a swish. Swish has no linear regions as ReLU has; the sign of the unit is used instead.
    """

    def __init__(self, clips: int) -> None:
        super().__init__()
        self.kernel = np.zeros((clips, clips))

    def __call__(self, primitive: Primitive, *inputs: Any, **attributes: Any) -> Tensor:
        if primitive is ops.swish:
            self._count(inputs[0])
        return super().__call__(primitive, *inputs, **attributes)

    def _count(self, x: Tensor) -> None:
        clips = len(self.kernel)
        code = tf.reshape(tf.cast(x > 0, tf.float32), [-1, clips, math.prod(x.shape[1:])])  # T B units
        both = tf.reduce_sum(tf.matmul(code, code, transpose_b=True), axis=0).numpy().astype(float)
        active, units = np.diag(both), code.shape[0] * code.shape[2]
        self.kernel += 2 * both + units - active - active[:, None]


def _trained_once(
    specs: Sequence[Spec], start: Sequence[Mapping[str, np.ndarray]], clip: Clip, frames: Tensor, labels: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return NASWOT's kernel [B, B] and the norm of the first gradient."""
    weights = [{name: tf.constant(value) for name, value in own.items()} for own in start]
    run = _Agreement(len(labels))
    with tf.GradientTape() as tape:
        tape.watch(weights)
        logits = _logits(run, specs, weights, clip, frames, len(labels))
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    gradients = tape.gradient(loss, weights)
    return run.kernel, sum(float(tf.norm(each)) for _, each in _kernels(specs, gradients))


def _kernels(specs: Sequence[Spec], values: Sequence[Weights]) -> list[tuple[str, Tensor]]:
    """Return the kernels of convolutions and dense layers, by name."""
    return [(w.name, own[w.name]) for spec, own in zip(specs, values, strict=True) for w in spec.weights() if w.decayed]


def naswot(kernel: np.ndarray) -> float:
    """Return log |det| of the number of units in which two clips agree, [B, B]; NaN if clips are indistinguishable."""
    sign, value = np.linalg.slogdet(kernel)
    return float(value) if sign > 0 else math.nan


class _Unnormalised(layers.Forward):
    """Interpreter without batch norm."""

    def normalised(
        self, primitive: Primitive, name: str, norm: Norm, x: Tensor, kernel: Tensor, *inputs: Any, **attributes: Any
    ) -> Tensor:
        return self(primitive, x, kernel, *inputs, **attributes)


def synflow(specs: Sequence[Spec], start: Sequence[Mapping[str, np.ndarray]], clip: Clip) -> float:
    """Return log of the sum of |w| dR/d|w| over all kernels; R is the sum of logits of a clip of ones with weights |w|.

    There is no batch norm, so the sum grows by decades with depth: hence the logarithm and float64.
    """
    weights = [{name: tf.constant(np.abs(value), tf.float64) for name, value in own.items()} for own in start]
    ones = tf.ones([clip.frames, clip.resolution, clip.resolution, 3], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        flow = tf.reduce_sum(_logits(_Unnormalised({}), specs, weights, clip, ones, 1))
    gradients = tape.gradient(flow, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    pairs = zip(_kernels(specs, weights), _kernels(specs, gradients), strict=True)
    return math.log(sum(float(tf.reduce_sum(w * g)) for (_, w), (_, g) in pairs))
