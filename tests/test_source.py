"""Sources of videos: frames identified by content at any rate, lists and folders, and behaviour on unusual files."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from painted import encode_painted, painted_number

from movinet.data.video.decoder import Decoder
from movinet.data.video.folder import VideoFile
from movinet.data.video.source import Source
from movinet.data.video.timeline import Timeline, UnusableVideo, clip_numbers
from movinet.data.video.video_source import VideoSource

KINDS = {"mp4": "libx264", "webm": "libvpx-vp9", "avi": "mjpeg"}


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(2)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / "cache"))


def source_of(
    file: Path, decoder: Decoder, fps: Fraction | None = None, segment: tuple[float, float] | None = None
) -> VideoSource:
    return VideoSource(("a",), [VideoFile(file, file.name, 0, segment)], (), fps, decoder)


def shown(source: Source, numbers: Sequence[int], i: int = 0) -> list[int]:
    return [painted_number(frame) for frame in source.read(i, numbers)]


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("rate", [Fraction(12), Fraction(30000, 1001), Fraction(60)])
def test_frames_are_those_of_their_numbers(decoder: Decoder, tmp_path: Path, suffix: str, rate: Fraction) -> None:
    file = encode_painted(tmp_path / f"a.{suffix}", KINDS[suffix], [n / rate for n in range(60)], rate)
    source = source_of(file, decoder)
    assert source.frames(0) == 60
    for numbers in ([*range(60)], [*range(3, 60, 5)], [59, 0, 31, 31, 7], [58]):
        assert shown(source, numbers) == numbers


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize(("rate", "fps"), [(25, 5), (30, 10), (30, 30), (24, 5), (10, 25), (50, 25), (60, 12.5)])
def test_a_target_rate_takes_the_frame_of_each_time(
    decoder: Decoder, tmp_path: Path, suffix: str, rate: int, fps: float
) -> None:
    file = encode_painted(tmp_path / f"a.{suffix}", KINDS[suffix], [Fraction(n, rate) for n in range(60)], rate)
    source = source_of(file, decoder, Fraction(fps))
    ticks = source.frames(0)
    assert ticks == round(60 / rate * fps)
    exact = [tick / fps * rate for tick in range(ticks)]
    seen = shown(source, range(ticks))
    # The frame shown at that time, within the rounding of the container's times (1 ms, or a whole frame in AVI).
    slack = {"mp4": 0.01, "webm": 0.001 * rate, "avi": 0.5}[suffix]
    assert all(time - 1 - 1e-9 < number <= time + slack for number, time in zip(seen, exact, strict=True))
    if rate % fps == 0:
        assert seen == list(range(0, 60, int(rate // fps)))


VARIABLE = [0, 0.04, 0.08, 0.5, 0.54, 0.58, 0.62, 2.0, 2.04, 2.08]  # bursts and gaps, as in screen recordings


@pytest.mark.parametrize("suffix", ["mp4", "webm", "mkv"])
def test_a_variable_rate_is_read_by_its_timestamps(decoder: Decoder, tmp_path: Path, suffix: str) -> None:
    times = [Fraction(time).limit_denominator(1000) for time in VARIABLE]
    file = encode_painted(tmp_path / f"a.{suffix}", KINDS.get(suffix, "libx264"), times, 25)
    assert shown(source_of(file, decoder), range(10)) == list(range(10))
    source = source_of(file, decoder, Fraction(10))
    seen = shown(source, range(source.frames(0)))
    expected = [max(n for n, time in enumerate(times) if time <= Fraction(tick, 10)) for tick in range(21)]
    assert seen[:21] == expected
    assert set(seen[21:]) <= {9}  # the container determines the duration of the last frame


@pytest.mark.parametrize("fps", [None, Fraction(5)])
def test_a_segment_is_what_lies_between_its_seconds(decoder: Decoder, tmp_path: Path, fps: Fraction | None) -> None:
    file = encode_painted(tmp_path / "a.mp4", "libx264", [Fraction(n, 25) for n in range(100)], 25)
    source = source_of(file, decoder, fps, (1.0, 2.0))
    numbers = list(range(25, 50)) if fps is None else [25, 30, 35, 40, 45]
    assert source.frames(0) == len(numbers)
    assert shown(source, range(len(numbers))) == numbers
    assert source_of(file, decoder, fps, (3.0, float("inf"))).frames(0) == (25 if fps is None else 5)
    assert source_of(file, decoder, fps, (1.001, 1.002)).frames(0) == 1
    with pytest.raises(UnusableVideo, match="ends before 5 s"):
        source_of(file, decoder, fps, (5.0, 6.0)).frames(0)


def timelines() -> st.SearchStrategy[Timeline]:
    def made(gaps: list[int], start: int, unit: int) -> Timeline:
        times = start + np.cumsum([0, *gaps[:-1]])
        return Timeline(times, times[:1], Fraction(1, unit), int(times[-1]) + gaps[-1], False)

    return st.builds(
        made, st.lists(st.integers(1, 5000), min_size=1, max_size=50), st.integers(-9000, 10**12), st.integers(1, 90000)
    )


@given(timelines(), st.fractions(Fraction(1, 10), 100, max_denominator=1001))
def test_every_tick_shows_the_last_frame_that_has_begun(timeline: Timeline, fps: Fraction) -> None:
    if (timeline.end - int(timeline.times[0])) * timeline.unit * fps > 20_000:
        return
    numbers = timeline.numbers(fps)
    duration = (timeline.end - int(timeline.times[0])) * timeline.unit
    assert len(numbers) == max(1, round(float(duration * fps)))
    for tick in {0, len(numbers) // 2, len(numbers) - 1}:
        time = Fraction(tick) / fps / timeline.unit + int(timeline.times[0]) + Fraction(1, 2)
        exact = max(n for n, shown_at in enumerate(timeline.times.tolist()) if shown_at <= time)
        at = timeline.times[[exact, numbers[tick]]]
        assert numbers[tick] == exact or abs(float(at.max() - time)) < 1e-3  # a tie, in floating point
    assert (np.diff(numbers) >= 0).all()


@pytest.mark.parametrize(
    ("short_clip", "expected"), [("loop", [1, 3, 0, 2, 4, 1, 3, 0]), ("pad", [1, 3, 4, 4, 4, 4, 4, 4])]
)
def test_short_clips_loop_or_keep_their_last_frame(
    decoder: Decoder, tmp_path: Path, short_clip: str, expected: list[int]
) -> None:
    file = encode_painted(tmp_path / "a.mp4", "libx264", [Fraction(n, 25) for n in range(5)], 25)
    source = source_of(file, decoder)
    assert shown(source, clip_numbers(source.frames(0), 1, 8, 2, short_clip)) == expected


def test_a_single_frame_is_a_video(decoder: Decoder, tmp_path: Path) -> None:
    file = encode_painted(tmp_path / "a.mp4", "libx264", [Fraction(0)], 25)
    for fps in (None, Fraction(1), Fraction(30)):
        assert shown(source_of(file, decoder, fps), [0, 0]) == [0, 0]
