"""Moving digits as video files: the frames read are the frames written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from movinet.data.proxy.moving_digits import TINY, motion_of, rendered
from movinet.data.proxy.sample_videos import write_class_folders, write_video
from movinet.data.video.source import open_source
from search_space.base.errors import InputError


def test_class_folders_are_read_as_they_were_made(tmp_path: Path) -> None:
    names = write_class_folders(tmp_path / "videos", 36)
    source = open_source("video_folder", tmp_path / "videos", split="all")
    assert source.classes == names == ("down", "left", "right", "up")
    assert np.bincount(source.labels).tolist() == [9, 9, 9, 9]
    (made, *_) = rendered(TINY, "train", 36)
    place = [source.name(i) for i in range(len(source))]
    motions = ("left", "right", "up", "down")
    i = place.index(f"{motions[motion_of(int(made.labels[7]), TINY.digits)]}/0007.mp4")
    assert source.frames(i) == TINY.ticks
    read = source.read(i, range(TINY.ticks)).astype(int)
    assert read.shape == made.clips[7].shape
    assert np.abs(read - made.clips[7]).mean() < 12  # colours are shared by 2 x 2 pixels


@pytest.mark.parametrize(
    "clip", [np.zeros((4, 8, 8, 3)), np.zeros((4, 8, 8), np.uint8), np.zeros((4, 8, 7, 3), np.uint8)]
)
def test_a_clip_of_another_form_is_refused(tmp_path: Path, clip: np.ndarray) -> None:
    with pytest.raises(InputError, match="even height and width"):
        write_video(tmp_path / "a.mp4", clip)


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="prevented writing"):
        write_video(tmp_path, np.zeros((2, 16, 16, 3), np.uint8))
    with pytest.raises(InputError, match="prevented writing"):
        write_class_folders(tmp_path / "file", 4)
