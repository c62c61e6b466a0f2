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

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from movinet.model.specs import BN_EPSILON

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


def _once(key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
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
    """Return the size of each axis: an int where fixed, else a scalar int32 tensor."""
    static = x.shape.as_list()
    if None not in static:
        return static
    dynamic = _once(("sizes", *_key(x)), lambda: raw.Unpack(value=shape_of(x), num=len(static)))
    return [d if s is None else s for s, d in zip(static, dynamic, strict=True)]


def _scalar(value: Any) -> Tensor:
    return _once(("scalar", value), lambda: tf.constant(value, tf.int32)) if isinstance(value, int) else value


def shape(*dimensions: Any) -> Tensor:
    """Return a shape as argument of an operation: a constant if every dimension is an int."""
    if all(isinstance(d, int) for d in dimensions):
        return constant(*dimensions)
    return _once(("shape", *_key(*dimensions)), lambda: raw.Pack(values=[_scalar(d) for d in dimensions], axis=0))


def _product(*factors: Any) -> Any:
    """Return the product of sizes: an int if all are ints, else a scalar tensor."""
    if all(isinstance(factor, int) for factor in factors):
        return math.prod(factors)
    return _once(
        ("product", *_key(*factors)), lambda: functools.reduce(lambda a, b: raw.Mul(x=a, y=b), map(_scalar, factors))
    )


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
expansion = Primitive(_pointwise, _pointwise_gradient)  # the same, to a similar or larger number of channels


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
    # The gradient needs only the slope, computed here with x: later one product.
    return raw.Mul(x=x, y=gate), (raw.AddV2(x=gate, y=raw.SigmoidGrad(y=gate, dy=x)),)


def _swish_gradient(g: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
    return (raw.Mul(x=g, y=slope),)


swish = Primitive(_swish, _swish_gradient)


# -- batch norm ----------------------------------------------------------------------------------
#
# Keras layers use TensorFlow's kernel. The proxy loop on CPUs has a separate one: it takes half the time, and a
# fifth after an expansion, whose statistics and gradients do not need the expanded frames.


def normalise(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Batch norm with the statistics of the batch: x[N,H,W,C] -> the same, and (mean, variance) for the moving ones.

    For a batch on several replicas of `tf.distribute` the statistics are of the whole batch, as in the Model Garden.
    """
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        return _normalise_together(replica, x, gamma, beta)
    none = tf.constant([], gamma.dtype)
    y, mean, variance, *_ = raw.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=none, variance=none, epsilon=BN_EPSILON, is_training=True
    )
    return y, (mean, variance)


def _normalise_together(replica: Any, x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    wide = tf.cast(x, tf.float32)
    mean, variance = tf.nn.moments(wide, [0, 1, 2])
    # Replicas have equal batches, so the variance of all is mean(variance + mean^2) - mean(mean)^2.
    mean, square = replica.all_reduce(tf.distribute.ReduceOp.MEAN, [mean, variance + tf.square(mean)])
    variance = square - tf.square(mean)
    factor = gamma * tf.math.rsqrt(variance + BN_EPSILON)
    y = tf.cast((wide - mean) * factor + beta, x.dtype)
    return y, (mean, _unbiased(variance, _pixels(x) * replica.num_replicas_in_sync))


def _of_channels(operation: Callable[..., Tensor], x: Tensor, v: Tensor, batch: Any) -> Tensor:
    """Return operation(x, v) of x[T*B,H,W,C] and v[C], in rows of B pixels: short rows are 2 to 4 times slower."""
    wide = raw.Tile(input=v, multiples=shape(batch))
    rows = _reshape(x, -1, _product(batch, sizes(v)[0]))
    return raw.Reshape(tensor=operation(x=rows, y=wide), shape=shape(*sizes(x)))


def _channel_sums(x: Tensor, batch: Any) -> Tensor:
    """Sum x[T*B,H,W,C] -> [C], through [B*C] as above."""
    channels = sizes(x)[3]
    partial = raw.BiasAddGrad(out_backprop=_reshape(x, -1, _product(batch, channels)))
    return raw.BiasAddGrad(out_backprop=_reshape(partial, batch, channels))


def _pixels(x: Tensor) -> Tensor:
    """Return T*B*H*W of x[T*B,H,W,C], float32."""
    return raw.Cast(x=_scalar(_product(*sizes(x)[:3])), DstT=tf.float32)


def _unbiased(variance: Tensor, count: Tensor) -> Tensor:
    """Return the unbiased variance, which TensorFlow's kernel uses for the moving variance."""
    return variance * (count / raw.Maximum(x=count - 1.0, y=tf.constant(1.0)))


def _batch_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, batch: Any
) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, Tensor]]:
    count = _pixels(x)
    mean = _channel_sums(x, batch) / count
    centred = _of_channels(raw.Sub, x, mean, batch)
    variance = _channel_sums(raw.Square(x=centred), batch) / count
    inverse = raw.Rsqrt(x=variance + BN_EPSILON)
    scale = gamma * inverse
    y = _of_channels(raw.AddV2, _of_channels(raw.Mul, centred, scale, batch), beta, batch)
    return y, (centred, inverse, scale, batch), (mean, _unbiased(variance, count))


def _batch_norm_gradient(
    g: Tensor, centred: Tensor, inverse: Tensor, scale: Tensor, batch: Any
) -> tuple[Tensor | None, ...]:
    count = _pixels(g)
    dbeta = _channel_sums(g, batch)
    dgamma = _channel_sums(raw.Mul(x=g, y=centred), batch) * inverse
    along = _of_channels(raw.Mul, centred, scale * inverse * dgamma / count, batch)
    across = _of_channels(raw.Sub, _of_channels(raw.Mul, g, scale, batch), scale * dbeta / count, batch)
    return raw.Sub(x=across, y=along), dgamma, dbeta, None


# x[T*B,H,W,C], gamma[C], beta[C], batch -> [T*B,H,W,C]; the forward also gives mean and variance
batch_norm = Norm(_batch_norm, _batch_norm_gradient)


def _normalised_expansion(
    x: Tensor, w: Tensor, gamma: Tensor, beta: Tensor, batch: Any
) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, Tensor]]:
    """Normalise x w. Its mean is that of x times w, its variance w' cov(x) w: so the norm folds into w."""
    n, height, width, _ = sizes(x)
    c_in, c_out = sizes(w)
    count = _pixels(x)
    mean_in = _channel_sums(x, batch) / count
    centred = _reshape(_of_channels(raw.Sub, x, mean_in, batch), -1, c_in)
    covariance_w = _matmul(_matmul(centred, centred, transpose_a=True) / count, w)
    variance = raw.BiasAddGrad(out_backprop=raw.Mul(x=w, y=covariance_w))
    inverse = raw.Rsqrt(x=variance + BN_EPSILON)
    folded = w * (gamma * inverse)
    y = _reshape(_matmul(centred, folded), n, height, width, c_out)
    mean = _reshape(_matmul(_reshape(mean_in, 1, c_in), w), c_out)
    residuals = (centred, w, folded, covariance_w, inverse, gamma, batch)
    return _of_channels(raw.AddV2, y, beta, batch), residuals, (mean, _unbiased(variance, count))


def _normalised_expansion_gradient(
    g: Tensor,
    centred: Tensor,
    w: Tensor,
    folded: Tensor,
    covariance_w: Tensor,
    inverse: Tensor,
    gamma: Tensor,
    batch: Any,
) -> tuple[Tensor | None, ...]:
    n, height, width, c_out = sizes(g)
    c_in = sizes(w)[0]
    count = _pixels(g)
    rows = _reshape(g, -1, c_out)
    product = _matmul(centred, rows, transpose_a=True)
    dbeta = _channel_sums(g, batch)
    dgamma = raw.BiasAddGrad(out_backprop=raw.Mul(x=w, y=product)) * inverse
    # With u = x w and s = gamma * inverse: du = s (g - dbeta / count - (u - mean) inverse dgamma / count).
    scale = gamma * inverse
    along = scale * inverse * dgamma
    dw = product * scale - covariance_w * along
    dx = _matmul(rows, folded, transpose_b=True) - _matmul(centred, _matmul(w * (along / count), w, transpose_b=True))
    dx = _reshape(dx, n, height, width, c_in)
    across = _reshape(_matmul(_reshape(scale * dbeta / count, 1, c_out), w, transpose_b=True), c_in)
    return _of_channels(raw.Sub, dx, across, batch), dw, dgamma, dbeta, None


# batch_norm(pointwise(x, w), gamma, beta, batch), for a similar or larger number of output channels
normalised_expansion = Norm(_normalised_expansion, _normalised_expansion_gradient)


# -- depthwise 3D convolution --------------------------------------------------------------------
#
# One two-dimensional depthwise convolution per temporal tap, on whole frames, of a clip with zeros before and
# after it; the outputs are added. This is exact, and two orders of magnitude faster on a CPU than Conv3D(groups=C). A
# kernel of spatial size 1 is one convolution over an image of time by all other axes. Taps and
# borders of a kernel that reach only padding are left out.


def reachable_offsets(kernel_time: int, frames: int | None) -> tuple[int, ...]:
    """Time offsets d of the taps that read some real frame: output t takes input t+d ('same' padding)."""
    half = kernel_time // 2
    reach = half if frames is None else min(half, frames - 1)
    return tuple(range(-reach, reach + 1))


def window(kernel_space: int, size: int | None, stride: int) -> int:
    """The central part of a spatial kernel that can meet a real pixel; exact for stride 1 and for one pixel only."""
    return kernel_space if size is None or (stride != 1 and size > 1) else min(kernel_space, 2 * size - 1)


@dataclass(frozen=True)
class Reach:
    """The part of a depthwise kernel that meets a clip, known before tracing.

    Attributes:
      kernel: (time, height, width).
      stride: spatial.
      offsets: see `reachable_offsets`.
      window: see `window`.
      padding: rows (and columns) of zeros before and after, written out for the gradient of the kernel; None where
        that gradient is fast without. TensorFlow's CPU kernel for it is 5 to 20 times slower for frames with fewer rows
        than the kernel, and for kernels wider than 3: see `docs/reference/benchmarks.md`.
    """

    kernel: tuple[int, int, int]
    stride: int
    offsets: tuple[int, ...]
    window: int
    padding: tuple[int, int] | None

    @classmethod
    def of(cls, kernel: tuple[int, int, int], stride: int, frames: int | None, size: int | None) -> Reach:
        """Return the reach on clips of `frames` frames of `size` x `size` pixels; None for an unknown size."""
        wide = window(kernel[1], size, stride)
        slow = size is not None and wide > 1 and (wide > _FAST_COLUMNS or size < wide + stride - 1)
        padding = same_padding(wide, stride, size) if size is not None and slow else None
        return cls(kernel, stride, reachable_offsets(kernel[0], frames), wide, padding)

    @property
    def margin(self) -> int:
        """Frames of zeros before and after a clip."""
        return len(self.offsets) // 2


_FAST_COLUMNS = 3


def same_padding(kernel: int, stride: int, size: int) -> tuple[int, int]:
    """Zeros before and after an axis of `size` under TensorFlow's 'SAME'."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _depthwise(x: Tensor, w: Tensor, batch: Any, *, reach: Reach) -> tuple[Tensor, tuple[Tensor, ...]]:
    if reach.window == 1:
        padded = with_margins(subsampled(x, reach.stride), batch, reach.margin)
        y = over_time(padded, reached(w, reach), batch, reach)
    else:
        padded = with_margins(x, batch, reach.margin, reach.padding or (0, 0))
        y = over_space_and_time(padded, reached(w, reach), sizes(x)[0], batch, reach)
    return y, (padded, w, batch, padded if reach.stride == 1 else x)


def _depthwise_gradient(
    g: Tensor, padded: Tensor, w: Tensor, batch: Any, x: Tensor, *, reach: Reach
) -> tuple[Tensor | None, ...]:
    g_padded = with_margins(g, batch, reach.margin)
    gradient = _over_time_gradient if reach.window == 1 else _over_space_and_time_gradient
    dx, dw = gradient(g, g_padded, padded, w, batch, shape_of(x), reach)
    return dx, _whole_kernel(dw, sizes(w)[-1], reach), None


depthwise = Primitive(_depthwise, _depthwise_gradient)  # x[T*B,H,W,C], w[kT,k,k,C] -> [T*B,H/s,W/s,C]


def with_margins(x: Tensor, batch: Any, frames: int, space: tuple[int, int] = (0, 0)) -> Tensor:
    """Return x with `frames` zero frames around each clip, and `space` zero rows and columns around each frame."""
    if not frames and space == (0, 0):
        return x
    rows, (before, after) = _product(frames, batch), space
    return raw.Pad(input=x, paddings=_reshape(shape(rows, rows, before, after, before, after, 0, 0), 4, 2))


def reached(w: Tensor, reach: Reach) -> Tensor:
    """The part of the kernel that meets a clip: [offsets, window, window, C]."""
    kernel_time, kernel_space, _ = reach.kernel
    time, space = (kernel_time - len(reach.offsets)) // 2, (kernel_space - reach.window) // 2
    if not time and not space:
        return w
    size = constant(len(reach.offsets), reach.window, reach.window, -1)
    return raw.Slice(input=w, begin=constant(time, space, space, 0), size=size)


def _whole_kernel(dw: Tensor, channels: Any, reach: Reach) -> Tensor:
    """Return the gradient of the whole kernel from that of the reached part; zero elsewhere."""
    kernel_time, kernel_space, _ = reach.kernel
    time, space = (kernel_time - len(reach.offsets)) // 2, (kernel_space - reach.window) // 2
    dw = _reshape(dw, len(reach.offsets), reach.window, reach.window, channels)
    if not time and not space:
        return dw
    return raw.Pad(input=dw, paddings=_reshape(constant(time, time, space, space, space, space, 0, 0), 4, 2))


def _add(terms: list[Tensor]) -> Tensor:
    return raw.AddN(inputs=terms) if len(terms) > 1 else terms[0]


def _taps(w: Tensor, reach: Reach) -> list[Tensor]:
    """Kernels [window, window, C, 1] of the offsets, earliest first."""
    taps = len(reach.offsets)
    return raw.Unpack(value=_reshape(w, taps, reach.window, reach.window, sizes(w)[-1], 1), num=taps)


def _frames_of_tap(padded: Tensor, tap: int, n: Any, batch: Any, reach: Reach) -> Tensor:
    """Return the n frames that a tap reads, or the gradients that the opposite tap reads: a contiguous slice."""
    if not reach.margin:
        return padded
    return raw.Slice(input=padded, begin=shape(_product(tap, batch), 0, 0, 0), size=shape(n, -1, -1, -1))


def over_space_and_time(padded: Tensor, w: Tensor, n: Any, batch: Any, reach: Reach) -> Tensor:
    """Depthwise convolution over space and time, as one 2D convolution per tap in time; x is already padded."""
    convolved = [
        raw.DepthwiseConv2dNative(
            input=_frames_of_tap(padded, i, n, batch, reach),
            filter=tap,
            strides=[1, reach.stride, reach.stride, 1],
            padding="SAME" if reach.padding is None else "VALID",
        )
        for i, tap in enumerate(_taps(w, reach))
    ]
    return _add(convolved)


def _over_space_and_time_gradient(
    g: Tensor, g_padded: Tensor, padded: Tensor, w: Tensor, batch: Any, x_shape: Tensor, reach: Reach
) -> tuple[Tensor, Tensor]:
    n, channels = sizes(g)[0], sizes(w)[-1]
    strides = [1, reach.stride, reach.stride, 1]
    if reach.stride == 1:
        # The transpose of a 'same' convolution is the convolution with the reversed kernel, and faster in this form.
        turned = raw.ReverseV2(tensor=reached(w, reach), axis=constant(0, 1, 2))
        dx = over_space_and_time(g_padded, turned, n, batch, dataclasses.replace(reach, padding=None))
    else:
        spread = [
            raw.DepthwiseConv2dNativeBackpropInput(
                input_sizes=x_shape,
                filter=tap,
                out_backprop=_frames_of_tap(g_padded, 2 * reach.margin - i, n, batch, reach),
                strides=strides,
                padding="SAME",
            )
            for i, tap in enumerate(_taps(reached(w, reach), reach))
        ]
        dx = _add(spread)
    pieces = _column_pieces(padded, sizes(g)[2], reach)
    dw = []
    for i in range(len(reach.offsets)):
        columns = [
            raw.DepthwiseConv2dNativeBackpropFilter(
                input=_frames_of_tap(piece, i, n, batch, reach),
                filter_sizes=shape(reach.window, width, channels, 1),
                out_backprop=g,
                strides=strides,
                padding="SAME" if reach.padding is None else "VALID",
            )
            for width, piece in pieces
        ]
        dw.append(columns[0] if len(columns) == 1 else raw.ConcatV2(values=columns, axis=_scalar(1)))
    return dx, raw.Pack(values=dw, axis=0)


def _column_pieces(padded: Tensor, width_out: Any, reach: Reach) -> list[tuple[int, Tensor]]:
    """Return frames cut so that each piece covers at most three kernel columns: (columns, frames), left to right."""
    if reach.padding is None or reach.window <= _FAST_COLUMNS:
        return [(reach.window, padded)]
    found = []
    for first in range(0, reach.window, _FAST_COLUMNS):
        width = min(_FAST_COLUMNS, reach.window - first)
        span = _span(width_out, width, reach.stride)
        found.append((width, raw.Slice(input=padded, begin=shape(0, 0, first, 0), size=shape(-1, -1, span, -1))))
    return found


def _span(outputs: Any, kernel: int, stride: int) -> Any:
    """Columns that `outputs` positions of a kernel reach."""
    if isinstance(outputs, int):
        return (outputs - 1) * stride + kernel
    key = ("span", kernel, stride, *_key(outputs))
    return _once(key, lambda: raw.AddV2(x=raw.Mul(x=outputs, y=_scalar(stride)), y=_scalar(kernel - stride)))


def subsampled(x: Tensor, stride: int) -> Tensor:
    """Return the pixels at the centres of a kernel that covers no neighbour; for odd kernels, from the first on."""
    if stride == 1:
        return x
    return raw.StridedSlice(input=x, **_every(stride))


def _every(stride: int) -> dict[str, Any]:
    return {
        "begin": constant(0, 0, 0, 0),
        "end": constant(0, 0, 0, 0),
        "strides": constant(1, stride, stride, 1),
        "begin_mask": 15,
        "end_mask": 15,
    }


def _as_lines(x: Tensor, batch: Any) -> Tensor:
    """x[T*B,H,W,C] as one image of time by everything else: [1, T, B*H*W, C]."""
    _, height, width, channels = sizes(x)
    return _reshape(x, 1, -1, _product(batch, height, width), channels)


def over_time(padded: Tensor, w: Tensor, batch: Any, reach: Reach) -> Tensor:
    """Depthwise convolution over time only, along each pixel's line of frames; x is already padded."""
    _, height, width, channels = sizes(padded)
    line = raw.DepthwiseConv2dNative(
        input=_as_lines(padded, batch),
        filter=_reshape(w, len(reach.offsets), 1, channels, 1),
        strides=[1, 1, 1, 1],
        padding="VALID",
    )
    return _reshape(line, -1, height, width, channels)


def _over_time_gradient(
    g: Tensor, g_padded: Tensor, padded: Tensor, w: Tensor, batch: Any, x_shape: Tensor, reach: Reach
) -> tuple[Tensor, Tensor]:
    turned = raw.ReverseV2(tensor=reached(w, reach), axis=constant(0))
    dx = over_time(g_padded, turned, batch, reach)
    if reach.stride != 1:
        dx = raw.StridedSliceGrad(shape=x_shape, dy=dx, **_every(reach.stride))
    dw = raw.DepthwiseConv2dNativeBackpropFilter(
        input=_as_lines(padded, batch),
        filter_sizes=shape(len(reach.offsets), 1, sizes(w)[-1], 1),
        out_backprop=_as_lines(g, batch),
        strides=[1, 1, 1, 1],
        padding="VALID",
    )
    return dx, dw


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
    # In float16 the sum of a clip overflows, as does its number of pixels.
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
    active, (slope,) = _swish(hidden)
    gate = raw.Sigmoid(x=_dense(active, w2, b2)[0])
    y = raw.Mul(x=clips, y=_reshape(gate, 1, batch, 1, channels))
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
