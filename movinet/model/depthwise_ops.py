"""Depthwise 3D convolution as a primitive, of frames `T*B H W C`; see `ops`.

One two-dimensional depthwise convolution per temporal tap, on whole frames, of a clip with zeros before and
after it; the outputs are added. This is exact, and two orders of magnitude faster on a CPU than Conv3D(groups=C). A
kernel of spatial size 1 is one convolution over an image of time by all other axes. Taps and
borders of a kernel that reach only padding are left out.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from movinet.model.ops import (
    Primitive,
    Tensor,
    constant,
    key_of,
    once,
    product_of,
    raw,
    reshape,
    scalar,
    shape,
    shape_of,
    sizes,
)


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
    rows, (before, after) = product_of(frames, batch), space
    return raw.Pad(input=x, paddings=reshape(shape(rows, rows, before, after, before, after, 0, 0), 4, 2))


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
    dw = reshape(dw, len(reach.offsets), reach.window, reach.window, channels)
    if not time and not space:
        return dw
    return raw.Pad(input=dw, paddings=reshape(constant(time, time, space, space, space, space, 0, 0), 4, 2))


def _add(terms: list[Tensor]) -> Tensor:
    return raw.AddN(inputs=terms) if len(terms) > 1 else terms[0]


def _taps(w: Tensor, reach: Reach) -> list[Tensor]:
    """Kernels [window, window, C, 1] of the offsets, earliest first."""
    taps = len(reach.offsets)
    return raw.Unpack(value=reshape(w, taps, reach.window, reach.window, sizes(w)[-1], 1), num=taps)


def _frames_of_tap(padded: Tensor, tap: int, n: Any, batch: Any, reach: Reach) -> Tensor:
    """Return the n frames that a tap reads, or the gradients that the opposite tap reads: a contiguous slice."""
    if not reach.margin:
        return padded
    return raw.Slice(input=padded, begin=shape(product_of(tap, batch), 0, 0, 0), size=shape(n, -1, -1, -1))


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
        dw.append(columns[0] if len(columns) == 1 else raw.ConcatV2(values=columns, axis=scalar(1)))
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
    key = ("span", kernel, stride, *key_of(outputs))
    return once(key, lambda: raw.AddV2(x=raw.Mul(x=outputs, y=scalar(stride)), y=scalar(kernel - stride)))


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
    return reshape(x, 1, -1, product_of(batch, height, width), channels)


def over_time(padded: Tensor, w: Tensor, batch: Any, reach: Reach) -> Tensor:
    """Depthwise convolution over time only, along each pixel's line of frames; x is already padded."""
    _, height, width, channels = sizes(padded)
    line = raw.DepthwiseConv2dNative(
        input=_as_lines(padded, batch),
        filter=reshape(w, len(reach.offsets), 1, channels, 1),
        strides=[1, 1, 1, 1],
        padding="VALID",
    )
    return reshape(line, -1, height, width, channels)


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
