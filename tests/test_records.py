"""TFRecords: written records have the keys that Model Garden's parser reads, and `record_examples` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from painted import paint, painted_number

from movinet.training.config.experiment import DataConfig
from movinet.training.input.record_examples import decoded, parsed
from movinet.training.input.records import encode_jpeg, sequence_example, write_records
from search_space.base.errors import InputError


def plain_example(frames: list[bytes], label: int) -> bytes:
    """Return an example as in Model Garden's data, with keys that its parser ignores."""
    example = tf.train.SequenceExample()
    example.context.feature["clip/label/index"].int64_list.value.append(label)
    example.context.feature["clip/label/text"].bytes_list.value.append(b"walk")
    example.context.feature["clip/start/timestamp"].int64_list.value.append(0)
    for number, frame in enumerate(frames):
        example.feature_lists.feature_list["image/encoded"].feature.add().bytes_list.value.append(frame)
        example.feature_lists.feature_list["image/timestamp"].feature.add().int64_list.value.append(40_000 * number)
    return example.SerializeToString()


def jpegs(numbers: range) -> list[bytes]:
    return [tf.io.encode_jpeg(paint(number)).numpy() for number in numbers]


def config(file: Path) -> DataConfig:
    return DataConfig(input_path=str(file), file_type="tfrecord", num_classes=5)


def read(file: Path) -> list[tuple[list[int], int]]:
    """Return the numbers painted on the frames of each record, and its label."""
    found = []
    for record in tf.data.TFRecordDataset(str(file)):
        encoded, label = parsed(config(file), record)
        found.append(([painted_number(frame) for frame in decoded(encoded).numpy()], int(label)))
    return found


def test_our_records_and_plain_ones_read_alike(tmp_path: Path) -> None:
    ours = sequence_example(encode_jpeg(np.stack([paint(n) for n in range(7)])), 3, "walk", "a.mp4")
    write_records(tmp_path / "a.tfrecord", [ours, plain_example(jpegs(range(2, 9)), 4)])
    assert read(tmp_path / "a.tfrecord") == [(list(range(7)), 3), (list(range(2, 9)), 4)]


def test_a_record_has_the_releases_keys(tmp_path: Path) -> None:
    example = tf.train.SequenceExample.FromString(sequence_example([b"one", b"two"], 3, "größer", "x/\udcff.mp4"))
    context = example.context.feature
    assert context["clip/label/index"].int64_list.value == [3]
    assert context["clip/label/text"].bytes_list.value == ["größer".encode()]
    assert context["clip/data_path"].bytes_list.value == [b"x/\xff.mp4"]
    images = example.feature_lists.feature_list["image/encoded"].feature
    assert [image.bytes_list.value[0] for image in images] == [b"one", b"two"]


def test_quality_is_that_of_the_jpegs() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 1), np.uint8).repeat(3, 3)
    fine, coarse = encode_jpeg(noise, 95)[0], encode_jpeg(noise, 20)[0]
    assert len(fine) > 2 * len(coarse)
    assert np.abs(tf.io.decode_jpeg(fine).numpy().astype(int) - noise[0]).mean() < 6


def test_records_are_whole_or_not_there(tmp_path: Path) -> None:
    def breaking() -> Iterator[bytes]:
        yield b"one"
        raise RuntimeError("source broke")

    with pytest.raises(RuntimeError):
        write_records(tmp_path / "a.tfrecord", breaking())
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="prevented writing the records"):
        write_records(tmp_path / "file" / "a.tfrecord", [b"one"])
