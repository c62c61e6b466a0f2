"""The dataset store: round trip, sharing, atomic writing and errors on a damaged cache."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from movinet.data.store import (
    SPLITS,
    Dataset,
    Skipped,
    Source,
    Split,
    cache_path,
    cache_root,
    content_sha256,
    open_dataset,
    write_dataset,
)
from search_space.base.errors import InputError

TICKS, SIDE = 6, 8


def piece(first: int, count: int) -> Split:
    rng = np.random.default_rng(first)
    clips = rng.integers(0, 256, (count, TICKS, SIDE, SIDE, 3), np.uint8)
    return Split(clips, (np.arange(count, dtype=np.int32) + first) % 2)


def written(path: Path) -> Dataset:
    sources: dict[str, list[Split | Skipped]] = {}
    for n, split in enumerate(SPLITS):
        sources[split] = [piece(10 * n, 3), Skipped(f"{split}.mp4", "is bad"), piece(10 * n + 3, 4)]
    return write_dataset(path, "small", ("a", "b"), TICKS, SIDE, {"seed": 1}, sources)


def test_round_trip(tmp_path: Path) -> None:
    dataset = written(tmp_path / "d")
    assert (dataset.name, dataset.classes, dataset.ticks, dataset.resolution) == ("small", ("a", "b"), TICKS, SIDE)
    for n, split in enumerate((dataset.train, dataset.validation, dataset.test)):
        parts = piece(10 * n, 3), piece(10 * n + 3, 4)
        np.testing.assert_array_equal(split.clips, np.concatenate([part.clips for part in parts]))
        np.testing.assert_array_equal(split.labels, np.concatenate([part.labels for part in parts]))
        assert split.labels.dtype == np.int32 and len(split) == 7
    assert dataset.skipped == tuple(Skipped(f"{split}.mp4", "is bad") for split in SPLITS)
    header = json.loads((tmp_path / "d" / "dataset.json").read_text())
    assert header["schema"] == "movinet-nas/dataset/1" and header["settings"] == {"seed": 1}
    assert header["counts"] == dict.fromkeys(SPLITS, 7)


def test_content_hash_depends_on_content_only(tmp_path: Path) -> None:
    one, two = written(tmp_path / "d"), written(tmp_path / "elsewhere" / "e")
    assert one.content_hash == two.content_hash == content_sha256((one.train, one.validation, one.test))
    swapped = content_sha256((one.validation, one.train, one.test))
    assert swapped != one.content_hash
    assert open_dataset(tmp_path / "d", verify=True).content_hash == one.content_hash


def test_arrays_are_mapped_and_shared(tmp_path: Path) -> None:
    """A change of the file by another process is visible here, so there is no private copy."""
    dataset = written(tmp_path / "d")
    assert isinstance(dataset.train.clips, np.memmap) and not dataset.train.clips.flags.writeable
    before = int(dataset.train.clips[0, 0, 0, 0, 0])
    with open(tmp_path / "d" / "train" / "clips.npy", "r+b") as file:
        file.seek(dataset.train.clips.offset)
        file.write(bytes([255 - before]))
    assert dataset.train.clips[0, 0, 0, 0, 0] == 255 - before


def test_pickles_as_its_path(tmp_path: Path) -> None:
    dataset = written(tmp_path / "d")
    data = pickle.dumps(dataset)
    assert len(data) < 1000
    assert isinstance(pickle.loads(data).train.clips, np.memmap)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 8), st.lists(st.integers(0, 4), max_size=6))
def test_batch_is_the_strided_clips_time_major(ticks: int, stride: int, offset: int, indices: list[int]) -> None:
    stride, offset = min(stride, ticks), min(offset, ticks - 1)
    clips = np.random.default_rng(ticks).integers(0, 256, (5, ticks, 3, 3, 3), np.uint8)
    batch = Split(clips, np.zeros(5, np.int32)).batch(indices, stride, offset)
    assert batch.shape == (-(-ticks // stride), len(indices), 3, 3, 3)
    assert batch.flags.c_contiguous and batch.dtype == np.uint8
    for column, index in enumerate(indices):
        for row in range(len(batch)):
            np.testing.assert_array_equal(batch[row, column], clips[index, min(offset + row * stride, ticks - 1)])


def test_batch_refuses_what_is_not_there() -> None:
    split = piece(0, 4)
    with pytest.raises(IndexError):
        split.batch([0, 4])
    for stride, offset in ((0, 0), (TICKS + 1, 0), (1, TICKS), (1, -1)):
        with pytest.raises(InputError, match="frame_stride|offset"):
            split.batch([0], stride, offset)


def test_cache_root_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    assert cache_path("x", {"a": 1, "b": 2}) == cache_path("x", {"b": 2, "a": 1})
    assert cache_path("x", {"a": 1}) != cache_path("x", {"a": 2})
    monkeypatch.delenv("MOVINET_NAS_CACHE")
    assert cache_root() == Path.home() / ".cache" / "movinet-nas"


def test_an_existing_dataset_is_opened_and_nothing_drawn(tmp_path: Path) -> None:
    def never() -> Iterator[Split]:
        raise AssertionError("drawn from")
        yield

    dataset = written(tmp_path / "d")
    again = write_dataset(tmp_path / "d", "small", ("a", "b"), TICKS, SIDE, {}, {split: never() for split in SPLITS})
    assert again.content_hash == dataset.content_hash


def test_a_failed_source_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[Split]:
        yield piece(0, 3)
        raise RuntimeError("source broke")

    sources: dict[str, Source] = {"train": [piece(0, 2)], "validation": failing(), "test": [piece(0, 2)]}
    with pytest.raises(RuntimeError):
        write_dataset(tmp_path / "d", "small", ("a", "b"), TICKS, SIDE, {}, sources)
    assert [file.name for file in tmp_path.iterdir()] == ["d.lock"]
    assert len(written(tmp_path / "d").train) == 7


def test_a_split_without_clips_is_refused(tmp_path: Path) -> None:
    sources: dict[str, Source] = {
        "train": [piece(0, 2)],
        "validation": [Skipped("x.mp4", "is bad")],
        "test": [piece(0, 2)],
    }
    with pytest.raises(InputError, match="validation.*every split needs one"):
        write_dataset(tmp_path / "d", "small", ("a", "b"), TICKS, SIDE, {}, sources)
    assert not (tmp_path / "d").exists()


def test_an_unwritable_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="prevented writing the dataset"):
        written(tmp_path / "file" / "d")


SLOW_WRITER = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_store import SIDE, TICKS, SPLITS, piece, write_dataset

def slow():
    for n in range({pieces}):
        print("piece", flush=True)
        time.sleep({pause})
        yield piece(n, 3)

dataset = write_dataset(Path({path!r}), "small", ("a", "b"), TICKS, SIDE, {{}}, {{split: slow() for split in SPLITS}})
print(dataset.content_hash)
"""


def start_writer(path: Path, pieces: int, pause: float) -> subprocess.Popen[str]:
    code = SLOW_WRITER.format(tests=str(Path(__file__).parent), path=str(path), pieces=pieces, pause=pause)
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment, cwd=root)


def test_a_killed_writer_leaves_no_dataset_and_blocks_no_one(tmp_path: Path) -> None:
    writer = start_writer(tmp_path / "d", 1000, 0.05)
    assert writer.stdout is not None and writer.stdout.readline() == "piece\n"
    time.sleep(0.1)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert (tmp_path / "d.partial").exists() and not (tmp_path / "d").exists()
    assert len(written(tmp_path / "d").train) == 7
    assert not (tmp_path / "d.partial").exists()


def test_two_writers_at_once_make_one_dataset(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path / "d", 4, 0.02) for _ in range(2)]
    outputs = [writer.communicate(timeout=60)[0].split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert outputs[0][-1] == outputs[1][-1] == open_dataset(tmp_path / "d", verify=True).content_hash
    assert sorted(output.count("piece") for output in outputs) == [0, 12]  # the second one waited and only opened


def rewrite_header(folder: Path, **change: object) -> None:
    file = folder / "dataset.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))


def cut(file: Path, size: int) -> None:
    with open(file, "r+b") as opened:
        opened.truncate(size)


DAMAGE = {
    "header missing": ("dataset.json", lambda d: (d / "dataset.json").unlink()),
    "header torn": ("dataset.json", lambda d: cut(d / "dataset.json", 40)),
    "header a list": ("dataset.json", lambda d: (d / "dataset.json").write_text("[]")),
    "schema": ("dataset.json", lambda d: rewrite_header(d, schema="movinet-nas/dataset/9")),
    "counts": ("dataset.json", lambda d: rewrite_header(d, counts={"train": 7})),
    "ticks": ("dataset.json", lambda d: rewrite_header(d, ticks="many")),
    "videos": ("dataset.json", lambda d: rewrite_header(d, clips_per_video={"test": [3, 0, 4]})),
    "other ticks": ("train/clips.npy", lambda d: rewrite_header(d, ticks=7)),
    "clips missing": ("train/clips.npy", lambda d: (d / "train/clips.npy").unlink()),
    "clips empty": ("validation/clips.npy", lambda d: cut(d / "validation/clips.npy", 0)),
    "clips short": ("test/clips.npy", lambda d: cut(d / "test/clips.npy", 5000)),
    "clips long": ("test/clips.npy", lambda d: cut(d / "test/clips.npy", 50_000)),
    "labels wrong": ("test/labels.npy", lambda d: np.save(d / "test/labels.npy", np.full(7, 2, np.int32))),
    "labels type": ("test/labels.npy", lambda d: np.save(d / "test/labels.npy", np.zeros(7))),
    "labels none": ("test/labels.npy", lambda d: np.save(d / "test/labels.npy", np.zeros(0, np.int32))),
    "labels pickled": ("test/labels.npy", lambda d: np.save(d / "test/labels.npy", np.array([None] * 7))),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_cache_names_the_file(tmp_path: Path, kind: str) -> None:
    written(tmp_path / "d")
    file, damage = DAMAGE[kind]
    damage(tmp_path / "d")
    with pytest.raises(InputError) as caught:
        open_dataset(tmp_path / "d")
    assert str(tmp_path / "d" / file) in str(caught.value) and "\n" not in str(caught.value)


def test_verify_finds_a_changed_byte(tmp_path: Path) -> None:
    written(tmp_path / "d")
    with open(tmp_path / "d" / "test" / "clips.npy", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    open_dataset(tmp_path / "d")
    with pytest.raises(InputError, match="content differs"):
        open_dataset(tmp_path / "d", verify=True)
