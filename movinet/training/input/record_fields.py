"""Record files and the fields of a record: SequenceExamples of the TF Model Garden, and examples of TFDS."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from movinet.training.config.experiment import DataConfig
from search_space.base.errors import InputError

Tensor = Any

RECORDS = ("tfrecord", "tfds")  # file types
TFDS_KEYS = "video", "label"  # of TFDS video datasets, as in the Model Garden


def files_of(data: DataConfig) -> list[str]:
    """Return the record files that match the patterns of `input_path`, or that TFDS prepared, sorted by name.

    Raises `InputError` if a pattern matches none.
    """
    if data.file_type == "tfds":
        return _prepared_files(data)
    given = data.input_path.split(",") if isinstance(data.input_path, str) else data.input_path
    found = []
    for pattern in given:
        own = sorted(tf.io.gfile.glob(os.path.expanduser(pattern.strip()))) if pattern.strip() else []
        if not own:
            raise InputError("input_path", pattern, "matches no record file")
        found += own
    return found


def _prepared_files(data: DataConfig) -> list[str]:
    """Return the files of `tfds_name`, optionally with /config and :version; by default of the last one by name."""
    split = data.tfds_split or data.split
    root = tf.io.gfile.join(os.path.expanduser(data.tfds_data_dir or "~/tensorflow_datasets"))
    folder = tf.io.gfile.join(root, data.tfds_name.replace(":", "/"))
    for below in ("", "*", "*/*"):
        files = sorted(tf.io.gfile.glob(tf.io.gfile.join(folder, below, f"*-{split}.*-of-*")))
        if files:
            return [file for file in files if os.path.dirname(file) == os.path.dirname(files[-1])]
    raise InputError("tfds_name", data.tfds_name, f"has no prepared records of split {split!r} in {folder}")


def parsed(data: DataConfig, record: Tensor) -> tuple[Tensor, Tensor]:
    """Return the encoded frames, string `N`, and the label, int32, of one record.

    An invalid label raises a TensorFlow error; see `record_faults`.
    """
    encoded, labels = fields(data, record)
    label = labels[0]
    known = tf.debugging.Assert((label >= 0) & (label < data.num_classes), ["label", label, "of", data.num_classes])
    with tf.control_dependencies([known] if known is not None else []):
        return encoded, tf.cast(label, tf.int32)


def keys(data: DataConfig) -> tuple[str, str]:
    """Return the keys of the frames and of the label in a record."""
    return TFDS_KEYS if data.file_type == "tfds" else (data.image_field_key, data.label_field_key)


def fields(data: DataConfig, record: Tensor) -> tuple[Tensor, Tensor]:
    """Return the encoded frames, string `N`, and all labels, int64 `M`, of one record."""
    frames, label = keys(data)
    if data.file_type == "tfds":
        features = {
            frames: tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True),
            label: tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
        }
        example = tf.io.parse_single_example(record, features)
        return example[frames], example[label]
    context, sequence = tf.io.parse_single_sequence_example(
        record, {label: tf.io.VarLenFeature(tf.int64)}, {frames: tf.io.FixedLenSequenceFeature([], tf.string)}
    )
    return sequence[frames], context[label].values


def decoded(encoded: Tensor) -> Tensor:
    """Decode JPEG or PNG frames to uint8 `T H W 3`."""
    return tf.map_fn(decode_image, encoded, fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8))


def decode_image(frame: Tensor) -> Tensor:
    """Decode a JPEG or PNG to uint8 `H W 3`."""
    return tf.io.decode_image(frame, channels=3, expand_animations=False)
