"""TFRecords of SequenceExamples as the MoViNet release reads them, and TensorFlow Datasets in the same form.

An example's frames are JPEG strings in the feature list `image/encoded`; its context holds `clip/label/index`,
`clip/label/text` and, for people, `clip/data_path`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from search_space.errors import InputError

IMAGE_KEY = "image/encoded"
LABEL_KEY = "clip/label/index"
TEXT_KEY = "clip/label/text"
PATH_KEY = "clip/data_path"


def encode_jpeg(frames: npt.NDArray[np.uint8], quality: int = 95) -> list[bytes]:
    """Each of the frames (uint8 `T H W C`, RGB) as a JPEG."""
    return [tf.io.encode_jpeg(frame, quality=quality, chroma_downsampling=False).numpy() for frame in frames]


def sequence_example(frames: Sequence[bytes], label: int, text: str = "", path: str = "") -> bytes:
    """One example, serialized."""
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
        raise InputError(str(file), str(error), "stopped the records from being written") from error
    finally:
        unfinished.unlink(missing_ok=True)


def record_files(patterns: str | Sequence[str]) -> list[str]:
    """The files that match, sorted: a path or glob, several with commas between them, or a list of those.

    Raises `InputError` for one that matches nothing.
    """
    parts = patterns.split(",") if isinstance(patterns, str) else patterns
    files: set[str] = set()
    for pattern in parts:
        found = tf.io.gfile.glob(pattern.strip())
        if not found:
            raise InputError("input_path", pattern, "matches no file")
        files.update(found)
    if not files:
        raise InputError("input_path", patterns, "must name TFRecord files")
    return sorted(files)


def sequence_examples(patterns: str | Sequence[str], readers: int = 8) -> tf.data.Dataset:
    """The examples of the files that match, `readers` files in turn, always in the same order.

    Elements are (JPEG or PNG frames, string `N`; label, int32). Raises `InputError` if there are no files.
    A file that proves damaged raises `tf.errors.DataLossError` when it is read; `check_records` finds which it is.
    """
    files = record_files(patterns)
    serialized = tf.data.Dataset.from_tensor_slices(files).interleave(
        tf.data.TFRecordDataset, cycle_length=min(readers, len(files)), num_parallel_calls=tf.data.AUTOTUNE
    )
    return serialized.map(parse, num_parallel_calls=tf.data.AUTOTUNE)


def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A serialized example's frames (string `N`) and its first label (int32)."""
    context, lists = tf.io.parse_single_sequence_example(
        serialized,
        {LABEL_KEY: tf.io.VarLenFeature(tf.int64)},
        {IMAGE_KEY: tf.io.FixedLenSequenceFeature((), tf.string)},
    )
    return lists[IMAGE_KEY], tf.cast(context[LABEL_KEY].values[0], tf.int32)


def check_records(patterns: str | Sequence[str]) -> int:
    """How many examples the files hold, all of them read. Raises `InputError` that names a file that is damaged."""
    count = 0
    for file in record_files(patterns):
        try:
            count += sum(1 for _ in tf.data.TFRecordDataset(file).map(parse))
        except tf.errors.OpError as error:
            raise InputError(file, error.message.splitlines()[0], "is no whole file of SequenceExamples") from error
    return count


def tfds_examples(name: str, split: str, data_dir: str = "") -> tf.data.Dataset:
    """The dataset `name` of TensorFlow Datasets as (encoded frames, string `N`; label, int32), in order.

    It must have features video and label, as ucf101 has. Raises `InputError` without the package tensorflow-datasets,
    or if it cannot load the dataset.
    """
    try:
        import tensorflow_datasets as tfds  # type: ignore[import-not-found]
    except ImportError as error:
        raise InputError("tfds_name", name, "needs the package tensorflow-datasets, which is not installed") from error
    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
        builder.download_and_prepare()
        skip = {"video": tfds.decode.SkipDecoding()}
        dataset = builder.as_dataset(split=split, shuffle_files=False, decoders=skip)
    except (tfds.core.DatasetNotFoundError, ValueError, OSError, AssertionError) as error:
        raise InputError("tfds_name", name, f"cannot be loaded: {str(error).splitlines()[0]}") from error
    if not {"video", "label"} <= set(dataset.element_spec):
        raise InputError("tfds_name", name, f"must have video and label, and has {sorted(dataset.element_spec)}")
    return dataset.map(lambda example: (example["video"], tf.cast(example["label"], tf.int32)))
