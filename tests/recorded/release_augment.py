"""Records what the release does to a fixed clip, for tests/test_augment.py. Run where tf-models-official 2.20 is:

TF_USE_LEGACY_KERAS=1 python tests/recorded/release_augment.py tests/recorded/release_augment.npz
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

GREY = [128] * 3
NAMES_OF_ARGUMENT = {
    "Posterize": (0, 2, 3),
    "Solarize": (51, 204, 256),
    "SolarizeAdd": (33, 77),
    "Color": (0.1, 1.36, 1.9),
    "Contrast": (0.1, 1.36, 1.9),
    "Brightness": (0.1, 1.9),
    "Sharpness": (0.1, 1.9),
    "Rotate": (-27.0, 6.0),
    "ShearX": (-0.21, 0.12),
    "ShearY": (-0.21, 0.12),
    "TranslateX": (-225.0, 3.5),
    "TranslateY": (-225.0, 3.5),
}


def fixed_clip() -> np.ndarray:
    """uint8 `2 13 17 3` by integer arithmetic: noise over a slope, without black and white."""
    numbers = np.arange(2 * 13 * 17 * 3, dtype=np.uint64)
    noise = (numbers * np.uint64(2654435761) >> np.uint64(13)) % np.uint64(200)
    slope = 2 * np.arange(17)[None, None, :, None]
    return (noise.reshape(2, 13, 17, 3).astype(int) + slope).clip(5, 249).astype(np.uint8)


def operations(clip: Any) -> Iterator[tuple[str, Any]]:
    from official.vision.ops import augment

    functions = {
        "Posterize": augment.posterize,
        "Solarize": augment.solarize,
        "SolarizeAdd": augment.solarize_add,
        "Color": augment.color,
        "Contrast": augment.contrast,
        "Brightness": augment.brightness,
        "Sharpness": augment.sharpness,
        "Rotate": lambda image, value: augment.wrapped_rotate(image, value, GREY),
        "ShearX": lambda image, value: augment.shear_x(image, value, GREY),
        "ShearY": lambda image, value: augment.shear_y(image, value, GREY),
        "TranslateX": lambda image, value: augment.translate_x(image, value, GREY),
        "TranslateY": lambda image, value: augment.translate_y(image, value, GREY),
    }
    for name, values in NAMES_OF_ARGUMENT.items():
        for value in values:
            yield f"{name} {value}", functions[name](clip, value)
    yield "AutoContrast", augment.autocontrast(clip)
    yield "Equalize", augment.equalize(clip)
    yield "Invert", augment.invert(clip)


def pictures(clip: Any) -> Iterator[tuple[str, Any]]:
    import tensorflow as tf
    from official.vision.ops import preprocess_ops_3d

    for side in (9, 13, 20):
        yield f"resize {side}", preprocess_ops_3d.resize_smallest(clip, side)
    for height, width in ((8, 8), (7, 10), (15, 15)):
        yield f"crop {height} {width}", preprocess_ops_3d.crop_image(clip, height, width)
    for name, picture in (("wide", clip), ("tall", tf.transpose(clip, [0, 2, 1, 3]))):
        yield f"crops {name}", preprocess_ops_3d.crop_image(picture, 10, 10, False, 3)
    yield "pixels", preprocess_ops_3d.normalize_image(clip, False)
    yield "zero-centred pixels", preprocess_ops_3d.normalize_image(clip, True)


def frames() -> Iterator[tuple[str, Any]]:
    import tensorflow as tf
    from official.vision.ops import preprocess_ops_3d

    for count in (1, 7, 40, 300):
        for steps, stride in ((8, 1), (8, 5), (50, 5)):
            video = tf.range(count)
            yield f"centre {count} {steps} {stride}", preprocess_ops_3d.sample_sequence(video, steps, False, stride)
            for clips in (3, 10):
                sampled = preprocess_ops_3d.sample_linspace_sequence(video, clips, steps, stride)
                yield f"even {count} {steps} {stride} {clips}", sampled
    for count in (12, 35, 36, 40):
        drawn = {int(preprocess_ops_3d.sample_sequence(tf.range(count), 8, True, 5)[0]) for _ in range(1000)}
        yield f"starts {count} 8 5", sorted(drawn)


def main() -> None:
    import tensorflow as tf

    clip = tf.constant(fixed_clip())
    recorded = {**dict(operations(clip)), **dict(pictures(clip)), **dict(frames())}
    np.savez_compressed(sys.argv[1], **{name: np.asarray(value) for name, value in recorded.items()})


if __name__ == "__main__":
    main()
