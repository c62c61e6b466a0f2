"""Clips of a video as input of a network: choice of frames, crops, augmentation.

Clips are `T H W 3`, uint8 until `pixels`. Everything random is a function of a stateless seed (int `2`) and the same
for all frames of a clip. Frames, sizes and crops are those of the TF Model Garden
(official/vision/dataloaders/video_input.py and official/vision/ops/preprocess_ops_3d.py).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

Tensor = Any


def random_frames(count: Tensor, frames: int, stride: int, spread: int, loop: bool, seed: Tensor) -> Tensor:
    """Return the numbers of `frames` of a video's `count` frames from a random start, int32 `T`.

    The stride is uniform in [stride - spread, stride + spread), and at least 1. The Model Garden's code does the same,
    although its documentation includes the upper end. All starts that keep the clip inside the video are equally
    likely.
    A too short video is looped from a random frame, or starts at its first frame if its last one is repeated.
    """
    seeds = tf.random.split(seed, 2)
    if spread:
        stride = tf.random.stateless_uniform([], seeds[0], max(stride - spread, 1), stride + spread, tf.int32)
    room = count - (frames - 1) * stride
    start = tf.random.stateless_uniform([], seeds[1], 0, tf.where(room > 0, room, count if loop else 1), tf.int32)
    return _numbers(count, start, frames, stride, loop)


def centre_frames(count: Tensor, frames: int, stride: int, loop: bool) -> Tensor:
    """Return the frame numbers of the clip in the middle: int32 `T`."""
    return _numbers(count, tf.maximum(0, (count - frames * stride) // 2), frames, stride, loop)


def even_frames(count: Tensor, frames: int, stride: int, clips: int, loop: bool) -> Tensor:
    """Return the frames of `clips` clips from the first to the last possible one: int32 `clips T`; one is centred."""
    if clips == 1:
        return centre_frames(count, frames, stride, loop)[None]
    last = tf.cast(tf.maximum(0, count - frames * stride), tf.float32)
    starts = tf.cast(tf.linspace(0.0, last, clips), tf.int32)
    return _numbers(count, starts[:, None], frames, stride, loop)


def _numbers(count: Tensor, start: Tensor, frames: int, stride: Tensor | int, loop: bool) -> Tensor:
    """Return frame numbers; a too short video is looped from its beginning, or its last frame is repeated."""
    numbers = start + tf.range(frames) * stride
    return numbers % count if loop else tf.minimum(numbers, count - 1)


def random_resized_crop(
    clip: Tensor, size: tuple[int, int], area: tuple[float, float], aspect: tuple[float, float], seed: Tensor
) -> Tensor:
    """Crop an area fraction in `area` with an aspect ratio in `aspect` times that of `size`; resize to `size`.

    After 100 failed attempts to find such a part, the whole frame is used.
    """
    height, width = size
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(clip)[1:],
        tf.constant([0.0, 0.0, 1.0, 1.0], shape=[1, 1, 4]),
        seed,
        min_object_covered=0.1,
        aspect_ratio_range=[bound * width / height for bound in aspect],
        area_range=list(area),
        max_attempts=100,
    )
    return resized(tf.slice(clip, [0, begin[0], begin[1], 0], [-1, extent[0], extent[1], -1]), height, width)


def random_flip(clip: Tensor, seed: Tensor) -> Tensor:
    """Mirror every second clip left to right."""
    flipped = tf.random.stateless_uniform([], seed) < 0.5
    return tf.cond(flipped, lambda: tf.reverse(clip, [2]), lambda: clip)


def random_rotation(clip: Tensor, seed: Tensor) -> Tensor:
    """Rotate by 0, 90, 180 or 270 degrees; only square frames keep their shape."""
    return tf.image.rot90(clip, tf.random.stateless_uniform([], seed, 0, 4, tf.int32))


def resized(clip: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Resize bilinearly; values are truncated to integers as in the Model Garden."""
    return tf.cast(tf.image.resize(clip, (height, width)), clip.dtype)


def resize_short_side(clip: Tensor, side: int) -> Tensor:
    """Resize so that the short side is `side` pixels."""
    height, width = tf.shape(clip)[1], tf.shape(clip)[2]
    new_height, new_width = tf.maximum(side, height * side // width), tf.maximum(side, width * side // height)
    fits = (new_height == height) & (new_width == width)
    return tf.cond(fits, lambda: clip, lambda: resized(clip, new_height, new_width))


def crops(clip: Tensor, size: tuple[int, int], count: int) -> Tensor:
    """Return the centre (1), or start, middle and end of the long side (3): `count T h w 3`.

    A single crop larger than the frame is padded with black; three crops must fit. Three crops start at the top left
    and
    move only along the long side, as in the Model Garden: they are not centred on the short side.
    """
    height, width = size
    if count == 1:
        return tf.image.resize_with_crop_or_pad(clip, height, width)[None]
    tall = tf.shape(clip)[1] >= tf.shape(clip)[2]
    length = tf.where(tall, tf.shape(clip)[1], tf.shape(clip)[2])
    side = tf.where(tall, height, width)
    middle = tf.cast(tf.round(tf.cast(length, tf.float32) / 2 - tf.cast(side // 2, tf.float32)), tf.int32)
    starts = [tf.zeros_like(length), middle, length - side]
    return tf.stack([_cut(clip, tf.where(tall, at, 0), tf.where(tall, 0, at), height, width) for at in starts])


def _cut(clip: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    return tf.slice(clip, [0, top, left, 0], [-1, height, width, -1])


def pixels(clip: Tensor, zero_centred: bool, dtype: tf.DType = tf.float32) -> Tensor:
    """Scale values 0..255 to 0..1, or to -1..1; computed in float32."""
    values = tf.cast(clip, tf.float32)
    return tf.cast(values * (2.0 / 255.0) - 1.0 if zero_centred else values / 255.0, dtype)
