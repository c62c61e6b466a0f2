"""A search reads the same sources as training: folders and lists, by time, split so that groups stay together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from movinet.data.proxy.sample_videos import write_video
from movinet.data.store import SPLITS
from movinet.data.video.source import open_source
from movinet.data.video.splits import BY_SHARES, SplitRule, divide
from nas.config.search_config import from_plain
from nas.evaluation.proxy_trainer import clips_of, open_data
from search_space.base.errors import InputError

RATES = (10, 15, 25, 30)
DARK, STEP = 20, 3
SPACE = {
    "schema": "movinet-nas/space/1", "name": "s", "classes": 2, "frames": 5, "frame_strides": [1], "resolutions": [32],
    "stem_widths": [8], "blocks": [{"base_width": 8, "stride": 2, "depths": [1]}], "project": [32], "dense": 32,
}  # fmt: skip


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return videos of two classes and four cameras at different frame rates; frame n is grey DARK + STEP n."""
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / "cache"))
    for name in "ab":
        for camera, rate in enumerate(RATES):
            for clip in range(2):
                shades = (DARK + STEP * np.arange(2 * rate)).astype(np.uint8)
                frames = np.tile(shades[:, None, None, None], (1, 32, 48, 3))
                write_video(tmp_path / "v" / name / f"{name}cam{camera}_{clip}.mp4", frames, rate)
    return tmp_path / "v"


def kinetics(folder: Path) -> Path:
    """Write the list of the same videos in the format of Kinetics, which identifies each by its name."""
    rows = ["label,youtube_id,time_start,time_end"]
    for file in sorted(folder.glob("*/*.mp4")):
        camera, clip = file.stem.split("_")
        file.rename(file.with_name(f"{camera}_{int(clip):06}_{int(clip) + 1:06}.mp4"))
        rows.append(f"{file.parent.name},{camera},{clip},{int(clip) + 1}")
    return written(folder / "kinetics.csv", rows)


def general(folder: Path) -> Path:
    """Write a list of their files, with the camera in a column."""
    files = sorted(file.relative_to(folder) for file in folder.glob("*/*.mp4"))
    return written(
        folder / "list.csv",
        ["label,file,group", *(f"{file.parent},{file},{file.stem.split('_')[0]}" for file in files)],
    )


def written(file: Path, rows: list[str]) -> Path:
    file.write_text("\n".join(rows) + "\n")
    return file


@pytest.mark.parametrize("form", ["folder", "general", "kinetics"])
def test_a_search_reads_each_form_by_time_and_keeps_groups_together(form: str, videos: Path) -> None:
    path = {"folder": lambda root: root, "general": general, "kinetics": kinetics}[form](videos)
    data = {"source": "video_folder" if form == "folder" else "video_csv", "path": str(path), "target_fps": 5}
    data |= {"group_pattern": r"cam\d"} if form == "folder" else {}
    # fmt: off
    config = from_plain({
        "schema": "movinet-nas/search/1", "training": {"steps": 1}, "space": SPACE,
        "data": data | {"split_shares": [0.25, 0.25]},
    })
    # fmt: on
    found = open_data(config.data, config.space)
    assert found.classes == ("a", "b") and found.ticks == 5 and not found.skipped
    assert {split: len(getattr(found, split)) for split in SPLITS} == {"train": 8, "validation": 4, "test": 4}
    rates = set()
    for split in SPLITS:
        for clip in getattr(found, split).clips:
            steps = np.diff(np.rint((clip.mean((1, 2, 3)) - DARK) / STEP))
            assert np.ptp(steps) <= 1, steps
            rates.add(round(steps.mean() * 5))
    assert rates == set(RATES)
    sources = clips_of(config.data, config.space).sources()
    cameras = {
        split: {name.split("/")[-1].split("_")[0] for name in names(source)} for split, source in sources.items()
    }
    assert not cameras["train"] & cameras["validation"] and not set.union(*list(cameras.values())[:2]) & cameras["test"]
    # Training uses the same splits as the search.
    own = {key: value for key, value in data.items() if key not in ("source", "path")}
    for split, source in sources.items():
        opened = open_source(data["source"], path, split=split, split_shares=[0.25, 0.25], **own)  # type: ignore[arg-type]
        assert names(opened) == names(source)


def names(source) -> list[str]:  # type: ignore[no-untyped-def]
    return [source.name(i) for i in range(len(source))]


def test_a_list_that_names_some_splits_is_refused(videos: Path) -> None:
    rows = ["label,file,split", "a,a/acam0_0.mp4,train", "a,a/acam0_1.mp4,"]
    with pytest.raises(InputError, match="line 3: '' is the split of this line"):
        open_source("video_csv", written(videos / "l.csv", rows), split="train")
    rows[2] += "val"
    with pytest.raises(InputError, match="'test' is the split of no line; the list has train, validation"):
        open_source("video_csv", written(videos / "l.csv", rows), split="test")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=150), st.booleans())
def test_groups_are_whole_and_classes_are_in_every_split(files: list[tuple[int, int]], shared: bool) -> None:
    """Test groups of any sizes, shared by classes or not."""
    labels = [label for label, _ in files]
    groups = [f"{group}" if shared else f"{label}/{group}" for label, group in files]
    splits = divide(labels, groups, BY_SHARES)
    of_group = dict(zip(groups, splits, strict=True))
    assert splits == [of_group[group] for group in groups]
    for label in () if shared else set(labels):
        own = {group for number, group in zip(labels, groups, strict=True) if number == label}
        expected = set(SPLITS) if len(own) > 2 else {"train"}
        assert {of_group[group] for group in own} == expected
    order = np.random.default_rng(0).permutation(len(files)).tolist()
    assert divide([labels[i] for i in order], [groups[i] for i in order], BY_SHARES) == [splits[i] for i in order]


def test_a_group_is_what_the_pattern_finds() -> None:
    assert SplitRule(group_pattern=r"cam(\d)").group("x/cam7_12.mp4") == "7"
    assert SplitRule(group_pattern=r"cam\d").group("x/cam7_12.mp4") == "cam7"
    assert SplitRule(group_pattern=r"cam(\d)").group("other.mp4") == "other.mp4"
    for shares, pattern, rule in (((0.5, 0.5), "", "split_shares"), ((0.1, 0.1), "(", "group_pattern")):
        with pytest.raises(InputError, match=rule):
            SplitRule(*shares, pattern)


def test_records_are_the_clips_of_the_videos_that_they_were_made_from(videos: Path, tmp_path: Path) -> None:
    from movinet.convert import Conversion, convert

    convert(Conversion(str(videos), str(tmp_path / "records"), short_side=32, quality=100))
    found = {}
    for source, path in (("video_folder", videos), ("tfrecord", tmp_path / "records")):
        data = {"source": source, "path": str(path), "frame_stride": 2, "clips_per_video": 2}
        plain = {"schema": "movinet-nas/search/1", "training": {"steps": 1}, "space": SPACE, "data": data}
        config = from_plain(plain)
        found[source] = open_data(config.data, config.space)
    assert found["tfrecord"].classes == found["video_folder"].classes
    for split in SPLITS:
        records, decoded = (getattr(found[source], split) for source in ("tfrecord", "video_folder"))
        assert np.bincount(records.labels).tolist() == np.bincount(decoded.labels).tolist()
        assert records.clips_per_video.tolist() == decoded.clips_per_video.tolist()
        for clip in records.clips:
            steps = np.diff(np.rint((clip.mean((1, 2, 3)) - DARK) / STEP))
            assert np.abs(steps - 2).max() <= 1 and abs(steps.mean() - 2) <= 0.25
    with pytest.raises(InputError, match="target_fps: 5.0 is for videos"):
        config = from_plain({**plain, "data": {**data, "target_fps": 5.0}})
        open_data(config.data, config.space)
    (tmp_path / "records" / "test-00000-of-00001.tfrecord").unlink()
    with pytest.raises(InputError, match=r"test-\*.tfrecord.* matches no file"):
        config = from_plain(plain)
        open_data(config.data, config.space)
