"""Videos in record files: the TF Model Garden's SequenceExamples of encoded frames, and datasets prepared by TFDS.

Records are read in sequence, so an epoch is shuffled in two steps: the files, then the records in a buffer. Both are
functions of seed and epoch. To resume at example n, whole epochs are skipped if `num_examples` gives their length; the
rest is read and dropped before decoding.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import tensorflow as tf

from movinet.training.config.experiment import DataConfig
from movinet.training.input.examples import Share, frame_key, frame_numbers
from movinet.training.input.record_faults import file_fault
from movinet.training.input.record_fields import decoded, files_of, parsed
from search_space.base.errors import InputError

Tensor = Any

INTERLEAVED = 10  # files read in parallel in training, the Model Garden's cycle_length


class RecordExamples:
    """Examples in all files of `data`, in training epoch after epoch."""

    def __init__(self, data: DataConfig, training: bool, seed: int) -> None:
        self._data, self._training, self._seed = data, training, seed
        self._files = files_of(data)
        self.classes = _classes(self._files[0])
        self._check_first()

    def name(self, index: int) -> str:
        """Return the number; records have no names."""
        return f"record {index}"

    def of(self, share: Share) -> tf.data.Dataset:
        """See `Examples`."""
        if not self._training:
            numbered = share.taken_from(tf.data.TFRecordDataset(self._files), 0)
            planned = numbered.map(self._planned, num_parallel_calls=tf.data.AUTOTUNE)
            return planned.map(_decode_images, num_parallel_calls=tf.data.AUTOTUNE)
        length = self._data.num_examples
        epoch = share.first // length if length > 0 else 0
        records = tf.data.Dataset.range(epoch, 1 << 40).flat_map(self._epoch)
        numbered = share.taken_from(records, epoch * max(length, 0))

        def planned_of(n: Tensor, named: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
            return *self._planned(n, named[1]), named[0]

        planned = numbered.map(planned_of, num_parallel_calls=tf.data.AUTOTUNE)
        # Each yields one element, so the order of the records is kept.
        tried = planned.interleave(_decoded_or_skipped, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return tried.filter(lambda n, index, frames, label: index >= 0)

    def _epoch(self, epoch: Tensor) -> tf.data.Dataset:
        """Return the records of one epoch: file and number of each as a string, and its bytes."""
        key = tf.stack([tf.constant(self._seed, tf.int64), epoch])
        order = tf.argsort(tf.random.stateless_uniform([len(self._files)], key))
        files = tf.data.Dataset.from_tensor_slices(tf.gather(self._files, order))
        records = files.interleave(_named, INTERLEAVED, 1, tf.data.AUTOTUNE, deterministic=True)
        buffer = max(1, self._data.shuffle_buffer_size)
        # TensorFlow may treat a seed of 0 as no seed.
        return records.shuffle(buffer, (self._seed << 24) + epoch + 1, reshuffle_each_iteration=False)

    def _planned(self, n: Tensor, record: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the example with its chosen frames still encoded, string `T`."""
        encoded, label = parsed(self._data, record)
        wanted = frame_numbers(self._data, self._training, tf.size(encoded), frame_key(self._seed, n))
        return n, n, tf.gather(encoded, wanted), label

    def _check_first(self) -> None:
        """Check that the first file starts with a record that has frames and a valid label."""
        if fault := file_fault(self._data, self._files[0], most=1):
            raise fault
        if next(iter(tf.data.TFRecordDataset(self._files)), None) is None:
            raise InputError(self._files[0], len(self._files), "files contain no record")


def _named(file: Tensor) -> tf.data.Dataset:
    numbered = tf.data.TFRecordDataset(file).enumerate()
    return numbered.map(lambda i, record: (tf.strings.join([file, ": record ", tf.strings.as_string(i)]), record))


def _decode_images(n: Tensor, index: Tensor, encoded: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return n, index, decoded(encoded), label


def _decoded_or_skipped(n: Tensor, index: Tensor, encoded: Tensor, label: Tensor, place: Tensor) -> tf.data.Dataset:
    """Return the decoded example, or one of index -1 and a line on standard error if a frame cannot be decoded.

    In training the next record replaces it, as for videos. An invalid label still ends the run.
    """
    own = tf.data.Dataset.from_tensors((n, index, encoded, label))

    def left_out(n: Tensor, index: Tensor, encoded: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        said = tf.print(
            tf.strings.join(["error: ", place, " is skipped: a frame cannot be decoded"]), output_stream=sys.stderr
        )
        with tf.control_dependencies([said] if said is not None else []):
            return n, tf.constant(-1, tf.int64), tf.zeros([tf.size(encoded), 1, 1, 3], tf.uint8), label

    return own.map(_decode_images).ignore_errors().concatenate(own.map(left_out)).take(1)


def _classes(file: str) -> tuple[str, ...]:
    """Return the class names that `movinet.convert` or TFDS stored beside the records."""
    for name in ("classes.txt", "label.labels.txt"):
        beside = tf.io.gfile.join(os.path.dirname(file), name)
        if tf.io.gfile.exists(beside):
            with tf.io.gfile.GFile(beside) as lines:
                return tuple(line.strip() for line in lines)
    return ()
