"""Test folders and lists of videos: their files, classes and segments, and the errors of invalid ones."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from painted import encode_painted, painted_number

from movinet.data.video.csv_list import read_csv
from movinet.data.video.source import Source, open_source, splits_of
from movinet.data.video.timeline import UnusableVideo
from search_space.base.errors import InputError

KINETICS = "label,youtube_id,time_start,time_end,split,is_cc\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / "cache"))


def video(file: Path, frames: int = 10) -> Path:
    return encode_painted(file, "libx264", [Fraction(n, 25) for n in range(frames)], 25)


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def written(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def shown(source: Source, i: int, numbers: Sequence[int]) -> list[int]:
    return [painted_number(frame) for frame in source.read(i, numbers, 32)]


def test_kinetics_lists_find_files_in_every_usual_place(tmp_path: Path) -> None:
    names = (
        "a-_B_000007_000017.mp4",
        "run_fast/c_000100_000110.mp4",
        "validate/d_000000_000010.mp4",
        "walk/e_000001_000011.mp4",
    )
    touch(tmp_path, *names)
    rows = "walk,a-_B,7,17,train,0\nrun fast,c,100,110,train,0\nwalk,d,0,10,validate,1\n"
    rows += "walk,e,1,11,test,0\nwalk,gone,1,2,train,0\n"
    list_file = written(tmp_path / "k.csv", KINETICS + rows)
    classes, files, skipped = read_csv(list_file)
    assert classes == ("run fast", "walk")
    assert [(file.name, file.label) for file in files] == list(zip(names, (1, 0, 1, 1), strict=True))
    assert [(item.file, item.reason) for item in skipped] == [("gone_000001_000002.mp4", "does not exist")]
    assert [file.name for file in read_csv(list_file, "validation")[1]] == [names[2]]
    assert splits_of("video_csv", list_file) == ("train", "validation", "test")


def test_a_general_list_has_segments(tmp_path: Path) -> None:
    video(tmp_path / "films" / "long film.mp4", 100)
    rows = "label,file,start,end\nb,long film.mp4,1,2\na,long film.mp4,3.0,\na,long film.mp4,,\n"
    source = open_source("video_csv", written(tmp_path / "l.csv", rows), split="train", video_root=tmp_path / "films")
    assert source.classes == ("a", "b") and source.labels.tolist() == [1, 0, 0]
    assert [source.frames(i) for i in range(3)] == [25, 25, 100]
    assert shown(source, 0, [0, 24]) == [25, 49] and shown(source, 1, [0, 24]) == [75, 99]
    assert source.name(0) == "long film.mp4@1-2"
    assert splits_of("video_csv", tmp_path / "l.csv") == ("all",)


@pytest.mark.parametrize("root", ["", "elsewhere"])
def test_a_plain_list_is_path_and_label(tmp_path: Path, root: str) -> None:
    touch(tmp_path / root, "x/a b.mp4", "y/c.mp4")
    list_file = written(tmp_path / "train.txt", "x/a b.mp4 2\n\ny/c.mp4 0\n")
    classes, files, _ = read_csv(list_file, "train", tmp_path / root if root else None)
    assert classes == ("0", "1", "2") and [(file.name, file.label) for file in files] == [
        ("x/a b.mp4", 2),
        ("y/c.mp4", 0),
    ]
    written(tmp_path / "classes.txt", "zero\none\ntwo\nthree\n")
    assert read_csv(list_file, "train", tmp_path / root)[0] == ("zero", "one", "two", "three")


def test_class_names_beside_the_list_overrule_its_order(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    list_file = written(tmp_path / "l.csv", "\ufefflabel,file\nrun,a.mp4\nwalk,b.mp4\n")
    assert [file.label for file in read_csv(list_file)[1]] == [0, 1]
    written(tmp_path / "classes.txt", "walk\nstand\nrun\n")
    classes, files, _ = read_csv(list_file)
    assert classes == ("walk", "stand", "run") and [file.label for file in files] == [2, 0]


def test_nothing_outside_of_the_root_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "root/in.mp4", "out/secret.mp4")
    (tmp_path / "root" / "link.mp4").symlink_to(tmp_path / "out" / "secret.mp4")
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "out")
    (tmp_path / "root" / "within.mp4").symlink_to(tmp_path / "root" / "in.mp4")
    names = ("in.mp4", "within.mp4", "link.mp4", "folder/secret.mp4", "../out/secret.mp4", f"{tmp_path}/out/secret.mp4")
    list_file = written(tmp_path / "l.csv", "label,file\n" + "".join(f"a,{name}\n" for name in names))
    _, files, skipped = read_csv(list_file, "train", tmp_path / "root")
    assert [file.name for file in files] == ["in.mp4", "within.mp4"]
    assert [item.file for item in skipped] == list(names[2:])
    assert all("lies outside of" in item.reason for item in skipped)


BAD_LISTS = {
    "": "must list videos",
    "label,file\n": "must list videos",
    "label,youtube_id\na,b\n": "header.*must be label,youtube_id,time_start,time_end,split or",
    "label,file\na\n": "line 2.*must have 2 fields",
    "label,file\n,a.mp4\n": "line 2: label.*must not be empty",
    "label,file,start,end\na,a.mp4,soon,2\n": "line 2.*must be seconds",
    "label,file,start,end\na,a.mp4,2,1\n": "line 2.*must be a start from 0 on",
    "label,file,split\na,a.mp4,devel\n": "line 2: 'devel' must be one of train, validation, test",
    KINETICS + "a,b,1,,train,0\n": "line 2: time_end.*must not be empty",
    KINETICS + "a,../b,1,2,train,0\n": "has no video below",
    "a.mp4\n": "line 1.*`path label`",
    "a.mp4 99999999999\n": "classes must be at most",
    "label,file\na,missing.mp4\n": "has no video below.*first: missing.mp4 does not exist",
    'label,file\na,"b' + "c" * 200_000 + '"\n': "prevented reading the list",
}


@pytest.mark.parametrize("number", range(len(BAD_LISTS)))
def test_a_bad_list_is_one_clear_line(tmp_path: Path, number: int) -> None:
    text, rule = list(BAD_LISTS.items())[number]
    touch(tmp_path, "a.mp4")
    with pytest.raises(InputError, match=rule) as caught:
        read_csv(written(tmp_path / "l.csv", text))
    assert str(tmp_path / "l.csv") in str(caught.value) and "\n" not in str(caught.value)


def test_lists_that_cannot_be_read_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    for name in ("none.csv", "binary.csv", "."):
        with pytest.raises(InputError, match="prevented reading the list"):
            read_csv(tmp_path / name)
    touch(tmp_path, "a.mp4")
    list_file = written(tmp_path / "l.csv", "label,file\nb,a.mp4\n")
    for names, rule in (
        ("a\nc\n", "must be among the names in classes.txt"),
        ("b\nb\n", "without duplicates"),
        ("", "at least one"),
    ):
        written(tmp_path / "classes.txt", names)
        with pytest.raises(InputError, match=rule):
            read_csv(list_file)
    plain = written(tmp_path / "p.txt", "a.mp4 4\n")
    written(tmp_path / "classes.txt", "a\nb\n")
    with pytest.raises(InputError, match="4 must be below 2"):
        read_csv(plain)


def test_a_folder_may_have_only_the_splits_it_has(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.mp4", "train/b/2.mp4", "val/b/3.mp4")
    assert splits_of("video_folder", tmp_path) == ("train", "validation")
    validation = open_source("video_folder", tmp_path, split="valid")
    assert validation.classes == ("a", "b") and validation.labels.tolist() == [1]
    assert len(open_source("video_folder", tmp_path, split="all")) == 3
    with pytest.raises(InputError, match="'test' has no videos; splits with videos: train, validation"):
        open_source("video_folder", tmp_path, split="test")


def test_class_folders_are_a_split_each_or_everything(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{n}.mp4" for name in "ab" for n in range(10)))
    sizes = {
        split: len(open_source("video_folder", tmp_path, split=split)) for split in ("train", "val", "test", "all")
    }
    assert sizes == {"train": 12, "val": 4, "test": 4, "all": 20}


def test_clips_of_the_search_are_a_source(tmp_path: Path) -> None:
    source = open_source("moving_digits", "tiny", split="validation", num_examples=20, seed=3)
    assert len(source) == 20 and source.frames(0) == 16 and len(source.classes) == 12
    whole = source.read(7, np.arange(16))
    np.testing.assert_array_equal(source.read(7, [5, 5, 0]), whole[[5, 5, 0]])
    assert source.read(7, [1], 48).shape == (1, 48, 48, 3)
    again = open_source("cached", source.dataset.path, split="val")  # type: ignore[attr-defined]
    np.testing.assert_array_equal(again.read(7, np.arange(16)), whole)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).labels, source.labels)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"file_type": "films"}, "must be one of video_folder, video_csv, moving_digits, cached"),
        ({"split": "devel"}, "must be one of train, validation, test, all"),
        ({"split": "all"}, "must be one of train, validation, test"),
        ({"target_fps": 5.0}, "is for videos"),
        ({"num_examples": 0}, "num_examples"),
        ({"input_path": "huge"}, "must be one of tiny, default"),
        ({"file_type": "video_folder", "target_fps": 0.0}, "target_fps.*must be from"),
        ({"file_type": "video_folder", "input_path": "nowhere"}, "expected a folder of class folders"),
        ({"file_type": "cached", "input_path": "nowhere"}, "prevented reading the dataset"),
    ],
)
def test_what_cannot_be_opened_is_one_clear_line(change: dict[str, object], rule: str) -> None:
    settings = {"file_type": "moving_digits", "input_path": "tiny", "split": "train", "num_examples": 1, **change}
    with pytest.raises(InputError, match=rule):
        open_source(**settings)  # type: ignore[arg-type]


def test_decoded_videos_are_kept(tmp_path: Path) -> None:
    file = video(tmp_path / "v" / "a" / "1.mp4", 50)
    kept = open_source("video_folder", tmp_path / "v", split="all", cache_dir=tmp_path / "kept")
    plain = open_source("video_folder", tmp_path / "v", split="all")
    numbers = [49, 0, 33, 33]
    for side in (None, 32, 32):
        np.testing.assert_array_equal(kept.read(0, numbers, side), plain.read(0, numbers, side))
    files = sorted((tmp_path / "kept").rglob("*.*"))
    assert len(files) == 2 and all(file.suffix == ".npy" for file in files)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(kept)).read(0, numbers, 32), plain.read(0, numbers, 32))
    video(file, 40)  # a changed file is a different file
    again = open_source("video_folder", tmp_path / "v", split="all", cache_dir=tmp_path / "kept")
    assert again.frames(0) == 40 and shown(again, 0, [39]) == [39]
    with pytest.raises(IndexError):
        again.read(0, [40])


def test_a_damaged_or_unwritable_store_of_decoded_videos_is_one_clear_line(tmp_path: Path) -> None:
    video(tmp_path / "v" / "a" / "1.mp4")
    kept = open_source("video_folder", tmp_path / "v", split="all", cache_dir=tmp_path / "kept")
    kept.read(0, [0], 32)
    (file,) = (tmp_path / "kept").rglob("*.npy")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="prevented caching decoded videos"):
        kept.read(0, [0], 32)
    written(tmp_path / "file", "")
    with pytest.raises(InputError, match="prevented caching decoded videos"):
        open_source("video_folder", tmp_path / "v", split="all", cache_dir=tmp_path / "file").read(0, [0])
    (tmp_path / "v" / "a" / "1.mp4").write_text("no video")
    with pytest.raises(UnusableVideo):
        open_source("video_folder", tmp_path / "v", split="all", cache_dir=tmp_path / "kept").read(0, [0])
