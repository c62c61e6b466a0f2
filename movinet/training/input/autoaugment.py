"""AutoAugment and RandAugment for clips: one transform, the same for all frames, by stateless seeds.

A clip is uint8 `T H W 3`. Operations agree with those of the TF Model Garden (official/vision/ops/augment.py), which
follow PIL's. Geometric operations reflect the frame at its edges and use the nearest pixel. Statistics (autocontrast,
equalize) are of the clip, except the mean of `contrast`, which is of each frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from movinet.training.input.autoaugment_policies import Policy

Tensor = Any

MAX_LEVEL = 10.0
GREY = 128  # fill value of a cut-out

# RandAugment's operations (arXiv 1909.13719), as the Model Garden lists them for its `exclude_ops`.
# fmt: off
RANDAUGMENT = (
    "AutoContrast", "Equalize", "Invert", "Rotate",
    "Posterize", "Solarize", "Color", "Contrast",
    "Brightness", "Sharpness", "ShearX", "ShearY",
    "TranslateX", "TranslateY", "Cutout", "SolarizeAdd",
)
# fmt: on


def invert(clip: Tensor) -> Tensor:
    """Return the negative."""
    return 255 - clip


def solarize(clip: Tensor, threshold: Tensor) -> Tensor:
    """Invert values of at least `threshold`, 0..255; the Model Garden's 256, for level 10, overflows to 0."""
    values = tf.range(256)
    return _replaced(clip, tf.where(values < tf.cast(threshold, tf.int32) % 256, values, 255 - values))


def solarize_add(clip: Tensor, addition: Tensor) -> Tensor:
    """Add to values below 128."""
    values = tf.range(256)
    return _replaced(clip, tf.where(values < 128, values + tf.cast(addition, tf.int32), values))


def posterize(clip: Tensor, bits: Tensor) -> Tensor:
    """Keep the upper `bits`, at least one: the Model Garden's shift by 8 is a shift by 7 in TensorFlow."""
    shift = tf.cast(tf.minimum(8 - tf.cast(bits, tf.int32), 7), tf.uint8)
    return tf.bitwise.left_shift(tf.bitwise.right_shift(clip, shift), shift)


def color(clip: Tensor, factor: Tensor) -> Tensor:
    """Blend grey (0) with the clip (1); above 1 colours are stronger."""
    return _blend(tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(clip)), clip, factor)


def contrast(clip: Tensor, factor: Tensor) -> Tensor:
    """Multiply differences from each frame's mean by `factor`."""
    return tf.image.adjust_contrast(clip, factor)


def brightness(clip: Tensor, factor: Tensor) -> Tensor:
    """Blend with black: 0 is black, 1 the clip, above 1 brighter."""
    return _blend(tf.zeros_like(clip), clip, factor)


def sharpness(clip: Tensor, factor: Tensor) -> Tensor:
    """Blend PIL's SMOOTH (0) with the clip (1); above 1 sharper; the outermost pixels do not change."""
    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32) / 13
    kernel = tf.tile(kernel[:, :, None, None], [1, 1, 3, 1])
    smooth = tf.nn.depthwise_conv2d(tf.cast(clip, tf.float32), kernel, [1, 1, 1, 1], "VALID")
    smooth = tf.cast(tf.clip_by_value(smooth, 0.0, 255.0), tf.uint8)
    rows, columns = (tf.range(tf.shape(clip)[axis]) for axis in (1, 2))
    inside = ((rows > 0) & (rows < tf.shape(clip)[1] - 1))[:, None] & (columns > 0) & (columns < tf.shape(clip)[2] - 1)
    padded = tf.pad(smooth, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return _blend(tf.where(inside[:, :, None], padded, clip), clip, factor)


def autocontrast(clip: Tensor) -> Tensor:
    """Stretch each channel to 0..255; constant channels do not change."""
    low, high = (tf.cast(reduce(clip, [0, 1, 2]), tf.float32)[:, None] for reduce in (tf.reduce_min, tf.reduce_max))
    scale = 255.0 / tf.maximum(high - low, 1.0)
    values = tf.range(256.0)
    return _replaced(clip, tf.where(high > low, values * scale - low * scale, values))


def equalize(clip: Tensor) -> Tensor:
    """Equalize each channel's histogram by PIL's integer arithmetic; constant channels do not change."""
    flat = tf.reshape(_by_channel(clip), [-1])
    counts = tf.reshape(tf.math.bincount(flat, minlength=768, maxlength=768), [3, 256])
    brightest = tf.cast(tf.reduce_max(clip, [0, 1, 2]), tf.int32)
    step = (tf.reduce_sum(counts, 1) - tf.gather(counts, brightest, batch_dims=1))[:, None] // 255
    below = tf.cumsum(counts, 1, exclusive=True)
    return _replaced(clip, tf.where(step > 0, (below + step // 2) // tf.maximum(step, 1), tf.range(256)))


def _by_channel(clip: Tensor) -> Tensor:
    """Return values as int32, those of the second and third channel shifted to separate ranges."""
    return tf.cast(clip, tf.int32) + tf.constant([0, 256, 512])


def _replaced(clip: Tensor, table: Tensor) -> Tensor:
    """Replace each value by its entry in a table `256`, or its channel's in `3 256`; clip to 0..255."""
    entries = tf.cast(tf.clip_by_value(table, 0, 255), tf.uint8)
    if len(table.shape) == 1:
        return tf.gather(entries, tf.cast(clip, tf.int32))
    return tf.gather(tf.reshape(entries, [-1]), _by_channel(clip))


def rotate(clip: Tensor, degrees: Tensor) -> Tensor:
    """Rotate about the centre."""
    angle = degrees * (math.pi / 180)
    sine, cosine = tf.sin(angle), tf.cos(angle)
    bottom, right = (tf.cast(tf.shape(clip)[axis] - 1, tf.float32) for axis in (1, 2))
    x = (right - (cosine * right - sine * bottom)) / 2
    y = (bottom - (sine * right + cosine * bottom)) / 2
    return _moved(clip, [cosine, -sine, x, sine, cosine, y])


def shear_x(clip: Tensor, level: Tensor) -> Tensor:
    """Shift each row by `level` times its number."""
    return _moved(clip, [1, level, 0, 0, 1, 0])


def shear_y(clip: Tensor, level: Tensor) -> Tensor:
    """Shift each column by `level` times its number."""
    return _moved(clip, [1, 0, 0, level, 1, 0])


def translate_x(clip: Tensor, pixels: Tensor) -> Tensor:
    """Shift to the left."""
    return _moved(clip, [1, 0, pixels, 0, 1, 0])


def translate_y(clip: Tensor, pixels: Tensor) -> Tensor:
    """Shift upwards."""
    return _moved(clip, [1, 0, 0, 0, 1, pixels])


def cutout(clip: Tensor, seed: Tensor) -> Tensor:
    """Fill a box at a uniform position with grey: half its sides are T of 1..T/4, H of H/4..H/2, W of W/4..W/2."""
    shape, seeds = tf.shape(clip), tf.random.split(seed, 2)
    centres = _integers(seeds[0], tf.zeros(3, tf.int32), shape[:3])
    least = tf.stack([1, tf.maximum(1, shape[1] // 4), tf.maximum(1, shape[2] // 4)])
    halves = _integers(seeds[1], least, tf.maximum(2, shape[:3] // tf.constant([4, 2, 2])))
    depth, height, width = (_span(shape[axis], centres[axis], halves[axis]) for axis in range(3))
    box = depth[:, None, None] & height[:, None] & width
    return tf.where(box[..., None], tf.constant(GREY, tf.uint8), clip)


def _integers(seed: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Draw integers uniform in [low, high), one per entry; `low` itself if the range is empty."""
    share = tf.random.stateless_uniform(tf.shape(low), seed)
    return low + tf.cast(share * tf.cast(tf.maximum(high - low, 1), tf.float32), tf.int32)


def _span(length: Tensor, centre: Tensor, half: Tensor) -> Tensor:
    places = tf.range(length)
    return (places >= centre - half) & (places < centre + half)


def _blend(start: Tensor, end: Tensor, factor: Tensor) -> Tensor:
    """Interpolate from `start` at 0 to `end` at 1, and extrapolate beyond."""
    start, end = tf.cast(start, tf.float32), tf.cast(end, tf.float32)
    return tf.cast(tf.clip_by_value(start + factor * (end - start), 0.0, 255.0), tf.uint8)


def _moved(clip: Tensor, affine: Sequence[Any]) -> Tensor:
    """Set each output pixel (x, y) to the input pixel (a x + b y + c, d x + e y + f)."""
    transform = tf.stack([tf.cast(value, tf.float32) for value in affine] + [tf.zeros(())] * 2)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=clip,
        transforms=transform[None],
        output_shape=tf.shape(clip)[1:3],
        fill_value=tf.zeros(()),
        interpolation="NEAREST",
        fill_mode="REFLECT",
    )


class Operation(NamedTuple):
    """Function `apply(clip)`, or `apply(clip, argument)` for a level; half of signed arguments are negated."""

    apply: Callable[..., Tensor]
    argument: Callable[[float], float] | None = None
    signed: bool = False


def operations(translate_const: float) -> dict[str, Operation]:
    """Return all operations by their names in a policy except Cutout, whose size is random; levels are 0..10."""

    def share(factor: float, least: float = 0.0) -> Callable[[float], float]:
        return lambda level: level / MAX_LEVEL * factor + least

    def whole(factor: float) -> Callable[[float], float]:
        return lambda level: int(level / MAX_LEVEL * factor)

    return {
        "AutoContrast": Operation(autocontrast),
        "Equalize": Operation(equalize),
        "Invert": Operation(invert),
        "Posterize": Operation(posterize, whole(4)),
        "Solarize": Operation(solarize, whole(256)),
        "SolarizeAdd": Operation(solarize_add, whole(110)),
        "Color": Operation(color, share(1.8, 0.1)),
        "Contrast": Operation(contrast, share(1.8, 0.1)),
        "Brightness": Operation(brightness, share(1.8, 0.1)),
        "Sharpness": Operation(sharpness, share(1.8, 0.1)),
        "Rotate": Operation(rotate, share(30), signed=True),
        "ShearX": Operation(shear_x, share(0.3), signed=True),
        "ShearY": Operation(shear_y, share(0.3), signed=True),
        "TranslateX": Operation(translate_x, share(translate_const), signed=True),
        "TranslateY": Operation(translate_y, share(translate_const), signed=True),
    }


def auto_augment(clip: Tensor, policy: Policy, seed: Tensor, translate_const: float = 250.0) -> Tensor:
    """Apply one sub-policy of `policy` to the clip, drawn by `seed` (int `2`)."""
    names = sorted({name for row in policy for name, _, _ in row})
    depth = max(map(len, policy))
    rows = [(*row, *[(names[0], 0.0, 0.0)] * (depth - len(row))) for row in policy]
    seeds = tf.random.split(seed, 1 + 2 * depth)
    row = tf.random.stateless_uniform([], seeds[0], 0, len(rows), tf.int32)
    for place in range(depth):
        which = tf.constant([names.index(row[place][0]) for row in rows])[row]
        chance = tf.constant([row[place][1] for row in rows])[row]
        level = [_argument(row[place][0], row[place][2], translate_const) for row in rows]
        one = partial(_applied, clip, names, which, tf.constant(level)[row], seeds[1 + 2 * place], translate_const)
        clip = tf.cond(_happens(chance, seeds[2 + 2 * place]), one, partial(tf.identity, clip))
    return clip


def rand_augment(
    clip: Tensor,
    seed: Tensor,
    layers: int = 2,
    magnitude: float = 10.0,
    translate_const: float = 100.0,
    chance: float | None = None,
    exclude: Sequence[str] = (),
) -> Tensor:
    """Apply `layers` operations drawn by `seed`, except those of `exclude`, each with probability `chance`.

    "No operation" is as likely as any single operation.
    """
    names = [name for name in RANDAUGMENT if name not in exclude]
    arguments = tf.constant([*(_argument(name, magnitude, translate_const) for name in names), 0.0])
    seeds = tf.unstack(tf.random.split(seed, 3 * layers))
    for draw, use, own in zip(seeds[::3], seeds[1::3], seeds[2::3], strict=True):
        which = tf.random.stateless_uniform([], draw, 0, len(names) + 1, tf.int32)
        happens = (which < len(names)) & _happens(1.0 if chance is None else chance, use)
        one = partial(_applied, clip, names, which, arguments[which], own, translate_const)
        clip = tf.cond(happens, one, partial(tf.identity, clip))
    return clip


def _happens(chance: Tensor | float, seed: Tensor) -> Tensor:
    return tf.random.stateless_uniform([], seed) < chance


def _argument(name: str, level: float, translate_const: float) -> float:
    operation = operations(translate_const).get(name)
    return float(operation.argument(level)) if operation and operation.argument else 0.0


def _applied(
    clip: Tensor, names: Sequence[str], which: Tensor, argument: Tensor, seed: Tensor, translate_const: float
) -> Tensor:
    """Apply operation number `which` of `names` to the clip."""
    known = operations(translate_const)
    signed = tf.where(_happens(0.5, seed), argument, -argument)

    def apply(name: str) -> Tensor:
        if name == "Cutout":
            return cutout(clip, seed)
        operation = known[name]
        if operation.argument is None:
            return operation.apply(clip)
        return operation.apply(clip, signed if operation.signed else argument)

    return tf.switch_case(which, [partial(apply, name) for name in names])
