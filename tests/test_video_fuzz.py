"""Damaged videos of every common kind: each gives frames or an error; no hang, no memory growth."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from painted import encode_painted

from movinet.data.video.decoder import Decoder
from movinet.data.video.folder import VideoFile
from movinet.data.video.timeline import UnusableVideo, clip_numbers
from movinet.data.video.video_source import VideoSource

KINDS = (
    ("mp4", "libx264"),
    ("mkv", "libx264"),
    ("webm", "libvpx-vp9"),
    ("avi", "mjpeg"),
    ("mpg", "mpeg2video"),
    ("ts", "libx264"),
    ("flv", "flv1"),
    ("mov", "mpeg4"),
)
MEMORY = 400 << 10  # kB; an undamaged file takes a quarter


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Cut the file, or flip bits: anywhere, or at either end, where headers and tables are."""
    if rng.random() < 0.3:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 5, 20, 100))):
        ends = min(len(data), 1500)
        place = rng.choice((rng.randrange(len(data)), rng.randrange(ends), len(data) - 1 - rng.randrange(ends)))
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def outcome(source: VideoSource) -> str:
    try:
        count = source.frames(0)
        frames = source.read(0, clip_numbers(count, count // 3, 8, 2), 32)
    except UnusableVideo as error:
        assert str(error) and "\n" not in str(error)
        return str(error)
    assert frames.dtype == np.uint8 and frames.shape[0] == 8 and frames.shape[3] == 3 and min(frames.shape[1:3]) == 32
    return "frames"


def fuzz(folder: Path, first: int, count: int) -> dict[str, int]:
    """Count the outcomes of damage number `first` and the following ones."""
    decoder = Decoder(1)
    whole = [
        encode_painted(folder / f"whole.{suffix}", codec, [Fraction(n, 25) for n in range(30)], 25).read_bytes()
        for suffix, codec in KINDS
    ]
    outcomes: dict[str, int] = {}
    for number in range(first, first + count):
        suffix, _ = KINDS[number % len(KINDS)]
        file = folder / f"{number}.{suffix}"
        file.write_bytes(damaged(whole[number % len(KINDS)], random.Random(number)))
        rate = None if number % 3 else Fraction(10)
        result = outcome(VideoSource(("a",), [VideoFile(file, file.name, 0)], (), rate, decoder))
        assert "crash" not in result and "too long" not in result, file
        outcomes[result] = outcomes.get(result, 0) + 1
        file.unlink()
    status = Path(f"/proc/{decoder._idle[0]._process.pid}/status").read_text()
    assert int(status.split("VmHWM:")[1].split()[0]) < MEMORY
    decoder.close()
    return outcomes


def test_damaged_videos_of_every_kind(tmp_path: Path) -> None:
    outcomes = fuzz(tmp_path, 0, 120)
    assert outcomes.pop("frames") > 40 and sum(outcomes.values()) > 20, outcomes


@pytest.mark.slow
def test_many_more_damaged_videos(tmp_path: Path) -> None:
    print(fuzz(tmp_path, 120, 20_000))
