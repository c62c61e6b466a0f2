"""Write TFRecords of SequenceExamples in the TF Model Garden's format; `record_examples` reads them here.

An example's frames are JPEG strings in the feature list `image/encoded`; its context holds `clip/label/index`,
`clip/label/text` and, for people, `clip/data_path`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from search_space.base.errors import InputError, why

IMAGE_KEY = "image/encoded"
LABEL_KEY = "clip/label/index"
TEXT_KEY = "clip/label/text"
PATH_KEY = "clip/data_path"


def encode_jpeg(frames: npt.NDArray[np.uint8], quality: int = 95) -> list[bytes]:
    """Return each of the frames (uint8 `T H W C`, RGB) as a JPEG."""
    return [tf.io.encode_jpeg(frame, quality=quality).numpy() for frame in frames]


def sequence_example(frames: Sequence[bytes], label: int, text: str = "", path: str = "") -> bytes:
    """Return one serialized example."""
    feature = tf.train.Feature
    context = {
        LABEL_KEY: feature(int64_list=tf.train.Int64List(value=[label])),
        TEXT_KEY: feature(bytes_list=tf.train.BytesList(value=[text.encode()])),
        PATH_KEY: feature(bytes_list=tf.train.BytesList(value=[path.encode(errors="surrogateescape")])),
    }
    images = tf.train.FeatureList(feature=[feature(bytes_list=tf.train.BytesList(value=[frame])) for frame in frames])
    example = tf.train.SequenceExample(
        context=tf.train.Features(feature=context),
        feature_lists=tf.train.FeatureLists(feature_list={IMAGE_KEY: images}),
    )
    return example.SerializeToString(deterministic=True)


def write_records(file: Path, examples: Iterable[bytes]) -> None:
    """Write `file` whole or not at all. Raises `InputError` if that fails."""
    unfinished = file.with_name(file.name + ".unfinished")
    try:
        with tf.io.TFRecordWriter(str(unfinished)) as writer:
            for example in examples:
                writer.write(example)
        unfinished.replace(file)
    except (OSError, tf.errors.OpError) as error:
        raise InputError(str(file), why(error), "prevented writing the records") from error
    finally:
        with contextlib.suppress(OSError):  # the file or its folder may not exist
            unfinished.unlink()
