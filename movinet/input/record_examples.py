"""Videos in files of records: the release's SequenceExamples of encoded frames, and datasets prepared by TFDS.

Read in sequence, so an epoch is shuffled in two steps: the files, then the records in a buffer. Both are functions of
seed and epoch. To go on at example n, whole epochs are passed over if `num_examples` says how long they are, the rest
is read and dropped before it is decoded.
"""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from movinet.config.experiment import DataConfig
from movinet.input.examples import Share, frame_key, frame_numbers
from search_space.errors import InputError

Tensor = Any

INTERLEAVED = 10  # files read at a time in training, the release's cycle_length
TFDS_KEYS = "video", "label"  # of its video datasets, where the release looks for them


class RecordExamples:
    """The examples in all files of `data`, in training epoch after epoch."""

    def __init__(self, data: DataConfig, training: bool, seed: int) -> None:
        self._data, self._training, self._seed = data, training, seed
        self._files = files_of(data)
        self.classes = _classes(self._files[0])
        self._check_first()

    def name(self, index: int) -> str:
        """The number; records know no names."""
        return f"record {index}"

    def of(self, share: Share) -> tf.data.Dataset:
        """As of `Examples`."""
        if not self._training:
            numbered = share.taken_from(tf.data.TFRecordDataset(self._files), 0)
        else:
            length = self._data.num_examples
            epoch = share.first // length if length > 0 else 0
            records = tf.data.Dataset.range(epoch, 1 << 40).flat_map(self._epoch)
            numbered = share.taken_from(records, epoch * max(length, 0))
        return numbered.map(self._read, num_parallel_calls=tf.data.AUTOTUNE)

    def _epoch(self, epoch: Tensor) -> tf.data.Dataset:
        """The records of one epoch, as bytes."""
        key = tf.stack([tf.constant(self._seed, tf.int64), epoch])
        order = tf.argsort(tf.random.stateless_uniform([len(self._files)], key))
        files = tf.data.Dataset.from_tensor_slices(tf.gather(self._files, order))
        records = files.interleave(tf.data.TFRecordDataset, INTERLEAVED, 1, tf.data.AUTOTUNE, deterministic=True)
        buffer = max(1, self._data.shuffle_buffer_size)
        # A seed of 0 could be taken for none.
        return records.shuffle(buffer, (self._seed << 24) + epoch + 1, reshuffle_each_iteration=False)

    def _read(self, n: Tensor, record: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        encoded, label = parsed(self._data, record)
        wanted = frame_numbers(self._data, self._training, tf.size(encoded), frame_key(self._seed, n))
        return n, n, decoded(tf.gather(encoded, wanted)), label

    def _check_first(self) -> None:
        """The first file must begin with a record that has frames and a label of the model's classes."""
        place = self._files[0]
        try:
            record = next(iter(tf.data.TFRecordDataset(self._files)), None)
            if record is None:
                raise InputError(place, len(self._files), "files hold no record")
            encoded, label = parsed(self._data, record)
            decoded(encoded[:1])
        except tf.errors.OpError as error:
            raise InputError(place, str(error.message).splitlines()[0], "is why its records cannot be read") from None
        if not 0 <= label < self._data.num_classes:
            raise InputError(place, int(label), f"is not a label of num_classes: {self._data.num_classes}")


def files_of(data: DataConfig) -> list[str]:
    """The files of records that the patterns of `input_path` match, or that TFDS prepared, in order of name.

    Raises `InputError` if a pattern matches none.
    """
    if data.file_type == "tfds":
        return _prepared_files(data)
    given = data.input_path.split(",") if isinstance(data.input_path, str) else data.input_path
    found = []
    for pattern in given:
        own = sorted(tf.io.gfile.glob(pattern.strip())) if pattern.strip() else []
        if not own:
            raise InputError("input_path", pattern, "matches no file of records")
        found += own
    return found


def _prepared_files(data: DataConfig) -> list[str]:
    """Of `tfds_name`, which may go on with /config and :version; else of what is last in order of name."""
    split = data.tfds_split or data.split
    root = tf.io.gfile.join(os.path.expanduser(data.tfds_data_dir or "~/tensorflow_datasets"))
    folder = tf.io.gfile.join(root, data.tfds_name.replace(":", "/"))
    for below in ("", "*", "*/*"):
        files = sorted(tf.io.gfile.glob(tf.io.gfile.join(folder, below, f"*-{split}.*-of-*")))
        if files:
            return [file for file in files if os.path.dirname(file) == os.path.dirname(files[-1])]
    raise InputError("tfds_name", data.tfds_name, f"has no prepared records of split {split!r} in {folder}")


def _classes(file: str) -> tuple[str, ...]:
    """From the list of names that `movinet.convert` or TFDS leaves beside its records."""
    for name in ("classes.txt", "label.labels.txt"):
        beside = tf.io.gfile.join(os.path.dirname(file), name)
        if tf.io.gfile.exists(beside):
            with tf.io.gfile.GFile(beside) as lines:
                return tuple(line.strip() for line in lines)
    return ()


def parsed(data: DataConfig, record: Tensor) -> tuple[Tensor, Tensor]:
    """The encoded frames, string `N`, and the label, int32, of one record."""
    if data.file_type == "tfds":
        frames, label = TFDS_KEYS
        features = {
            frames: tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True),
            label: tf.io.FixedLenFeature([], tf.int64),
        }
        example = tf.io.parse_single_example(record, features)
        return example[frames], tf.cast(example[label], tf.int32)
    context, sequence = tf.io.parse_single_sequence_example(
        record,
        {data.label_field_key: tf.io.VarLenFeature(tf.int64)},
        {data.image_field_key: tf.io.FixedLenSequenceFeature([], tf.string)},
    )
    return sequence[data.image_field_key], tf.cast(context[data.label_field_key].values[0], tf.int32)


def decoded(encoded: Tensor) -> Tensor:
    """uint8 `T H W 3` from JPEG or PNG."""

    def picture(frame: Tensor) -> Tensor:
        return tf.io.decode_image(frame, channels=3, expand_animations=False)

    return tf.map_fn(picture, encoded, fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8))
