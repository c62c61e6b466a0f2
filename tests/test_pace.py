"""Playback pace as a label: the frames of each pace, splits by video, and a search on a folder without labels."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from movinet.data.proxy.pace import FASTEST, PACES, order, pace_folder
from movinet.data.proxy.video_clips import VideoClips
from nas.config import search_config as configs
from nas.evaluation.proxy_trainer import open_data
from search_space.base.errors import InputError

TICKS, STEP = 6, 8  # grey levels between frames
LENGTH = 24


def encode(file: Path, frames: int = LENGTH) -> None:
    """Encode a video whose frame n is grey 16 + STEP n."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 48, 32, "yuv420p", 4_000_000
        for number in range(frames):
            image = np.full((32, 48, 3), 16 + STEP * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of five videos in nested folders, and one that is too short."""
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "videos"
    for name in ("a.mp4", "b.mp4", "more/c.mp4", "more/d.mp4", "more/deep/e.mp4"):
        encode(root / name)
    encode(root / "short.mp4", FASTEST * (TICKS - 1))
    return root


@pytest.mark.parametrize("pace", PACES)
def test_a_pace_stays_within_its_piece_and_goes_both_ways(pace: str) -> None:
    rng = np.random.default_rng(0)
    first_steps = []
    for _ in range(200):
        shown = order(pace, 16, rng)
        assert shown.shape == (16,) and shown.min() >= 0 and shown.max() <= FASTEST * 15
        steps = np.diff(shown)
        first_steps.append(steps[0])
        if pace.endswith("x"):
            assert set(steps.tolist()) in ({int(pace[0])}, {-int(pace[0])})
        elif pace == "ping-pong":
            assert set(np.abs(steps).tolist()) == {1} and (np.diff(steps) != 0).sum() == 1
        else:
            assert sorted(shown - shown.min()) == list(range(16))
    assert 0.35 < np.mean(np.array(first_steps) > 0) < 0.65


def test_every_piece_becomes_a_clip_of_every_pace(folder: Path) -> None:
    data = pace_folder(VideoClips(folder, TICKS, 16, clips_per_video=2, file_type="pace"))
    assert data.classes == PACES and data.name == "pace"
    assert [item.file for item in data.skipped] == ["short.mp4"] and "takes 21" in data.skipped[0].reason
    splits = (data.train, data.validation, data.test)
    assert sum(map(len, splits)) == 5 * 2 * len(PACES)
    for split in splits:
        assert np.bincount(split.labels).tolist() == [len(split) // len(PACES)] * len(PACES)
        for clip, label in zip(split.clips, split.labels, strict=True):
            numbers = np.rint((clip.mean((1, 2, 3)) - 16) / STEP).astype(int)
            steps = set(np.abs(np.diff(numbers)).tolist())
            assert steps == {{"1x": 1, "2x": 2, "4x": 4}.get(PACES[label], 1)} or PACES[label] == "shuffled"
    again = pace_folder(VideoClips(folder, TICKS, 16, clips_per_video=2, file_type="pace"))
    assert again.content_hash == data.content_hash
    assert (
        pace_folder(VideoClips(folder, TICKS, 16, clips_per_video=2, file_type="pace"), seed=1).content_hash
        != data.content_hash
    )


def test_the_preset_lacks_the_folder_alone(folder: Path) -> None:
    config = configs.load("pace")
    assert Path(config.data.path).name == "videos" and config.space.classes == len(PACES)
    with pytest.raises(InputError, match="videos"):
        open_data(config.data, config.space)


def test_too_few_videos_are_refused(tmp_path: Path) -> None:
    encode(tmp_path / "one.mp4")
    with pytest.raises(InputError, match="has no videos"):
        pace_folder(VideoClips(tmp_path, TICKS, 16, file_type="pace"))
