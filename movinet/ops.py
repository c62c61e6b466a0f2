"""The primitives of a MoViNet: each a forward function and its gradient, without state.

Activations are frames, time-major and folded into one axis: `x[T*B, H, W, C]`, frame t of clip b at
t*B + b. So a shift in time is one contiguous slice, and every two-dimensional kernel of TensorFlow applies.
Sizes are taken from the tensors: static where TensorFlow knows them (a Keras model), else at run time
(the proxy loop, whose functions serve every width).

`forward(*inputs, **attributes)` returns the output and the residuals that `gradient(g, *residuals,
**attributes)` needs; `gradient` returns one cotangent for each input, None where there is none to give.
Keras calls the forward alone and lets TensorFlow differentiate; the proxy loop records and calls both. A
gradient written out is a third of the operations that automatic differentiation makes of dynamic shapes,
and traces that much faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

raw = tf.raw_ops
Tensor = Any  # tf.Tensor; TensorFlow ships no types

BN_EPSILON = 1e-3  # of the release's configs


@dataclass(frozen=True)
class Primitive:
    """One differentiable operation; see the module's docstring for the contract of both functions."""

    forward: Callable[..., tuple[Tensor, tuple[Tensor, ...]]]
    gradient: Callable[..., tuple[Tensor | None, ...]]


def _once(key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """`make()`, but the same small integer tensor again within one graph: half of a traced layer would be these.

    Tensors in a key stand by their id; the graph keeps them alive.
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


def _key(*values: Any) -> tuple[Any, ...]:
    return tuple(v if isinstance(v, int) else ("tensor", id(v)) for v in values)


def constant(*values: int) -> Tensor:
    """A constant int32 vector."""
    return _once(("constant", *values), lambda: tf.constant(values, tf.int32))


def shape_of(x: Tensor) -> Tensor:
    """The shape of x as an int32 vector."""
    if x.shape.is_fully_defined():
        return constant(*x.shape.as_list())
    return _once(("shape_of", *_key(x)), lambda: raw.Shape(input=x))


def sizes(x: Tensor) -> list[Any]:
    """The size of each axis: an int where known, else a scalar int32 tensor."""
    static = x.shape.as_list()
    if None not in static:
        return static
    dynamic = _once(("sizes", *_key(x)), lambda: raw.Unpack(value=shape_of(x), num=len(static)))
    return [d if s is None else s for s, d in zip(static, dynamic, strict=True)]


def _scalar(value: Any) -> Tensor:
    return _once(("scalar", value), lambda: tf.constant(value, tf.int32)) if isinstance(value, int) else value


def shape(*dimensions: Any) -> Tensor:
    """A shape to give to an operation: a constant if every dimension is an int."""
    if all(isinstance(d, int) for d in dimensions):
        return constant(*dimensions)
    return _once(("shape", *_key(*dimensions)), lambda: raw.Pack(values=[_scalar(d) for d in dimensions], axis=0))


def _reshape(x: Tensor, *dimensions: Any) -> Tensor:
    return raw.Reshape(tensor=x, shape=shape(*dimensions))


def _matmul(a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    return raw.MatMul(a=a, b=b, transpose_a=transpose_a, transpose_b=transpose_b)


# -- 1x1x1 convolution ---------------------------------------------------------------------------


def _pointwise(x: Tensor, w: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    n, height, width, _ = sizes(x)
    c_in, c_out = sizes(w)
    y = _matmul(_reshape(x, -1, c_in), w)
    return _reshape(y, n, height, width, c_out), (x, w)


def _pointwise_gradient(g: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    c_in, c_out = sizes(w)
    g2 = _reshape(g, -1, c_out)
    dx = raw.Reshape(tensor=_matmul(g2, w, transpose_b=True), shape=shape_of(x))
    return dx, _matmul(_reshape(x, -1, c_in), g2, transpose_a=True)


pointwise = Primitive(_pointwise, _pointwise_gradient)  # x[N,H,W,C], w[C,D] -> [N,H,W,D]


# -- dense ---------------------------------------------------------------------------------------


def _dense(x: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    return raw.BiasAdd(value=_matmul(x, w), bias=b), (x, w)


def _dense_gradient(g: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    return _matmul(g, w, transpose_b=True), _matmul(x, g, transpose_a=True), raw.BiasAddGrad(out_backprop=g)


dense = Primitive(_dense, _dense_gradient)  # x[B,C], w[C,D], b[D] -> [B,D]


# -- stem convolution ----------------------------------------------------------------------------


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


# -- activations ---------------------------------------------------------------------------------


def _swish(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    # Not tf.nn.silu: its custom gradient stays in TensorFlow's registry with every graph it was traced in.
    gate = raw.Sigmoid(x=x)
    return raw.Mul(x=x, y=gate), (x, gate)


def _swish_gradient(g: Tensor, x: Tensor, gate: Tensor) -> tuple[Tensor, ...]:
    return (raw.AddV2(x=raw.Mul(x=g, y=gate), y=raw.SigmoidGrad(y=gate, dy=raw.Mul(x=g, y=x))),)


swish = Primitive(_swish, _swish_gradient)


# -- batch norm ----------------------------------------------------------------------------------


def normalise(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, Tensor]]:
    """Batch norm with the statistics of the batch: output, residuals, and (mean, variance) for the moving ones."""
    none = tf.constant([], gamma.dtype)
    y, mean, variance, *reserved = raw.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=none, variance=none, epsilon=BN_EPSILON, is_training=True
    )
    return y, (x, gamma, *reserved), (mean, variance)


def _batch_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    return normalise(x, gamma, beta)[:2]


def _batch_norm_gradient(
    g: Tensor, x: Tensor, gamma: Tensor, first: Tensor, second: Tensor, third: Tensor
) -> tuple[Tensor, ...]:
    dx, dgamma, dbeta, *_ = raw.FusedBatchNormGradV3(
        y_backprop=g,
        x=x,
        scale=gamma,
        reserve_space_1=first,
        reserve_space_2=second,
        reserve_space_3=third,
        epsilon=BN_EPSILON,
        is_training=True,
    )
    return dx, dgamma, dbeta


batch_norm = Primitive(_batch_norm, _batch_norm_gradient)  # with the statistics of the batch


def batch_norm_inference(x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Batch norm with moving statistics: x[N,H,W,C], the rest [C]."""
    return raw.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=BN_EPSILON, is_training=False
    )[0]


# -- depthwise 3D convolution --------------------------------------------------------------------
#
# One two-dimensional depthwise convolution per temporal tap, on whole frames; the outputs are shifted in time
# and added. Exact, and two orders of magnitude faster on a CPU than Conv3D(groups=C). Frames that a tap would
# read from the zero padding are left out, as is the rim of a kernel that can only ever meet padding.


def reachable_offsets(kernel_time: int, frames: int | None) -> tuple[int, ...]:
    """Time offsets d of the taps that read some real frame: output t takes input t+d ('same' padding)."""
    half = kernel_time // 2
    reach = half if frames is None else min(half, frames - 1)
    return tuple(range(-reach, reach + 1))


def window(kernel_space: int, size: int | None, stride: int) -> int:
    """The central part of a spatial kernel that can meet a real pixel; exact for stride 1 only."""
    return kernel_space if size is None or stride != 1 else min(kernel_space, 2 * size - 1)


def _taps(w: Tensor, reach: Reach) -> list[Tensor]:
    kernel_time, kernel_space, _ = reach.kernel
    offsets, window = reach.offsets, reach.window
    margin = (kernel_space - window) // 2
    channels = sizes(w)[-1]
    first = kernel_time // 2 + offsets[0]
    if margin or len(offsets) < kernel_time:
        w = raw.Slice(
            input=w,
            begin=shape(first, margin, margin, 0),
            size=shape(len(offsets), window, window, channels),
        )
    return raw.Unpack(value=_reshape(w, len(offsets), window, window, channels, 1), num=len(offsets))


def _shifted(x: Tensor, offset: int, batch: Any) -> Tensor:
    """The frames that a tap reads: without the first (offset > 0) or the last (offset < 0) |offset| ones."""
    if offset == 0:
        return x
    n, height, width, channels = sizes(x)
    drop = _frames_times_batch(abs(offset), n, batch)
    begin = shape(drop if offset > 0 else 0, 0, 0, 0)
    left = (
        n - drop
        if isinstance(drop, int) and isinstance(n, int)
        else _once(("left", *_key(n, drop)), lambda: raw.Sub(x=_scalar(n), y=_scalar(drop)))
    )
    return raw.Slice(input=x, begin=begin, size=shape(left, height, width, channels))


def _frames_times_batch(frames: int, n: Any, batch: Any) -> Any:
    """`frames` frames as rows of the folded axis, at most all of them (a clip may be shorter than the kernel)."""
    if isinstance(batch, int) and isinstance(n, int):
        return min(frames * batch, n)
    key = ("frames", frames, *_key(batch, n))
    return _once(key, lambda: raw.Minimum(x=raw.Mul(x=_scalar(frames), y=_scalar(batch)), y=_scalar(n)))


def _placed(y: Tensor, offset: int, n: Any, batch: Any) -> Tensor:
    """The inverse of `_shifted` on the output side: zeros for the frames that a tap does not reach."""
    if offset == 0:
        return y
    pad = _frames_times_batch(abs(offset), n, batch)
    ends = (pad, 0) if offset < 0 else (0, pad)
    return raw.Pad(input=y, paddings=_reshape(shape(*ends, 0, 0, 0, 0, 0, 0), 4, 2))


def _add(terms: list[Tensor]) -> Tensor:
    return raw.AddN(inputs=terms) if len(terms) > 1 else terms[0]


@dataclass(frozen=True)
class Reach:
    """The part of a depthwise kernel that meets a clip, known before tracing.

    Attributes:
      kernel: (time, height, width).
      stride: spatial.
      offsets: see `reachable_offsets`.
      window: see `window`.
      padding: rows (and columns) of zeros before and after, written out for the gradient of the kernel; None where
        that gradient is fast without. TensorFlow's CPU kernel for it is 5 to 20 times slower where a
        frame has fewer rows than the kernel, and for kernels wider than 3: see `docs/benchmarks.md`.
      shift_outputs: convolve all frames for a tap and drop some of the results, instead of some of the frames. Where
        the number of frames is not known, a tap may read none, and of no frames TensorFlow's strided convolution
        returns the wrong shape.
    """

    kernel: tuple[int, int, int]
    stride: int
    offsets: tuple[int, ...]
    window: int
    padding: tuple[int, int] | None
    shift_outputs: bool

    @classmethod
    def of(cls, kernel: tuple[int, int, int], stride: int, frames: int | None, size: int | None) -> Reach:
        """For clips of `frames` frames of `size` x `size` pixels; None where not known."""
        wide = window(kernel[1], size, stride)
        slow = size is not None and (wide > _FAST_COLUMNS or size < wide + stride - 1)
        padding = same_padding(wide, stride, size) if size is not None and slow else None
        return cls(kernel, stride, reachable_offsets(kernel[0], frames), wide, padding, frames is None and stride != 1)


_FAST_COLUMNS = 3


def same_padding(kernel: int, stride: int, size: int) -> tuple[int, int]:
    """Zeros before and after an axis of `size` under TensorFlow's 'SAME'."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _depthwise(x: Tensor, w: Tensor, batch: Any, *, reach: Reach) -> tuple[Tensor, tuple[Tensor, ...]]:
    n = sizes(x)[0]
    strides = [1, reach.stride, reach.stride, 1]
    outputs = []
    for d, tap in zip(reach.offsets, _taps(w, reach), strict=True):
        read = x if reach.shift_outputs else _shifted(x, d, batch)
        y = raw.DepthwiseConv2dNative(input=read, filter=tap, strides=strides, padding="SAME")
        outputs.append(_placed(_shifted(y, d, batch) if reach.shift_outputs else y, d, n, batch))
    return _add(outputs), (x, w, batch)


def _depthwise_gradient(g: Tensor, x: Tensor, w: Tensor, batch: Any, *, reach: Reach) -> tuple[Tensor | None, ...]:
    n, _, _, channels = sizes(x)
    strides = [1, reach.stride, reach.stride, 1]
    pieces = _column_pieces(x, sizes(g)[2], reach)
    dx, dw = [], []
    for d, tap in zip(reach.offsets, _taps(w, reach), strict=True):
        # What output t was given came from input t+d: cut the gradient at the opposite end.
        wrote = _shifted(g, -d, batch)
        read_shape = shape_of(x) if d == 0 else shape(sizes(wrote)[0], *sizes(x)[1:])
        back = raw.DepthwiseConv2dNativeBackpropInput(
            input_sizes=read_shape, filter=tap, out_backprop=wrote, strides=strides, padding="SAME"
        )
        dx.append(_placed(back, -d, n, batch))
        columns = [
            raw.DepthwiseConv2dNativeBackpropFilter(
                input=_shifted(piece, d, batch),
                filter_sizes=shape(reach.window, width, channels, 1),
                out_backprop=wrote,
                strides=strides,
                padding="SAME" if reach.padding is None else "VALID",
            )
            for width, piece in pieces
        ]
        dw.append(columns[0] if len(columns) == 1 else raw.ConcatV2(values=columns, axis=_scalar(1)))
    return _add(dx), _kernel_gradient(dw, channels, reach), None


def _column_pieces(x: Tensor, width_out: Any, reach: Reach) -> list[tuple[int, Tensor]]:
    """x cut so that each piece meets at most three columns of the kernel: (columns, frames), left to right."""
    if reach.padding is None:
        return [(reach.window, x)]
    before, after = reach.padding
    x = raw.Pad(input=x, paddings=_reshape(constant(0, 0, before, after, before, after, 0, 0), 4, 2))
    if reach.window <= _FAST_COLUMNS:
        return [(reach.window, x)]
    found = []
    for first in range(0, reach.window, _FAST_COLUMNS):
        width = min(_FAST_COLUMNS, reach.window - first)
        span = _span(width_out, width, reach.stride)
        found.append((width, raw.Slice(input=x, begin=shape(0, 0, first, 0), size=shape(-1, -1, span, -1))))
    return found


def _span(outputs: Any, kernel: int, stride: int) -> Any:
    """Columns that `outputs` positions of a kernel reach."""
    if isinstance(outputs, int):
        return (outputs - 1) * stride + kernel
    key = ("span", kernel, stride, *_key(outputs))
    return _once(key, lambda: raw.AddV2(x=raw.Mul(x=outputs, y=_scalar(stride)), y=_scalar(kernel - stride)))


def _kernel_gradient(taps: list[Tensor], channels: Any, reach: Reach) -> Tensor:
    """The gradients of the taps as one of the whole kernel; zero where it never meets a pixel."""
    kernel_time, kernel_space, _ = reach.kernel
    dw = _reshape(raw.Pack(values=taps, axis=0), len(taps), reach.window, reach.window, channels)
    margin, missing = (kernel_space - reach.window) // 2, (kernel_time - len(taps)) // 2
    if margin or missing:
        ends = constant(missing, missing, margin, margin, margin, margin, 0, 0)
        dw = raw.Pad(input=dw, paddings=_reshape(ends, 4, 2))
    return dw


depthwise = Primitive(_depthwise, _depthwise_gradient)  # x[T*B,H,W,C], w[kT,k,k,C] -> [T*B,H/s,W/s,C]


# -- squeeze-excite ------------------------------------------------------------------------------


def _by_clip(x: Tensor, batch: Any) -> Tensor:
    """x[T*B,H,W,C] seen as [T,B,H*W,C]."""
    channels = sizes(x)[3]
    if isinstance(batch, int) and x.shape.is_fully_defined():
        return _reshape(x, x.shape[0] // batch, batch, -1, channels)
    _, height, width, _ = sizes(x)
    known = isinstance(height, int) and isinstance(width, int)
    pixels = height * width if known else raw.Mul(x=_scalar(height), y=_scalar(width))
    return _reshape(x, -1, batch, pixels, channels)


def _over_clip(reduce: Callable[..., Tensor], x: Tensor) -> Tensor:
    """x[T,B,HW,C] -> [B,C]; an axis at a time, because two that are apart cost a transpose: 10 to 30 times as long."""
    return reduce(input=reduce(input=x, axis=constant(2), keep_dims=False), axis=constant(0), keep_dims=False)


def _clip_mean(x: Tensor) -> Tensor:
    # In float16 the sum of a clip saturates, and its number of pixels is infinite.
    if x.dtype == tf.float16:
        return tf.cast(_over_clip(raw.Mean, tf.cast(x, tf.float32)), tf.float16)
    return _over_clip(raw.Mean, x)


def _mean_weight(x: Tensor) -> Tensor:
    """1 / (T*H*W) of x[T,B,HW,C]."""
    frames, _, pixels, _ = sizes(x)
    count = tf.cast(raw.Mul(x=_scalar(frames), y=_scalar(pixels)), tf.float32)
    return tf.cast(raw.Reciprocal(x=count), x.dtype)


def _squeeze_excite(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, batch: Any
) -> tuple[Tensor, tuple[Tensor, ...]]:
    clips = _by_clip(x, batch)
    channels = sizes(x)[3]
    mean = _clip_mean(clips)
    hidden, _ = _dense(mean, w1, b1)
    active, (_, hidden_gate) = _swish(hidden)
    gate = raw.Sigmoid(x=_dense(active, w2, b2)[0])
    y = raw.Mul(x=clips, y=_reshape(gate, 1, batch, 1, channels))
    y = raw.Reshape(tensor=y, shape=shape(*sizes(x)))
    return y, (x, w1, w2, mean, hidden, hidden_gate, active, gate, batch)


def _squeeze_excite_gradient(
    g: Tensor,
    x: Tensor,
    w1: Tensor,
    w2: Tensor,
    mean: Tensor,
    hidden: Tensor,
    hidden_gate: Tensor,
    active: Tensor,
    gate: Tensor,
    batch: Any,
) -> tuple[Tensor | None, ...]:
    g_clips, clips = _by_clip(g, batch), _by_clip(x, batch)
    channels = sizes(x)[3]
    dgate = _over_clip(raw.Sum, raw.Mul(x=g_clips, y=clips))
    dactive, dw2, db2 = _dense_gradient(raw.SigmoidGrad(y=gate, dy=dgate), active, w2)
    (dhidden,) = _swish_gradient(dactive, hidden, hidden_gate)
    dmean, dw1, db1 = _dense_gradient(dhidden, mean, w1)
    spread = _reshape(raw.Mul(x=dmean, y=_mean_weight(clips)), 1, batch, 1, channels)
    dx = raw.AddV2(x=raw.Mul(x=g_clips, y=_reshape(gate, 1, batch, 1, channels)), y=spread)
    return raw.Reshape(tensor=dx, shape=shape_of(x)), dw1, db1, dw2, db2, None


squeeze_excite = Primitive(_squeeze_excite, _squeeze_excite_gradient)  # form '3d': mean over the whole clip


# -- pools ---------------------------------------------------------------------------------------

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
    weighted = _reshape(raw.Mul(x=g, y=_mean_weight(clips)), 1, batch, 1, sizes(x)[3])
    dx = raw.BroadcastTo(input=weighted, shape=shape_of(clips))
    return raw.Reshape(tensor=dx, shape=shape_of(x)), None


clip_pool = Primitive(_clip_pool, _clip_pool_gradient)  # x[T*B,H,W,C] -> [B,C]


# -- residual ------------------------------------------------------------------------------------


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
    y = raw.Mul(x=_by_clip(x, batch), y=_reshape(keep, 1, batch, 1, 1))
    return raw.Reshape(tensor=y, shape=shape(*sizes(x))), (keep, batch)


def _drop_gradient(g: Tensor, keep: Tensor, batch: Any) -> tuple[Tensor | None, ...]:
    return _drop(g, keep, batch)[0], None, None


stochastic_depth = Primitive(_drop, _drop_gradient)  # keep[B]: 0, or 1 / (1 - rate)
