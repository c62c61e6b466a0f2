"""Offsets by which the kernels run a depthwise convolution of one clip, forward and backward.

A clip lies in a padded buffer, one plane for each phase of the stride in columns: column w of plane p is column
`w * stride + p` of the clip. So each tap of the kernel multiplies whole rows of `W * E` floats at any stride. The
convolution, its gradient by the clip and its gradient by the taps are three lists of products of rows.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

U = np.uintp
Program = tuple[np.ndarray, ...]  # starts, lengths, first, a_offsets, b_offsets of `bottleneck_kernels.run_rows`


def same_padding(kernel: int, stride: int, size: int) -> int:
    """Return the number of zeros before an axis under TensorFlow's 'SAME'."""
    return max((-(-size // stride) - 1) * stride + kernel - size, 0) // 2


@dataclass(frozen=True)
class Geometry:
    """A depthwise convolution of clips `T H W E` with a kernel (time, space, space).

    Attributes:
      out_side: rows and columns of the output.
      row: floats in a row of the output.
      buffer_size, d_size: floats of the padded buffers, of the input and of the output's gradient.
      places: position of each pixel in the first buffer; d_places: of each row in the second.
      forward: rows of (out, buffer, taps); backward: of (gradient buffer, d, taps); of_taps: of (taps, buffer, d).
    """

    out_side: int
    row: int
    buffer_size: int
    d_size: int
    places: np.ndarray
    d_places: np.ndarray
    forward: Program
    backward: Program
    of_taps: Program

    @property
    def compiled(self) -> tuple[Any, ...]:
        """Arguments of the kernels, in their order."""
        programs = self.forward, self.backward, self.of_taps
        return self.buffer_size, self.places, self.d_size, self.d_places, *programs


@functools.lru_cache(maxsize=4096)
def geometry(kernel: tuple[int, int, int], stride: int, frames: int, side: int, channels: int) -> Geometry:
    """The geometry of a kernel of `stride` on clips of `frames` frames of side x side pixels with `channels`."""
    time, space, _ = kernel
    out = -(-side // stride)
    before = same_padding(space, stride, side)
    columns = [((d - before) % stride, (d - before) // stride) for d in range(space)]  # phase and shift of each tap
    widths = [-(-(side - p) // stride) for p in range(stride)]
    left = [max([0, *(-q for p, q in columns if p == phase)]) for phase in range(stride)]
    right = [max([0, *(q + out - widths[phase] for p, q in columns if p == phase)]) for phase in range(stride)]
    pitch = [(left[p] + widths[p] + right[p]) * channels for p in range(stride)]
    base = np.concatenate([[0], np.cumsum([frames * side * each for each in pitch])]).tolist()
    d_left = max(0, *(q for _, q in columns))
    d_right = max([0, *(widths[p] - 1 - q - (out - 1) for p, q in columns)])
    d_pitch = (d_left + out + d_right) * channels
    row = out * channels

    def place(phase: int, t: int, h: int, w: int) -> int:
        return base[phase] + (t * side + h) * pitch[phase] + (left[phase] + w) * channels

    def d_place(t: int, h: int, w: int) -> int:
        return (t * out + h) * d_pitch + (d_left + w) * channels

    # (tap, offset in time, offset in rows, phase, shift) of the taps that reach a pixel.
    met = [
        ((a * space + b) * space + c, a - time // 2, b - before, *columns[c])
        for a in range(time)
        for b in range(space)
        for c in range(space)
        if abs(a - time // 2) < frames and columns[c][1] < widths[columns[c][0]] and columns[c][1] > -out
    ]
    forward: list[tuple[int, int, list[tuple[int, int]]]] = []
    backward: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    of_taps: dict[int, list[tuple[int, int]]] = {}
    for t in range(frames):
        for h in range(out):
            products = []
            for tap, dt, dh, phase, shift in met:
                there, y = t + dt, h * stride + dh
                if 0 <= there < frames and 0 <= y < side:
                    products.append((place(phase, there, y, shift), tap * row))
                    of_taps.setdefault(tap, []).append((place(phase, there, y, shift), d_place(t, h, 0)))
                    backward.setdefault((phase, there, y), []).append((d_place(t, h, -shift), tap * row))
            forward.append(((t * out + h) * row, row, products))
    return Geometry(
        out_side=out,
        row=row,
        buffer_size=base[-1],
        d_size=frames * out * d_pitch,
        places=np.array(
            [place(w % stride, t, h, w // stride) for t in range(frames) for h in range(side) for w in range(side)], U
        ),
        d_places=np.array([d_place(t, h, 0) for t in range(frames) for h in range(out)], U),
        forward=_program(forward),
        backward=_program([(place(p, t, y, 0), widths[p] * channels, found) for (p, t, y), found in backward.items()]),
        of_taps=_program([(tap * row, row, found) for tap, found in of_taps.items()]),
    )


def _program(rows: list[tuple[int, int, list[tuple[int, int]]]]) -> Program:
    first = np.concatenate([[0], np.cumsum([len(products) for _, _, products in rows])])
    pairs = np.array([pair for _, _, products in rows for pair in products], U).reshape(-1, 2)
    starts, lengths = (np.array([row[i] for row in rows], U) for i in (0, 1))
    return starts, lengths, first.astype(U), pairs[:, 0].copy(), pairs[:, 1].copy()
