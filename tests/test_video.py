"""Real videos: sampling, splits, damaged files and bad folders. Clips are encoded here, frame n of grey level 5 n."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import OutputContainer
from av.video.stream import VideoStream

from movinet.data.proxy.video_clips import VideoClips, read_clips, video_clips
from movinet.data.video.decoder import Decoder
from movinet.data.video.decoding import Frames, read_frames, scan, wanted
from movinet.data.video.folder import VideoFile, list_folder
from movinet.data.video.splits import SplitRule
from movinet.data.video.timeline import Timeline, UnusableVideo, centred, clip_numbers
from movinet.data.video.video_source import VideoSource
from nas.loop.data_notes import data_notes
from search_space.base.errors import InputError

STEP = 5  # grey levels between frames
CODECS = {"mp4": "libx264", "mkv": "libx264", "avi": "mpeg4", "mpg": "mpeg2video", "webm": "libvpx-vp9"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(1)
    yield decoder
    decoder.close()


def clips_of(decoder: Decoder, file: Path, ticks: int, resolution: int, stride: int = 1, clips: int = 1) -> Frames:
    source = VideoSource(("a",), [VideoFile(file, file.name, 0)], decoder=decoder)
    return read_clips(VideoClips(file.parent, ticks, resolution, stride, clips), source, 0)


def add_video(container: OutputContainer, codec: str, size: tuple[int, int]) -> VideoStream:
    stream = container.add_stream(codec, rate=Fraction(25))
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, "yuv420p", 8
    stream.bit_rate = 4_000_000  # preserves grey levels
    return stream


def encode(file: Path, frames: int = 40, size: tuple[int, int] = (64, 48), base: int = 10) -> Path:
    """Encode a video whose frame n is grey `base + STEP n`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = add_video(container, CODECS[file.suffix[1:]], size)
        for number in range(frames):
            image = np.full((size[1], size[0], 3), base + STEP * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return file


def encode_sound(file: Path) -> Path:
    """Encode an MP4 with a sound track only."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return file


def seen(clip: np.ndarray, base: int = 10) -> list[int]:
    """Return the frame numbers that a clip `T H W C` shows."""
    return np.rint((clip.mean((1, 2, 3)) - base) / STEP).astype(int).tolist()


def class_folders(root: Path, files: int = 4) -> Path:
    for name, base in (("dark", 10), ("light", 120)):
        for number in range(files):
            encode(root / name / f"{number}.mp4", frames=20, base=base)
    return root


@pytest.mark.parametrize("suffix", CODECS)
def test_one_clip_is_the_centre_at_the_wanted_stride(decoder: Decoder, tmp_path: Path, suffix: str) -> None:
    file = encode(tmp_path / f"a.{suffix}")
    for ticks, stride in ((8, 1), (8, 3), (4, 5)):
        (clip,) = clips_of(decoder, file, ticks, 32, stride)
        start = (40 - 1 - (ticks - 1) * stride) // 2
        assert clip.shape == (ticks, 32, 32, 3) and clip.dtype == np.uint8
        assert seen(clip) == [start + stride * tick for tick in range(ticks)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "avi"])
def test_seeking_gives_the_frame_that_counting_gives(tmp_path: Path, suffix: str) -> None:
    file = encode(tmp_path / f"a.{suffix}")
    timeline = scan(file)
    assert len(timeline) == 40 and not timeline.counted
    counted = Timeline(np.arange(40), np.zeros(1, np.int64), timeline.unit, 40, counted=True)
    for number in (0, 7, 8, 23, 39):
        (sought,) = read_frames(file, wanted(timeline, np.array([number]))[0], 16)
        (same,) = read_frames(file, wanted(counted, np.array([number]))[0], 16)
        np.testing.assert_array_equal(sought, same)


def test_several_clips_are_evenly_spaced(decoder: Decoder, tmp_path: Path) -> None:
    clips = clips_of(decoder, encode(tmp_path / "a.mp4"), 4, 16, 2, clips=3)
    assert [seen(clip) for clip in clips] == [[5, 7, 9, 11], [16, 18, 20, 22], [27, 29, 31, 33]]


def test_a_short_video_is_looped_and_gives_one_clip(decoder: Decoder, tmp_path: Path) -> None:
    clips = clips_of(decoder, encode(tmp_path / "a.mp4", frames=5), 8, 16, 2, clips=3)
    assert [seen(clip) for clip in clips] == [[0, 2, 4, 1, 3, 0, 2, 4]]


@pytest.mark.parametrize("count", [1, 2, 17, 50, 1000])
def test_frame_numbers_stay_in_the_file(count: int) -> None:
    starts = centred(count, 16, 3, 4)
    assert len(starts) == (4 if count > 49 else 1)
    for short_clip in ("loop", "pad"):
        numbers = np.array([clip_numbers(count, start, 16, 3, short_clip) for start in starts])
        assert numbers.min() >= 0 and numbers.max() < count


def test_missing_timestamps_are_counted_from_the_start(decoder: Decoder, tmp_path: Path) -> None:
    """A raw H.264 stream has none."""
    with av.open(str(encode(tmp_path / "a.mkv"))) as source, av.open(str(tmp_path / "raw.h264"), "w") as raw:
        copy = raw.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = copy
                raw.mux(packet)
    (clip,) = clips_of(decoder, tmp_path / "raw.h264", 4, 16, 3)
    assert seen(clip) == [15, 18, 21, 24]


@pytest.mark.parametrize("size", [(96, 48), (48, 96), (20, 16)])
def test_short_side_is_resized_and_the_centre_kept(decoder: Decoder, tmp_path: Path, size: tuple[int, int]) -> None:
    """The middle square is white, the rest black, for both orientations: after the crop no black is left."""
    file, short = tmp_path / "a.mp4", min(size)
    with av.open(str(file), "w") as container:
        stream = add_video(container, "libx264", size)
        image = np.zeros((size[1], size[0], 3), np.uint8)
        top, left = (size[1] - short) // 2, (size[0] - short) // 2
        image[top : top + short, left : left + short] = 255
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    (clip,) = clips_of(decoder, file, 1, 24)
    assert clip.shape == (1, 24, 24, 3)
    assert clip[0, 2:-2, 2:-2].min() > 200


def test_a_rotated_video_is_put_upright(decoder: Decoder, tmp_path: Path) -> None:
    """Phones store the rotation in the track header's matrix; here it is 90 degrees clockwise."""
    file = tmp_path / "a.mp4"
    with av.open(str(file), "w") as container:
        stream = add_video(container, "libx264", (32, 32))
        image = np.zeros((32, 32, 3), np.uint8)
        image[:16] = 255  # bright top
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(file.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    clockwise = (0, 1 << 16, 0, -1 << 16, 0, 0, 32 << 16, 0, 1 << 30)
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in clockwise)
    file.write_bytes(data)
    ((frame,),) = clips_of(decoder, file, 1, 32)
    assert frame[:, 20:].mean() > 200 and frame[:, :12].mean() < 50  # the top is now at the right


def test_class_folders_are_decoded_split_and_cached(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "videos", files=5)
    config = VideoClips(root, ticks=6, resolution=16, frame_stride=2)
    dataset = video_clips(config)
    assert dataset.classes == ("dark", "light") and not dataset.skipped
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [6, 2, 2]
    for split in (dataset.train, dataset.validation, dataset.test):
        for clip, label in zip(split.clips, split.labels, strict=True):
            assert seen(clip, (10, 120)[label]) == [4, 6, 8, 10, 12, 14]
    written = (dataset.path / "dataset.json").stat().st_mtime_ns
    again = video_clips(config, workers=1)
    assert again.content_hash == dataset.content_hash
    assert (again.path / "dataset.json").stat().st_mtime_ns == written


def test_the_number_of_workers_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = VideoClips(class_folders(tmp_path / "videos"), ticks=4, resolution=16, clips_per_video=2)
    hashes = set()
    for workers in (1, 3):
        monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / f"cache{workers}"))
        dataset = video_clips(config, workers)
        hashes.add(dataset.content_hash)
        for split in (dataset.train, dataset.validation, dataset.test):
            assert split.clips_per_video is not None and split.clips_per_video.tolist() == [2] * (len(split) // 2)
    assert len(hashes) == 1


def test_a_changed_file_makes_another_dataset(tmp_path: Path) -> None:
    config = VideoClips(class_folders(tmp_path / "videos"), ticks=4, resolution=16)
    before = video_clips(config)
    encode(config.path / "dark" / "9.mp4", frames=20)
    assert video_clips(config).path != before.path


def test_split_folders_are_kept(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        encode(tmp_path / "v" / split / "a" / "deeper" / f"{split}.mp4", frames=4)
        encode(tmp_path / "v" / split / "b" / f"{split}.avi", frames=4)
    listing = list_folder(tmp_path / "v")
    assert listing.classes == ("a", "b")
    assert {split: [file.name for file in files] for split, files in listing.splits.items()} == {
        "train": ["train/a/deeper/train.mp4", "train/b/train.avi"],
        "validation": ["val/a/deeper/val.mp4", "val/b/val.avi"],
        "test": ["test/a/deeper/test.mp4", "test/b/test.avi"],
    }


def test_split_by_hash_is_deterministic_disjoint_and_by_share(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "v" / name).mkdir(parents=True)
        for number in range(20):
            (tmp_path / "v" / name / f"{number}.mp4").touch()
    listing = list_folder(tmp_path / "v", SplitRule(0.25, 0.1))
    names = {split: [file.name for file in files] for split, files in listing.splits.items()}
    assert {split: len(files) for split, files in names.items()} == {"train": 26, "validation": 10, "test": 4}
    assert len(set().union(*names.values())) == 40
    (tmp_path / "v").rename(tmp_path / "moved")
    moved = list_folder(tmp_path / "moved", SplitRule(0.25, 0.1))
    assert {split: [file.name for file in files] for split, files in moved.splits.items()} == names


def damage(folder: Path) -> None:
    whole = encode(folder / "cut.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    encode_sound(folder / "sound.mp4")
    (folder / "empty.mkv").touch()


def test_damaged_files_are_named_skipped_and_recorded(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        class_folders(tmp_path / "v" / split, files=1)
    damage(tmp_path / "v" / "train" / "dark")
    dataset = video_clips(VideoClips(tmp_path / "v", 4, 16))
    reasons = {item.file.removeprefix("train/dark/"): item.reason for item in dataset.skipped}
    assert set(reasons) == {"cut.mp4", "text.mp4", "sound.mp4", "empty.mkv"}
    assert reasons["sound.mp4"] == "has no video stream"
    assert all("\n" not in reason and reason for reason in reasons.values())
    assert len(dataset.train) == 2
    header = json.loads((dataset.path / "dataset.json").read_text())
    assert [item["file"] for item in header["skipped"]] == [item.file for item in dataset.skipped]
    assert video_clips(VideoClips(tmp_path / "v", 4, 16)).skipped == dataset.skipped

    splits, left_out, few = data_notes(dataset)
    assert splits == "clips of 2 classes: 2 train, 2 validation, 2 test"
    assert left_out.startswith("4 files were skipped: train/dark/")
    assert "train/dark/sound.mp4 has no video stream" in left_out
    assert few.startswith("few validation clips: they measure accuracy only to ±0.69")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_truncated_file_gives_right_frames_or_is_refused(decoder: Decoder, tmp_path: Path, suffix: str) -> None:
    file = encode(tmp_path / f"a.{suffix}", size=(128, 96))
    whole = file.read_bytes()
    for share in (0.3, 0.6, 0.9):
        file.write_bytes(whole[: int(len(whole) * share)])
        try:
            (clip,) = clips_of(decoder, file, 4, 16)
        except UnusableVideo as error:
            assert str(error)
        else:
            shown = seen(clip)
            assert shown == list(range(shown[0], shown[0] + 4))


def test_a_class_that_loses_all_its_videos_is_an_error(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        class_folders(tmp_path / "v" / split, files=1)
    (tmp_path / "v" / "train" / "light" / "0.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"train.*light.*1 files were skipped; first: train/light/0.mp4"):
        video_clips(VideoClips(tmp_path / "v", 4, 16))
    assert not list((tmp_path / "cache").glob("*/*"))


def test_a_split_without_usable_videos_is_an_error(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        class_folders(tmp_path / "v" / split, files=1)
    for name in ("dark", "light"):
        (tmp_path / "v" / "test" / name / "0.mp4").write_text("no video")
    with pytest.raises(InputError, match="test.*no usable video"):
        video_clips(VideoClips(tmp_path / "v", 4, 16))


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "v")
    outside = class_folders(tmp_path / "outside", files=1)
    (root / "dark" / "out.mp4").symlink_to(outside / "dark" / "0.mp4")
    (root / "dark" / "inside.mp4").symlink_to(root / "light" / "0.mp4")
    (root / "linked").symlink_to(outside / "light")
    (root / "dark" / "loop").symlink_to(root)
    listing = list_folder(root)
    assert listing.classes == ("dark", "light")
    assert [item.file for item in listing.skipped] == ["dark/loop", "dark/out.mp4", "linked"]
    names = [file.name for files in listing.splits.values() for file in files]
    assert "dark/inside.mp4" in names and not any("out" in name or "loop" in name for name in names)
    assert [item.file for item in video_clips(VideoClips(root, 4, 16)).skipped] == [
        "dark/loop",
        "dark/out.mp4",
        "linked",
    ]


def test_broken_links_loops_and_pipes_are_skipped(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "v")
    (root / "dark" / "broken.mp4").symlink_to(root / "nothing")
    (root / "dark" / "loop.mp4").symlink_to(root / "dark" / "loop.mp4")
    os.mkfifo(root / "dark" / "pipe.mp4")
    skipped = video_clips(VideoClips(root, 4, 16)).skipped
    assert [item.file for item in skipped] == ["dark/broken.mp4", "dark/loop.mp4", "dark/pipe.mp4"]


def test_a_playlist_under_a_videos_name_opens_no_other_file(decoder: Decoder, tmp_path: Path) -> None:
    secret = encode(tmp_path / "secret.mp4")
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {secret}\n")
    with pytest.raises(UnusableVideo):
        clips_of(decoder, playlist, 4, 16)


def test_files_are_closed(decoder: Decoder, tmp_path: Path) -> None:
    good, bad = encode(tmp_path / "a.mp4"), tmp_path / "bad.mp4"
    bad.write_text("no video")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        clips_of(decoder, good, 4, 16)
        with pytest.raises(UnusableVideo):
            clips_of(decoder, bad, 4, 16)
    assert len(os.listdir("/proc/self/fd")) == before


def bad_folders(root: Path) -> dict[str, Path]:
    (root / "file").write_bytes(b"")
    for folder in ("none", "bare/a", "flat", "partly/train/a", "partly/test/a", "few/a", "hole/a", "hole/b"):
        (root / folder).mkdir(parents=True)
    (root / "flat" / "a.mp4").touch()
    (root / "few" / "a" / "a.mp4").touch()
    (root / "partly" / "train" / "a" / "a.mp4").touch()
    for number in range(4):
        (root / "hole" / "a" / f"{number}.mp4").touch()
    for split, name in (("train", "a"), ("val", "b"), ("test", "a")):
        (root / "other" / split / name).mkdir(parents=True)
        (root / "other" / split / name / "0.mp4").touch()
    names = ("missing", "file", "none", "bare", "flat", "partly", "few", "hole", "other")
    return {name: root / name for name in names}


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("missing", "No such file or directory.*expected a folder of class folders"),
        ("file", "Not a directory.*expected a folder of class folders"),
        ("none", "one sub-folder of videos per class"),
        ("flat", "one sub-folder of videos per class"),
        ("bare", "'a' is a class folder without videos"),
        ("hole", "'b' is a class folder without videos"),
        ("partly", "must be train, validation"),
        ("few", "'validation' has no videos"),
        ("other", "'b' is not a class of train"),
    ],
)
def test_bad_folders_are_one_clear_line(tmp_path: Path, name: str, rule: str) -> None:
    folder = bad_folders(tmp_path)[name]
    with pytest.raises(InputError, match=rule) as caught:
        video_clips(VideoClips(folder, 4, 16))
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"ticks": 0},
        {"resolution": 4},
        {"frame_stride": 0},
        {"clips_per_video": 0},
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, change: dict[str, float]) -> None:
    with pytest.raises(InputError, match="video"):
        VideoClips(**{"path": tmp_path, "ticks": 4, "resolution": 16, **change})  # type: ignore[arg-type]
