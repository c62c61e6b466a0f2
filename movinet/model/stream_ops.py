"""Primitives of causal networks and of variants other than the base: layer states, convolutions over past frames.

Frames are time-major as in `ops`: `x[T*B, H, W, C]`. TensorFlow differentiates these; the proxy loop does not use them.

A `Memory` holds the states of one layer between calls. Without it a clip starts with empty states: zeros before the
first frame, a frame count of zero. So one implementation serves a whole clip, a chunk of it and a single frame.
States have the Model Garden's layouts: buffers `B T H W C`, sums `B 1 1 1 C`, counts int32 `[1]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from movinet.model import depthwise_ops, ops
from movinet.model.depthwise_ops import Reach
from movinet.model.ops import Primitive, Tensor
from search_space.variant import Variant

BUFFER, SUM, COUNT, POSITION = "stream_buffer", "pool_buffer", "pool_frame_count", "pos_enc_frame_count"


def _hard_swish(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    return x * tf.nn.relu6(x + 3) * (1 / 6), ()


def _hard_sigmoid(x: Tensor) -> Tensor:
    return tf.nn.relu6(x + 3) * 0.16667  # as in the Model Garden, instead of exactly 1/6


ACTIVATIONS = {
    "swish": ops.swish,
    "hard_swish": Primitive(_hard_swish, None),
    "relu": Primitive(lambda x: (tf.nn.relu(x), ()), None),
    "relu6": Primitive(lambda x: (tf.nn.relu6(x), ()), None),
}
GATES: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": tf.sigmoid, "hard_sigmoid": _hard_sigmoid}


class Memory:
    """States that a layer receives from earlier frames and stores for later ones, by the state's name."""

    def __init__(self, given: Mapping[str, Tensor] | None = None) -> None:
        self.given = given or {}
        self.kept: dict[str, Tensor] = {}

    def counted(self, name: str, frames: Any) -> Tensor:
        """Return the number of frames before these, int32 scalar; store that number plus these."""
        before = tf.reshape(self.given[name], []) if name in self.given else tf.constant(0)
        self.kept[name] = tf.reshape(before + frames, [1])
        return before


def with_past(x: Tensor, frames: int, batch: Any, memory: Memory) -> Tensor:
    """Return x[T*B,H,W,C] after the `frames` frames before it: [(frames+T)*B,H,W,C]; store the last of them."""
    _, height, width, channels = ops.sizes(x)
    if BUFFER in memory.given:
        past = _time_major(memory.given[BUFFER], frames, batch, height, width, channels)
        padded = tf.concat([tf.cast(past, x.dtype), x], 0)
    else:
        padded = tf.pad(x, [[frames * batch, 0], [0, 0], [0, 0], [0, 0]])
    last = padded[-frames * batch :]
    memory.kept[BUFFER] = _clip_major(last, frames, batch, height, width, channels)
    return padded


def _time_major(x: Tensor, frames: int, batch: Any, *sizes: Any) -> Tensor:
    """Reshape B T H W C -> T*B H W C; without a copy for a single clip."""
    if not (isinstance(batch, int) and batch == 1):
        x = tf.transpose(x, [1, 0, 2, 3, 4])
    return tf.reshape(x, ops.shape(-1, *sizes))


def _clip_major(x: Tensor, frames: int, batch: Any, *sizes: Any) -> Tensor:
    """Reshape T*B H W C -> B T H W C."""
    if isinstance(batch, int) and batch == 1:
        return tf.reshape(x, ops.shape(1, frames, *sizes))
    return tf.transpose(tf.reshape(x, ops.shape(frames, batch, *sizes)), [1, 0, 2, 3, 4])


def _depthwise_behind_past(padded: Tensor, w: Tensor, batch: Any, *, reach: Reach) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Depthwise convolution over new frames preceded by kT-1 past ones; returns one frame per new frame."""
    if reach.window == 1:
        return depthwise_ops.over_time(
            depthwise_ops.subsampled(padded, reach.stride), depthwise_ops.reached(w, reach), batch, reach
        ), ()
    if reach.padding is not None:
        padded = depthwise_ops.with_margins(padded, batch, 0, reach.padding)
    before = (reach.kernel[0] - 1) * batch
    return depthwise_ops.over_space_and_time(
        padded, depthwise_ops.reached(w, reach), ops.sizes(padded)[0] - before, batch, reach
    ), ()


# padded[(kT-1+T)*B,H,W,C], w[kT,k,k,C] -> [T*B,H/s,W/s,C]
depthwise_behind_past = Primitive(_depthwise_behind_past, None)


def frame_means(x: Tensor, batch: Any) -> Tensor:
    """Return the mean of each frame: x[T*B,H,W,C] -> float32 [T,B,C]."""
    n, height, width, channels = ops.sizes(x)
    pixels = height * width if isinstance(height, int) and isinstance(width, int) else tf.multiply(height, width)
    means = tf.reduce_mean(tf.cast(tf.reshape(x, ops.shape(n, pixels, channels)), tf.float32), 1)
    frames = n // batch if isinstance(n, int) and isinstance(batch, int) else -1
    return tf.reshape(means, ops.shape(frames, batch, channels))


def means_so_far(means: Tensor, memory: Memory) -> Tensor:
    """Return the mean over each frame and all before it: means[T,B,C] -> [T,B,C]; store their sum and number."""
    frames = ops.sizes(means)[0]
    sums = tf.cumsum(means, 0) if means.shape[0] != 1 else means
    _remember_sum(sums[-1], means, memory)
    numbers = tf.cast(memory.counted(COUNT, frames) + 1 + tf.range(frames), tf.float32)[:, None, None]
    # Means are divided before they are added, so values keep the size of a mean in a stream of any length.
    found = sums / numbers
    return found + _sum_before(memory, means) / numbers if SUM in memory.given else found


def mean_of_all(means: Tensor, memory: Memory) -> Tensor:
    """Return the mean over these frames and all before them: means[T,B,C] -> [B,C]; store their sum and number."""
    total = _remember_sum(tf.reduce_sum(means, 0), means, memory)
    frames = ops.sizes(means)[0]
    return total / tf.cast(memory.counted(COUNT, frames) + frames, tf.float32)


def _remember_sum(new: Tensor, means: Tensor, memory: Memory) -> Tensor:
    """Return the sum over all frames, old and new, [B,C]."""
    _, batch, channels = ops.sizes(means)
    total = new + _sum_before(memory, means) if SUM in memory.given else new
    memory.kept[SUM] = tf.reshape(total, ops.shape(batch, 1, 1, 1, channels))
    return total


def _sum_before(memory: Memory, means: Tensor) -> Tensor:
    _, batch, channels = ops.sizes(means)
    return tf.cast(tf.reshape(memory.given[SUM], ops.shape(batch, channels)), tf.float32)


def positional_encoding(frames: Any, channels: int, memory: Memory) -> Tensor:
    """Return sines, then cosines, of the number of each frame: float32 [T,1,C]; store the number of frames.

    Angle 1 / 10000^(2 floor(i/2) / C) of channel i, even channels as sines (arXiv 1706.03762, as in the Model Garden).
    """
    before = memory.counted(POSITION, frames)
    channel = np.arange(channels)
    angles = (1 / 10000 ** (2 * (channel // 2) / channels)).astype(np.float32)
    number = tf.cast(before + tf.range(frames), tf.float32)[:, None]
    code = tf.concat([tf.sin(number * angles[0::2]), tf.cos(number * angles[1::2])], 1)
    return code[:, None]


def squeeze_excite(x: Tensor, w: Mapping[str, Tensor], batch: Any, variant: Variant, memory: Memory) -> Tensor:
    """Squeeze-excite of any variant, x[T*B,H,W,C] -> x[T*B,H,W,C]."""
    seen = _seen(frame_means(x, batch), variant, memory)
    frames, _, channels = ops.sizes(seen)
    if variant.encodes_position:
        seen += positional_encoding(frames, channels, memory) * tf.cast(w["positional"], tf.float32)
    rows = tf.cast(tf.reshape(seen, ops.shape(-1, channels)), x.dtype)
    hidden = ACTIVATIONS[variant.activation].forward(ops.dense.forward(rows, w["squeeze"], w["squeeze_bias"])[0])[0]
    gates = GATES[variant.gating_activation](ops.dense.forward(hidden, w["excite"], w["excite_bias"])[0])
    return gated(x, tf.reshape(gates, ops.shape(frames, batch, ops.sizes(x)[3])))


def _seen(means: Tensor, variant: Variant, memory: Memory) -> Tensor:
    """Return the input of squeeze-excite: [T,B,C], [T,B,2C], or [1,B,C] if it is the same for all frames."""
    if variant.se_type == "2d":
        return means
    whole = means_so_far(means, memory) if variant.causal else tf.reduce_mean(means, 0, keepdims=True)
    if variant.se_type == "3d":
        return whole
    return tf.concat([whole if variant.causal else tf.broadcast_to(whole, tf.shape(means)), means], -1)


def gated(x: Tensor, gates: Tensor) -> Tensor:
    """Return x[T*B,H,W,C] times gates[T,B,C], or times [1,B,C] for all frames."""
    n, height, width, channels = ops.sizes(x)
    frames, batch, _ = ops.sizes(gates)
    if gates.shape[0] == 1 and (x.shape[0] is None or x.shape[0] != gates.shape[1]):
        by_clip = tf.reshape(x, ops.shape(-1, batch, height, width, channels))
        return tf.reshape(by_clip * tf.reshape(gates, ops.shape(1, batch, 1, 1, channels)), tf.shape(x))
    return x * tf.reshape(gates, ops.shape(n, 1, 1, channels))
