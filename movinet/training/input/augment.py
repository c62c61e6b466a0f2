"""From a video's frames to the clips a network sees: which frames, which crop, which changes.

Clips are `T H W 3`, uint8 until `pixels`; whatever is random is a function of a stateless seed (int `2`) and the same
for all frames of a clip. Frames, sizes and crops are those of the release (official/vision/dataloaders/video_input.py
and official/vision/ops/preprocess_ops_3d.py).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

Tensor = Any

CROPS = (1, 3)


def random_frames(count: Tensor, frames: int, stride: int, spread: int, loop: bool, seed: Tensor) -> Tensor:
    """The numbers of `frames` of a video's `count` frames from a random start, int32 `T`.

    The stride is uniform in [stride - spread, stride + spread), and at least 1: what the release carries out, although
    it documents that the upper end is included. Any start that leaves the clip inside the video is as likely; a video
    too short for that is repeated from any of its frames on, or begins with the first if its last frame is repeated.
    """
    seeds = tf.random.split(seed, 2)
    if spread:
        stride = tf.random.stateless_uniform([], seeds[0], max(stride - spread, 1), stride + spread, tf.int32)
    room = count - (frames - 1) * stride
    start = tf.random.stateless_uniform([], seeds[1], 0, tf.where(room > 0, room, count if loop else 1), tf.int32)
    return _numbers(count, start, frames, stride, loop)


def centre_frames(count: Tensor, frames: int, stride: int, loop: bool) -> Tensor:
    """Those of the clip in the middle: int32 `T`."""
    return _numbers(count, tf.maximum(0, (count - frames * stride) // 2), frames, stride, loop)


def even_frames(count: Tensor, frames: int, stride: int, clips: int, loop: bool) -> Tensor:
    """Those of `clips` clips from the first to the last that the video holds: int32 `clips T`. One is the middle."""
    if clips == 1:
        return centre_frames(count, frames, stride, loop)[None]
    last = tf.cast(tf.maximum(0, count - frames * stride), tf.float32)
    starts = tf.cast(tf.linspace(0.0, last, clips), tf.int32)
    return _numbers(count, starts[:, None], frames, stride, loop)


def _numbers(count: Tensor, start: Tensor, frames: int, stride: Tensor | int, loop: bool) -> Tensor:
    """A video too short is repeated from its beginning, or its last frame is."""
    numbers = start + tf.range(frames) * stride
    return numbers % count if loop else tf.minimum(numbers, count - 1)


def random_resized_crop(
    clip: Tensor, size: tuple[int, int], area: tuple[float, float], aspect: tuple[float, float], seed: Tensor
) -> Tensor:
    """A part with a share of the picture in `area` and an aspect ratio in `aspect` times that of `size`, resized to it.

    If no such part is found in 100 attempts it is the whole picture.
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
    """Left and right are exchanged in every second clip."""
    flipped = tf.random.stateless_uniform([], seed) < 0.5
    return tf.cond(flipped, lambda: tf.reverse(clip, [2]), lambda: clip)


def random_rotation(clip: Tensor, seed: Tensor) -> Tensor:
    """By 0, 90, 180 or 270 degrees; square pictures only keep their shape."""
    return tf.image.rot90(clip, tf.random.stateless_uniform([], seed, 0, 4, tf.int32))


def resized(clip: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Bilinear, values cut off to integers as in the release."""
    return tf.cast(tf.image.resize(clip, (height, width)), clip.dtype)


def resize_short_side(clip: Tensor, side: int) -> Tensor:
    """The same picture with its short side `side` long."""
    height, width = tf.shape(clip)[1], tf.shape(clip)[2]
    new_height, new_width = tf.maximum(side, height * side // width), tf.maximum(side, width * side // height)
    fits = (new_height == height) & (new_width == width)
    return tf.cond(fits, lambda: clip, lambda: resized(clip, new_height, new_width))


def crops(clip: Tensor, size: tuple[int, int], count: int) -> Tensor:
    """The centre (1), or begin, middle and end of the long side (3): `count T h w 3`.

    One crop larger than the picture gets black around it; of three, each must fit. Three of them start at the top left
    and go only along the long side, as in the release: its crops are not centred on the short side.
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
    """Values 0..255 as 0..1, or as -1..1; computed in float32."""
    values = tf.cast(clip, tf.float32)
    return tf.cast(values * (2.0 / 255.0) - 1.0 if zero_centred else values / 255.0, dtype)
