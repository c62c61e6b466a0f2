"""The primitives of a MoViNet: each a forward function and its gradient, without state.

Activations are frames, time-major and folded into one axis: `x[T*B, H, W, C]`, frame t of clip b at
t*B + b. So a shift in time is one contiguous slice, and every two-dimensional kernel of TensorFlow applies.
Sizes are taken from the tensors: static where they are fixed (a Keras model), else at run time
(the proxy loop, whose functions serve every width).

`forward(*inputs, **attributes)` returns the output and the residuals that `gradient(g, *residuals,
**attributes)` needs; `gradient` returns one cotangent for each input, None where there is none to give.
Keras calls the forward alone and lets TensorFlow differentiate; the proxy loop records and calls both. A
gradient written out is a third of the operations that automatic differentiation makes of dynamic shapes,
and traces that much faster.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

raw = tf.raw_ops
Tensor = Any  # tf.Tensor; TensorFlow ships no types


@dataclass(frozen=True)
class Primitive:
    """One differentiable operation; the module's docstring defines the contract of both functions.

    A primitive without gradient is for Keras only, where TensorFlow differentiates.
    """

    forward: Callable[..., tuple[Tensor, tuple[Tensor, ...]]]
    gradient: Callable[..., tuple[Tensor | None, ...]] | None


@dataclass(frozen=True)
class Norm:
    """Batch norm as a `Primitive` whose `forward` also returns the batch's (mean, variance), last."""

    forward: Callable[..., tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, Tensor]]]
    gradient: Callable[..., tuple[Tensor | None, ...]]


def once(key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """Return `make()`, computed once per graph: small integer tensors would otherwise be half of a traced layer.

    Tensors in a key are represented by their id; the graph keeps them alive.
    """
    if tf.executing_eagerly():
        return make()
    graph = tf.compat.v1.get_default_graph()
    # The graph's id is in the name because an inner graph starts with its outer graph's collections.
    held = graph.get_collection_ref(f"movinet_once_{id(graph)}")
    if not held:
        held.append({})
    made = held[0]
    if key not in made:
        made[key] = make()
    return made[key]


def key_of(*values: Any) -> tuple[Any, ...]:
    """Return the part of a key of `once` that stands for integers and tensors."""
    return tuple(v if isinstance(v, int) else ("tensor", id(v)) for v in values)


def constant(*values: int) -> Tensor:
    """A constant int32 vector."""
    return once(("constant", *values), lambda: tf.constant(values, tf.int32))


def shape_of(x: Tensor) -> Tensor:
    """The shape of x as an int32 vector."""
    if x.shape.is_fully_defined():
        return constant(*x.shape.as_list())
    return once(("shape_of", *key_of(x)), lambda: raw.Shape(input=x))


def sizes(x: Tensor) -> list[Any]:
    """Return the size of each axis: an int where fixed, else a scalar int32 tensor."""
    static = x.shape.as_list()
    if None not in static:
        return static
    dynamic = once(("sizes", *key_of(x)), lambda: raw.Unpack(value=shape_of(x), num=len(static)))
    return [d if s is None else s for s, d in zip(static, dynamic, strict=True)]


def scalar(value: Any) -> Tensor:
    """Return an integer as a scalar int32 tensor; a tensor as it is."""
    return once(("scalar", value), lambda: tf.constant(value, tf.int32)) if isinstance(value, int) else value


def shape(*dimensions: Any) -> Tensor:
    """Return a shape as argument of an operation: a constant if every dimension is an int."""
    if all(isinstance(d, int) for d in dimensions):
        return constant(*dimensions)
    return once(("shape", *key_of(*dimensions)), lambda: raw.Pack(values=[scalar(d) for d in dimensions], axis=0))


def product_of(*factors: Any) -> Any:
    """Return the product of sizes: an int if all are ints, else a scalar tensor."""
    if all(isinstance(factor, int) for factor in factors):
        return math.prod(factors)
    return once(
        ("product", *key_of(*factors)), lambda: functools.reduce(lambda a, b: raw.Mul(x=a, y=b), map(scalar, factors))
    )


def reshape(x: Tensor, *dimensions: Any) -> Tensor:
    """Return x of any shape in the shape of these sizes, each an integer or a scalar tensor."""
    return raw.Reshape(tensor=x, shape=shape(*dimensions))


def matmul(a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    """Return the product of two matrices, either of them transposed first."""
    return raw.MatMul(a=a, b=b, transpose_a=transpose_a, transpose_b=transpose_b)


# -- 1x1x1 convolution --------------------------------------------------------------------------------


def _pointwise(x: Tensor, w: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    n, height, width, _ = sizes(x)
    c_in, c_out = sizes(w)
    y = matmul(reshape(x, -1, c_in), w)
    return reshape(y, n, height, width, c_out), (x, w)


def _pointwise_gradient(g: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    c_in, c_out = sizes(w)
    g2 = reshape(g, -1, c_out)
    dx = raw.Reshape(tensor=matmul(g2, w, transpose_b=True), shape=shape_of(x))
    return dx, matmul(reshape(x, -1, c_in), g2, transpose_a=True)


pointwise = Primitive(_pointwise, _pointwise_gradient)  # x[N,H,W,C], w[C,D] -> [N,H,W,D]
expansion = Primitive(_pointwise, _pointwise_gradient)  # the same, to a similar or larger number of channels


# -- dense --------------------------------------------------------------------------------------------


def _dense(x: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    return raw.BiasAdd(value=matmul(x, w), bias=b), (x, w)


def _dense_gradient(g: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    return matmul(g, w, transpose_b=True), matmul(x, g, transpose_a=True), raw.BiasAddGrad(out_backprop=g)


dense = Primitive(_dense, _dense_gradient)  # x[B,C], w[C,D], b[D] -> [B,D]


# -- stem convolution ---------------------------------------------------------------------------------


def _conv(x: Tensor, w: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    return raw.Conv2D(input=x, filter=w, strides=[1, 2, 2, 1], padding="SAME"), (x, w)


def _conv_gradient(g: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor | None, ...]:
    # Nothing lies before the stem, so its input needs no gradient.
    filter_sizes = shape_of(w)
    dw = raw.Conv2DBackpropFilter(
        input=x, filter_sizes=filter_sizes, out_backprop=g, strides=[1, 2, 2, 1], padding="SAME"
    )
    return None, dw


stem_convolution = Primitive(_conv, _conv_gradient)  # x[N,H,W,3], w[3,3,3,C] -> [N,H/2,W/2,C]


# -- activations --------------------------------------------------------------------------------------


def _swish(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    # Not tf.nn.silu: its custom gradient stays in TensorFlow's registry with every graph it was traced in.
    gate = raw.Sigmoid(x=x)
    # The gradient needs only the slope, computed here with x: later one product.
    return raw.Mul(x=x, y=gate), (raw.AddV2(x=gate, y=raw.SigmoidGrad(y=gate, dy=x)),)


def _swish_gradient(g: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
    return (raw.Mul(x=g, y=slope),)


swish = Primitive(_swish, _swish_gradient)


# -- squeeze-excite -----------------------------------------------------------------------------------


def _by_clip(x: Tensor, batch: Any) -> Tensor:
    """x[T*B,H,W,C] seen as [T,B,H*W,C]."""
    channels = sizes(x)[3]
    if isinstance(batch, int) and x.shape.is_fully_defined():
        return reshape(x, x.shape[0] // batch, batch, -1, channels)
    _, height, width, _ = sizes(x)
    known = isinstance(height, int) and isinstance(width, int)
    pixels = height * width if known else raw.Mul(x=scalar(height), y=scalar(width))
    return reshape(x, -1, batch, pixels, channels)


def _over_clip(reduce: Callable[..., Tensor], x: Tensor) -> Tensor:
    """x[T,B,HW,C] -> [B,C]; an axis at a time, because two that are apart cost a transpose: 10 to 30 times as long."""
    return reduce(input=reduce(input=x, axis=constant(2), keep_dims=False), axis=constant(0), keep_dims=False)


def _clip_mean(x: Tensor) -> Tensor:
    # In float16 the sum of a clip overflows, as does its number of pixels.
    if x.dtype == tf.float16:
        return tf.cast(_over_clip(raw.Mean, tf.cast(x, tf.float32)), tf.float16)
    return _over_clip(raw.Mean, x)


def _mean_weight(x: Tensor) -> Tensor:
    """1 / (T*H*W) of x[T,B,HW,C]."""
    frames, _, pixels, _ = sizes(x)
    count = tf.cast(raw.Mul(x=scalar(frames), y=scalar(pixels)), tf.float32)
    return tf.cast(raw.Reciprocal(x=count), x.dtype)


def _squeeze_excite(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, batch: Any
) -> tuple[Tensor, tuple[Tensor, ...]]:
    clips = _by_clip(x, batch)
    channels = sizes(x)[3]
    mean = _clip_mean(clips)
    hidden, _ = _dense(mean, w1, b1)
    active, (slope,) = _swish(hidden)
    gate = raw.Sigmoid(x=_dense(active, w2, b2)[0])
    y = raw.Mul(x=clips, y=reshape(gate, 1, batch, 1, channels))
    y = raw.Reshape(tensor=y, shape=shape(*sizes(x)))
    return y, (x, w1, w2, mean, slope, active, gate, batch)


def _squeeze_excite_gradient(
    g: Tensor,
    x: Tensor,
    w1: Tensor,
    w2: Tensor,
    mean: Tensor,
    slope: Tensor,
    active: Tensor,
    gate: Tensor,
    batch: Any,
) -> tuple[Tensor | None, ...]:
    g_clips, clips = _by_clip(g, batch), _by_clip(x, batch)
    channels = sizes(x)[3]
    dgate = _over_clip(raw.Sum, raw.Mul(x=g_clips, y=clips))
    dactive, dw2, db2 = _dense_gradient(raw.SigmoidGrad(y=gate, dy=dgate), active, w2)
    (dhidden,) = _swish_gradient(dactive, slope)
    dmean, dw1, db1 = _dense_gradient(dhidden, mean, w1)
    spread = reshape(raw.Mul(x=dmean, y=_mean_weight(clips)), 1, batch, 1, channels)
    dx = raw.AddV2(x=raw.Mul(x=g_clips, y=reshape(gate, 1, batch, 1, channels)), y=spread)
    return raw.Reshape(tensor=dx, shape=shape_of(x)), dw1, db1, dw2, db2, None


squeeze_excite = Primitive(_squeeze_excite, _squeeze_excite_gradient)  # form '3d': mean over the whole clip


# -- pools --------------------------------------------------------------------------------------------

_POOL = {"ksize": [1, 3, 3, 1], "strides": [1, 2, 2, 1], "padding": "SAME"}


def _skip_pool(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    return raw.AvgPool(value=x, **_POOL), (x,)


def _skip_pool_gradient(g: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    return (raw.AvgPoolGrad(orig_input_shape=shape_of(x), grad=g, **_POOL),)


skip_pool = Primitive(_skip_pool, _skip_pool_gradient)  # x[N,H,W,C] -> [N,H/2,W/2,C]


def _clip_pool(x: Tensor, batch: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    return _clip_mean(_by_clip(x, batch)), (x, batch)


def _clip_pool_gradient(g: Tensor, x: Tensor, batch: Any) -> tuple[Tensor | None, ...]:
    clips = _by_clip(x, batch)
    weighted = reshape(raw.Mul(x=g, y=_mean_weight(clips)), 1, batch, 1, sizes(x)[3])
    dx = raw.BroadcastTo(input=weighted, shape=shape_of(clips))
    return raw.Reshape(tensor=dx, shape=shape_of(x)), None


clip_pool = Primitive(_clip_pool, _clip_pool_gradient)  # x[T*B,H,W,C] -> [B,C]


# -- residual -----------------------------------------------------------------------------------------


def _sum(x: Tensor, y: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    return raw.AddV2(x=x, y=y), ()


add = Primitive(_sum, lambda g: (g, g))


def _times_scalar(v: Tensor, r: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    return raw.Mul(x=v, y=r), (v, r)


def _times_scalar_gradient(g: Tensor, v: Tensor, r: Tensor) -> tuple[Tensor, ...]:
    dr = raw.Sum(input=raw.Mul(x=g, y=v), axis=constant(0), keep_dims=True)
    return raw.Mul(x=g, y=r), dr


times_scalar = Primitive(_times_scalar, _times_scalar_gradient)  # v[C], r[1] -> [C]


def _drop(x: Tensor, keep: Tensor, batch: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    y = raw.Mul(x=_by_clip(x, batch), y=reshape(keep, 1, batch, 1, 1))
    return raw.Reshape(tensor=y, shape=shape(*sizes(x))), (keep, batch)


def _drop_gradient(g: Tensor, keep: Tensor, batch: Any) -> tuple[Tensor | None, ...]:
    return _drop(g, keep, batch)[0], None, None


stochastic_depth = Primitive(_drop, _drop_gradient)  # keep[B]: 0, or 1 / (1 - rate)
