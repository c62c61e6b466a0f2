"""Test batches: every source yields its numbered examples, repeatably, from any place, alone and in shards."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from painted import encode_painted, paint, painted_number

from movinet.data.proxy.moving_digits import TINY, Counts, moving_digits
from movinet.training.config.experiment import Augmentation, DataConfig
from movinet.training.input.batches import batches, open_examples
from movinet.training.input.examples import Share
from movinet.training.input.records import encode_jpeg, sequence_example, write_records
from search_space.base.errors import InputError

FRAMES = 30


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two classes of painted videos in train and test; two training files are damaged, one only in its frames."""
    root = tmp_path_factory.mktemp("videos")
    for split, count in (("train", 3), ("test", 2)):
        for label, n in itertools.product("ab", range(count)):
            times = [Fraction(frame, 30) for frame in range(FRAMES)]
            encode_painted(root / split / label / f"{n}.mp4", "libx264", times, 30)
    damaged = root / "train" / "a" / "1.mp4"
    damaged.write_bytes(damaged.read_bytes()[:300])
    blank = root / "train" / "b" / "0.mp4"
    content = blank.read_bytes()
    pictures = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    blank.write_bytes(content[:pictures] + bytes(end - pictures) + content[end:])
    return root


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 23 painted clips of 12 frames in 4 files; a clip's frames count from 8 times its number, modulo 256."""
    root = tmp_path_factory.mktemp("records")
    for shard in range(4):
        clips = (
            sequence_example(encode_jpeg(np.stack([paint((8 * n + t) % 256) for t in range(12)])), n % 5)
            for n in range(shard, 23, 4)
        )
        write_records(root / f"train-{shard}.tfrecord", clips)
    return root


def digits(**changes: object) -> DataConfig:
    plain = DataConfig(
        file_type="moving_digits",
        input_path="tiny",
        num_examples=36,
        num_classes=TINY.classes,
        feature_shape=(8, 24, 24, 3),
        min_image_size=24,
        global_batch_size=12,
        aug_min_area_ratio=1.0,
        aug_min_aspect_ratio=1.0,
        aug_max_aspect_ratio=1.0,
        aug_flip=False,
    )
    return dataclasses.replace(plain, **changes)


def taken(data: DataConfig, count: int, **how: object) -> list[tuple[np.ndarray, np.ndarray]]:
    arguments = {"training": True, "seed": 3, **how}
    return list(batches(data, **arguments).take(count).as_numpy_iterator())


def same(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_evaluation_shows_the_middle_of_every_clip_in_order():
    split = moving_digits(TINY, Counts(train=1, validation=1, test=30)).test
    data = digits(split="test", num_examples=30, feature_shape=(4, 20, 22, 3), temporal_stride=2, drop_remainder=False)
    found = taken(data, 9, training=False)
    clips, labels = (np.concatenate(part) for part in zip(*found, strict=True))
    assert [len(part[1]) for part in found] == [12, 12, 6] and np.array_equal(labels, split.labels)
    assert np.allclose(clips, split.clips[:, 4:12:2, 2:22, 1:23] / np.float32(255), atol=1e-6)


def test_training_shuffles_each_epoch_anew_and_shows_every_clip_once():
    """Without augmentation a clip consists of frames of the source, which identify it."""
    clips = moving_digits(TINY, Counts(train=36, validation=1, test=1)).train.clips
    numbers = {clip[t].tobytes(): (i, t) for i, clip in enumerate(clips) for t in range(TINY.ticks)}
    orders = []
    for found, _ in taken(digits(), 6):
        shown = [[numbers[frame.tobytes()] for frame in clip] for clip in np.rint(found * 255).astype(np.uint8)]
        assert all(len({i for i, _ in clip}) == 1 for clip in shown)
        starts = [clip[0][1] for clip in shown]
        assert all(
            [t for _, t in clip] == [*range(start, start + 8)] for clip, start in zip(shown, starts, strict=True)
        )
        orders += [clip[0][0] for clip in shown]
    assert sorted(orders[:36]) == sorted(orders[36:]) == [*range(36)] and orders[:36] != orders[36:]


def test_labels_and_clips_stay_together():
    split = moving_digits(TINY, Counts(train=36, validation=1, test=1)).train
    labels = {clip[0].tobytes(): label for clip, label in zip(split.clips, split.labels, strict=True)}
    whole = digits(feature_shape=(TINY.ticks, 24, 24, 3))
    for clips, own in taken(whole, 3):
        assert [labels[clip[0].tobytes()] for clip in np.rint(clips * 255).astype(np.uint8)] == own.tolist()


@pytest.mark.parametrize(("kind", "start"), [("digits", 4), ("records", 1), ("records of a known number", 4)])
def test_a_run_goes_on_as_if_it_had_not_stopped(kind, start, records):
    data = digits(aug_flip=True, random_stride_range=1, temporal_stride=2, aug_min_area_ratio=0.1)
    if kind == "digits":
        data = dataclasses.replace(data, aug_type=Augmentation())
    if kind != "digits":
        count = 23 if "known" in kind else -1
        data = dataclasses.replace(
            data, file_type="tfrecord", input_path=f"{records}/*", feature_shape=(3, 24, 24, 3), num_examples=count
        )
    assert same(taken(data, 3, first_example=start * 12), taken(data, start + 3)[start:])


def test_another_seed_is_another_order():
    assert not same(taken(digits(), 1), taken(digits(), 1, seed=4))


@pytest.mark.parametrize("kind", ["digits", "records"])
def test_pipelines_and_replicas_together_make_the_batches_of_one(kind, records):
    data = digits()
    if kind == "records":
        data = dataclasses.replace(data, file_type="tfrecord", input_path=f"{records}/*", feature_shape=(3, 24, 24, 3))
    shared = []
    for place in range(2):
        context = tf.distribute.InputContext(2, place, num_replicas_in_sync=4)
        shared.append(taken(data, 6, context=context, first_example=12))
    whole = taken(data, 3, first_example=12)
    for step, (clips, labels) in enumerate(whole):
        parts = [own[2 * step + replica] for own in shared for replica in range(2)]
        assert np.array_equal(np.concatenate([part[0] for part in parts]), clips)
        assert np.array_equal(np.concatenate([part[1] for part in parts]), labels)


def test_a_strategy_takes_them_as_they_are():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    data = digits(split="test", drop_remainder=False)
    shared = strategy.distribute_datasets_from_function(
        lambda context: batches(data, training=False, seed=0, context=context)
    )
    labels = [label for _, own in shared for label in own.numpy()]
    assert labels == [label for _, own in taken(data, 9, training=False) for label in own]


@settings(max_examples=8)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_shares_divide_the_examples(pipelines, own, steps):
    batch = pipelines * own
    shares = [Share(steps * batch, batch, pipelines, place) for place in range(pipelines)]
    numbers = [share.numbers().take(2 * own).as_numpy_iterator() for share in shares]
    rest = tf.data.Dataset.range(steps * batch + 2 * batch)
    assert sorted(n for part in numbers for n in part) == [*range(steps * batch, (steps + 2) * batch)]
    assert sorted(int(n) for share in shares for n, _ in share.taken_from(rest, 0)) == [
        *range(steps * batch, (steps + 2) * batch)
    ]


def test_views_are_crops_of_clips_from_early_to_late():
    data = digits(split="test", feature_shape=(4, 20, 20, 3), num_test_clips=3, num_test_crops=3, drop_remainder=False)
    clips = moving_digits(TINY, Counts(train=1, validation=1, test=36)).test.clips
    views, labels = taken(data, 1, training=False)[0]
    assert views.shape == (12 * 9, 4, 20, 20, 3) and labels.shape == (12,)
    views = views.reshape(12, 3, 3, 4, 20, 20, 3)
    for crop, clip in itertools.product(range(3), repeat=2):
        frames, top = slice(6 * clip, 6 * clip + 4), 2 * crop
        expected = clips[:12, frames, top : top + 20, :20] / np.float32(255)
        assert np.allclose(views[:, crop, clip], expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_values_are_of_the_type_and_range_asked_for(dtype):
    clips, labels = next(iter(batches(digits(dtype=dtype, zero_centering_image=True), training=True, seed=0)))
    assert clips.dtype == dtype and labels.dtype == tf.int32
    assert -1 <= tf.reduce_min(clips) < -0.3 and 0.3 < tf.reduce_max(clips) <= 1


def videos(folder: Path, **changes: object) -> DataConfig:
    plain = DataConfig(
        file_type="video_folder",
        input_path=str(folder),
        num_classes=2,
        feature_shape=(4, 32, 64, 3),
        temporal_stride=3,
        min_image_size=32,
        global_batch_size=5,
        aug_min_area_ratio=1.0,
        aug_min_aspect_ratio=1.0,
        aug_max_aspect_ratio=1.0,
        aug_flip=False,
    )
    return dataclasses.replace(plain, **changes)


def shown(clips: np.ndarray) -> list[list[int]]:
    return [[painted_number(np.rint(frame * 255).astype(np.uint8)) for frame in clip] for clip in clips]


def test_training_on_files_replaces_the_unusable_and_names_it(folder):
    unusable: dict[str, str] = {}
    labels: Counter[int] = Counter()
    for clips, own in taken(videos(folder), 6, unusable=unusable):
        labels.update(own.tolist())
        for clip in shown(clips):
            assert clip == [*range(clip[0], clip[0] + 10, 3)]
    assert sorted(unusable) == ["train/a/1.mp4", "train/b/0.mp4"] and "decoded" in unusable["train/a/1.mp4"]
    assert labels == {0: 15, 1: 15}  # of six files; lost ones are replaced by the next ones, of the same classes
    again: dict[str, str] = {}
    assert same(taken(videos(folder), 6)[2:], taken(videos(folder), 4, first_example=10, unusable=again))


def test_evaluation_of_files_leaves_the_unusable_out(folder):
    data = videos(folder, drop_remainder=False)
    unusable: dict[str, str] = {}
    found = taken(data, 9, training=False, unusable=unusable)
    assert [own.tolist() for _, own in found] == [[0, 0, 1, 1]]
    assert sorted(unusable) == ["train/a/1.mp4", "train/b/0.mp4"]
    assert shown(found[0][0]) == [[9, 12, 15, 18]] * 4
    late = taken(videos(folder, split="test", num_test_clips=3, drop_remainder=False), 1, training=False)
    assert shown(late[0][0])[:3] == [[0, 3, 6, 9], [9, 12, 15, 18], [18, 21, 24, 27]]


def test_frames_may_be_counted_at_a_rate(folder):
    data = videos(folder, split="test", target_fps=10.0, temporal_stride=1, short_clip="pad", drop_remainder=False)
    assert shown(taken(data, 1, training=False)[0][0])[0] == [9, 12, 15, 18]
    long = dataclasses.replace(data, feature_shape=(12, 32, 64, 3))
    assert shown(taken(long, 1, training=False)[0][0])[0] == [*range(0, 30, 3), 27, 27]
    loop = dataclasses.replace(long, short_clip="loop")
    assert shown(taken(loop, 1, training=False)[0][0])[0] == [*range(0, 30, 3), 0, 3]


def test_a_folder_without_a_usable_video_is_refused(tmp_path):
    for split, label in itertools.product(("train", "test"), "ab"):
        file = tmp_path / split / label / "x.mp4"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"no video")
    with pytest.raises(InputError, match="4|2 videos are all unusable; the first: train/a/x.mp4"):
        batches(videos(tmp_path), training=True, seed=0)


def of_records(records: Path, **changes: object) -> DataConfig:
    return videos(
        records, file_type="tfrecord", input_path=f"{records}/*.tfrecord", num_classes=5, temporal_stride=2, **changes
    )


def test_every_epoch_of_records_shows_each_once_in_another_order(records):
    found = taken(of_records(records, global_batch_size=23), 3)
    orders = [[clip[0] // 8 for clip in shown(clips)] for clips, _ in found]
    for order, (clips, labels) in zip(orders, found, strict=True):
        assert sorted(order) == [*range(23)] and [n % 5 for n in order] == labels.tolist()
        assert all(clip == [*range(clip[0], clip[0] + 8, 2)] for clip in shown(clips))
    assert len(set(map(tuple, orders))) == 3


def test_records_are_evaluated_in_order(records):
    found = taken(of_records(records, drop_remainder=False), 9, training=False)
    numbers = [clip[0] - 2 for clips, _ in found for clip in shown(clips)]
    assert numbers == [8 * n for shard in range(4) for n in range(shard, 23, 4)]


def test_records_of_tfds_are_read_as_it_prepares_them(tmp_path):
    """Read records in the format of tensorflow-datasets 4.9.10 for features Video and ClassLabel."""
    for version, first in (("1.0.0", 100), ("1.0.1", 50)):
        folder = tmp_path / "painted" / "small" / version
        folder.mkdir(parents=True)
        (folder / "label.labels.txt").write_text("a\nb\n")
        frames = [tf.io.encode_png(paint(first + t)).numpy() for t in range(9)]
        features = {
            "video": tf.train.Feature(bytes_list=tf.train.BytesList(value=frames)),
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[1])),
        }
        example = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
        write_records(folder / "painted-test.tfrecord-00000-of-00001", [example])
    data = videos(tmp_path, file_type="tfds", tfds_name="painted", tfds_data_dir=str(tmp_path), tfds_split="test")
    data = dataclasses.replace(data, temporal_stride=2, drop_remainder=False)
    ((clips, labels),) = taken(data, 2, training=False)
    assert shown(clips) == [[50, 52, 54, 56]] and labels.tolist() == [1]
    assert open_examples(data, training=False, seed=0).classes == ("a", "b")
    old = dataclasses.replace(data, tfds_name="painted/small:1.0.0")
    assert shown(taken(old, 1, training=False)[0][0])[0][0] == 100
    with pytest.raises(InputError, match="has no prepared records of split 'train'"):
        batches(dataclasses.replace(data, tfds_split="train"), training=True, seed=0)


def test_a_data_service_serves_records(records):
    dispatcher = tf.data.experimental.service.DispatchServer()
    address = dispatcher.target.partition("://")[2]
    worker = tf.data.experimental.service.WorkerServer(
        tf.data.experimental.service.WorkerConfig(dispatcher_address=address)
    )
    data = of_records(records)
    served = dataclasses.replace(data, enable_tf_data_service=True, tf_data_service_address=dispatcher.target)
    assert same(taken(served, 4), taken(data, 4))
    with pytest.raises(InputError, match="tf_data_service_address.*convert the videos to records"):
        batches(digits(enable_tf_data_service=True, tf_data_service_address=dispatcher.target), training=True, seed=0)
    del worker


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_path": "nowhere/*"}, "input_path: 'nowhere/.' matches no record file"),
        ({"num_classes": 1, "input_path": "{records}/train-1*"}, "is not a valid label for num_classes: 1"),
        ({"image_field_key": "frames", "input_path": "{records}/*"}, "prevented parsing the record"),
        ({"label_field_key": "class", "input_path": "{records}/*"}, "is the key of the label, but the record has none"),
        ({"input_path": "{here}"}, "prevented reading the record"),
        ({"file_type": "moving_digits", "input_path": "easy"}, "must be one of tiny, default"),
        ({"file_type": "moving_digits", "input_path": ("tiny", "default")}, "must be one path"),
        ({"file_type": "moving_digits", "input_path": "tiny", "num_classes": 11}, "num_classes: 11 must be.*12"),
        ({"file_type": "moving_digits", "aug_random_rotation": True, "input_path": "tiny"}, "feature_shape.*square"),
    ],
)
def test_what_cannot_be_read_is_said_at_once(records, change, message):
    places = {"records": str(records), "here": __file__}
    path = change["input_path"]
    filled = path.format(**places) if isinstance(path, str) else path
    data = DataConfig(**{"feature_shape": (4, 32, 64, 3), "num_examples": 36, **change, "input_path": filled})
    with pytest.raises(InputError, match=message):
        batches(data, training=True, seed=0)
