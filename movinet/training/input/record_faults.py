"""Find the faulty record and the reason after a read error of TensorFlow, whose message names neither."""

from __future__ import annotations

import re
from collections.abc import Sequence

import tensorflow as tf

from movinet.training.config.experiment import DataConfig
from movinet.training.input import record_fields
from search_space.base.errors import InputError

GZIP = b"\x1f\x8b"
_AROUND = (  # text that TensorFlow writes around the reason
    r"\{\{.*?\}\}",
    r"\[\[.*?\]\]",
    r"\[Op:\w+\]( name:.*)?",
    r"Error in user-defined function passed to \S+ transformation with iterator: \S+:",
)


def plain(error: tf.errors.OpError) -> str:
    """Return the reason in an error message of TensorFlow, without names of functions and nodes."""
    text = error.message
    for pattern in _AROUND:
        text = re.sub(pattern, " ", text)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return next((line for line in lines if line), type(error).__name__)


def read_error(error: tf.errors.OpError, place: str, inputs: Sequence[DataConfig]) -> InputError:
    """Describe the first faulty record of the inputs, found by reading them again; else give TensorFlow's reason."""
    for data in inputs:
        if data.file_type in record_fields.RECORDS and (data.input_path or data.tfds_name):
            for file in record_fields.files_of(data):
                if fault := file_fault(data, file):
                    return fault
    paths = [data.input_path for data in inputs]
    return InputError(place, paths[0] if len(paths) == 1 else paths, f"cannot be read: {plain(error)}")


def file_fault(data: DataConfig, file: str, most: int | None = None) -> InputError | None:
    """Describe the first faulty record of a file, or of its first `most` records; None if there is none."""
    if tf.io.gfile.isdir(file):
        return InputError("input_path", file, "is a directory; name its files, as in DIR/*.tfrecord")
    number = -1
    try:
        with tf.io.gfile.GFile(file, "rb") as opened:
            if opened.read(len(GZIP)) == GZIP:
                return InputError("input_path", file, "is compressed with gzip; decompress it first")
        for number, record in enumerate(tf.data.TFRecordDataset(file).take(-1 if most is None else most)):
            if fault := _record_fault(data, f"{file}: record {number}", record):
                return fault
    except tf.errors.OpError as error:
        return InputError(f"{file}: record {number + 1}", plain(error), "prevented reading the record")
    return None


def _record_fault(data: DataConfig, place: str, record: tf.Tensor) -> InputError | None:
    try:
        encoded, labels = record_fields.fields(data, record)
    except tf.errors.OpError as error:
        return InputError(place, plain(error), "prevented parsing the record")
    frames_key, label_key = record_fields.keys(data)
    if not len(encoded):
        return InputError(place, frames_key, "is the key of the frames, but the record has none")
    if not len(labels):
        return InputError(place, label_key, "is the key of the label, but the record has none")
    if not 0 <= labels[0] < data.num_classes:
        return InputError(place, int(labels[0]), f"is not a valid label for num_classes: {data.num_classes}")
    for frame, image in enumerate(encoded):
        try:
            record_fields.decode_image(image)
        except tf.errors.OpError as error:
            return InputError(f"{place}: frame {frame}", plain(error), "prevented decoding the frame")
    return None
