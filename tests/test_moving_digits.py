"""The embedded task: determinism, balance, splits by writer, and the symmetries that make it need time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from movinet.data.motions import LEAST, MOST, MOTIONS, PAIRS, SIDE, TURN, Draw, Trajectory, draw, positions
from movinet.data.moving_digits import (
    APPEARANCE_OF_DIGIT,
    APPEARANCES,
    CHUNK,
    DEFAULT,
    DIGITS_OF_SPLIT,
    HARD,
    TINY,
    Counts,
    MovingDigitsConfig,
    appearance_of,
    level,
    motion_of,
    moving_digits,
    pair_of,
    rendered,
)
from movinet.data.store import SPLITS, Split, content_sha256
from search_space.errors import InputError

TICKS = DEFAULT.ticks
DRIFT, ORBIT, VERTICAL, HORIZONTAL, SHORT_GAP, LONG_GAP = range(0, 12, 2)  # the first motion of each pair

draws = st.builds(Draw, *[st.integers(low, high) for low, high in zip(LEAST, MOST, strict=True)])
symmetry = settings(max_examples=50, deadline=None)


def whole(config: MovingDigitsConfig, split: str, count: int) -> Split:
    pieces = list(rendered(config, split, count))
    return Split(np.concatenate([p.clips for p in pieces]), np.concatenate([p.labels for p in pieces]))


def frames(path: Trajectory) -> list[tuple[int, ...]]:
    """What each tick shows, as values: an unseen digit's place does not matter."""
    shown = np.stack([path.x * path.visible, path.y * path.visible, path.visible], 1)
    return [tuple(frame) for frame in shown.tolist()]


# Content.

# sha256 of 72, 40, 40 clips. If one changes, every recorded accuracy on the task is of other data: raise the version
# in the settings' "source" and say so in the change's message.
PINNED = {
    "tiny": "0619c622a460b8af518ea3eba766452640c1053d4902b9e89e33a8599fa5e7e3",
    "short": "64d42b3276eb8d134a09b788cefbba70db25baeba3bc73e8c663684f76c80fee",
    "default": "53f25e4cc8cca5256ddade7b5cf826faad89fddc4ab6407d5d0edb59f4d5ae5d",
    "hard": "6cc570b7dd9329affddbd06510464c71f6e2540cae17341f721551784d31510a",
}


@pytest.mark.parametrize("name", PINNED)
def test_content_is_bit_for_bit_the_same(name: str) -> None:
    config = level(name)
    splits = [whole(config, split, count) for split, count in zip(SPLITS, (72, 40, 40), strict=True)]
    assert content_sha256(splits) == PINNED[name]


def test_another_seed_is_another_dataset() -> None:
    one, two = whole(TINY, "train", 36), whole(level("tiny", seed=1), "train", 36)
    assert not np.array_equal(one.clips, two.clips)


def test_the_splits_are_different_streams() -> None:
    clips = [whole(TINY, split, 36).clips for split in SPLITS]
    assert not np.array_equal(clips[0], clips[1]) and not np.array_equal(clips[1], clips[2])


@pytest.mark.parametrize("count", [1, 35, 36, 37, 80])
def test_a_larger_set_starts_with_the_smaller(count: int) -> None:
    small, large = whole(TINY, "validation", count), whole(TINY, "validation", 100)
    np.testing.assert_array_equal(small.clips, large.clips[:count])
    np.testing.assert_array_equal(small.labels, large.labels[:count])


@pytest.mark.parametrize(("config", "classes"), [(TINY, 12), (DEFAULT, 36), (HARD, 36)])
def test_shape_and_balance(config: MovingDigitsConfig, classes: int) -> None:
    split = whole(config, "train", 2 * CHUNK)
    assert split.clips.shape == (2 * CHUNK, config.ticks, config.resolution, config.resolution, 3)
    for chunk in (split.labels[:CHUNK], split.labels[CHUNK:]):
        assert np.bincount(chunk).tolist() == [CHUNK // classes] * classes
    assert not np.array_equal(split.labels[:CHUNK], split.labels[CHUNK:])


def test_grey_levels_are_spread_and_noise_is_as_asked() -> None:
    """The draws do not depend on the noise, so two levels of it differ by noise alone, where nothing is clipped."""
    quiet, loud = (whole(replace(TINY, noise=noise), "train", 36).clips.astype(float) for noise in (0, 20))
    added = (loud - quiet)[(quiet > 80) & (quiet < 170)]
    assert abs(added.mean()) < 0.1 and abs(added.std() - 20) < 0.5
    assert quiet.min() < 40 and quiet.max() > 220


@pytest.mark.parametrize("distractors", [0, 1])
def test_distractors_are_seen_and_do_not_move(distractors: int) -> None:
    """While the digit is unseen, only a distractor is brighter than the ground ever is (120 + 30)."""
    split = whole(replace(HARD, noise=0, distractors=distractors), "train", CHUNK)
    rng = np.random.Generator(np.random.PCG64([0, 0, 0]))
    labels = rng.permutation(CHUNK)
    for clip, label, one in zip(split.clips, labels.tolist(), draw(rng, CHUNK), strict=True):
        bright = (clip > 151).all(3)[positions(motion_of(label), one, TICKS).visible == 0]
        if len(bright):
            assert bright.any() == bool(distractors)
            stays = bright.all(0).sum() / max(1, bright.any(0).sum())
            assert not distractors or stays > 0.6  # the drifting ground changes its faint edges


# Labels.


def test_labels_are_motion_by_appearance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path))
    dataset = moving_digits(replace(DEFAULT, resolution=8), Counts(36, 1, 1))
    assert len(dataset.classes) == 36 == len(MOTIONS) * len(APPEARANCES)
    for label, name in enumerate(dataset.classes):
        assert name == f"{MOTIONS[motion_of(label)]}: {APPEARANCES[appearance_of(label)]}"
    labels = np.arange(36)
    assert np.bincount(pair_of(labels)).tolist() == [6] * len(PAIRS)
    np.testing.assert_array_equal(motion_of(labels) // 2, pair_of(labels))
    np.testing.assert_array_equal(motion_of(labels) * 3 + appearance_of(labels), labels)


def test_splits_share_no_digit_and_every_look_is_in_each() -> None:
    used = [set(DIGITS_OF_SPLIT[split]) for split in SPLITS]
    assert sorted(index for indices in used for index in indices) == list(range(1797))
    targets = np.load(Path(sys.modules["movinet.data"].__path__[0]) / "digits.npz")["targets"]
    for indices in used:
        assert {APPEARANCE_OF_DIGIT[target] for target in targets[sorted(indices)]} == {0, 1, 2}


def test_digits_are_those_of_scikit_learn() -> None:
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    own = np.load(Path(sys.modules["movinet.data"].__path__[0]) / "digits.npz")
    np.testing.assert_array_equal(own["images"], digits.images)
    np.testing.assert_array_equal(own["targets"], digits.target)


# Motions: the two of a pair show the same frames in another order.


@symmetry
@given(draws)
def test_drift_played_backwards_is_its_partner(drawn: Draw) -> None:
    there = positions(DRIFT, drawn, TICKS)
    back = positions(DRIFT + 1, drawn._replace(x=int(there.x[-1])), TICKS)
    assert frames(there)[::-1] == frames(back)


@symmetry
@given(draws)
def test_orbit_played_backwards_is_its_partner(drawn: Draw) -> None:
    there = positions(ORBIT, drawn, TICKS)
    back = positions(ORBIT + 1, drawn._replace(phase=(drawn.phase - drawn.turn * (TICKS - 1)) % TURN), TICKS)
    assert frames(there)[::-1] == frames(back)


@symmetry
@given(draws, st.sampled_from([VERTICAL, HORIZONTAL]), st.sampled_from([16, 32, 64]))
def test_oscillations_of_a_pair_show_the_same_frames(drawn: Draw, motion: int, ticks: int) -> None:
    slow, fast = (frames(positions(motion + second, drawn, ticks)) for second in (0, 1))
    assert sorted(slow) == sorted(fast)


@symmetry
@given(draws, st.sampled_from([(VERTICAL, 4), (HORIZONTAL, 2)]), st.integers(0, 3))
def test_oscillations_of_a_pair_coincide_at_a_coarse_stride(drawn: Draw, case: tuple[int, int], offset: int) -> None:
    """With the phase mirrored (and as phases are uniform, both are drawn equally often), for any first tick."""
    motion, stride = case
    offset %= stride
    rate = TURN // 16 if motion == VERTICAL else TURN // 8
    start = drawn.phase + rate * offset  # the phase of the first tick that is seen
    mirrored = drawn._replace(phase=(TURN // 2 - start - 3 * rate * offset) % TURN)
    slow = frames(positions(motion, drawn, TICKS))[offset::stride]
    fast = frames(positions(motion + 1, mirrored, TICKS))[offset::stride]
    assert slow == fast


@pytest.mark.parametrize(("motion", "stride"), [(VERTICAL, 2), (HORIZONTAL, 1)])
def test_oscillations_differ_at_the_finer_stride(motion: int, stride: int) -> None:
    """No phase of the partner gives the same positions, so the label can be told."""
    drawn = draw(np.random.default_rng(0), 1)[0]
    slow = frames(positions(motion, drawn, TICKS))[::stride]
    others = (positions(motion + 1, drawn._replace(phase=phase), TICKS) for phase in range(TURN))
    assert all(frames(other)[::stride] != slow for other in others)


@symmetry
@given(draws, st.sampled_from([SHORT_GAP, LONG_GAP]))
def test_two_places_played_backwards_are_the_partner(drawn: Draw, motion: int) -> None:
    gap = drawn.short_gap if motion == SHORT_GAP else drawn.long_gap
    spare = TICKS - 2 * drawn.visible - gap
    mirrored = spare - drawn.start * (spare + 1) // SIDE
    back = drawn._replace(start=-(-mirrored * SIDE // (spare + 1)))
    there = frames(positions(motion, drawn, TICKS))
    assert there[::-1] == frames(positions(motion + 1, back, TICKS))
    assert sum(visible for _, _, visible in there) == 2 * drawn.visible
    seen = np.flatnonzero([visible for _, _, visible in there])
    assert np.diff(seen).max() == gap + 1


@symmetry
@given(draws, st.sampled_from(range(12)))
def test_every_motion_stays_on_the_frame_and_is_seen(drawn: Draw, motion: int) -> None:
    """Positions stay on the frame, and every motion shows its digit at some tick."""
    path = positions(motion, drawn, TICKS)
    for values in (path.x, path.y):
        assert values.shape == (TICKS,) and values.min() >= 0 and values.max() < SIDE
    assert path.visible.sum() > 0 and set(path.visible.tolist()) <= {0, 1}


def test_directions_are_what_their_names_say() -> None:
    drawn = draw(np.random.default_rng(0), 1)[0]._replace(x=SIDE // 2, y=SIDE // 2, phase=0)
    assert np.diff(positions(DRIFT, drawn, 4).x).max() < 0 < np.diff(positions(DRIFT + 1, drawn, 4).x).min()
    # At phase 0 the digit is at the right; y grows downwards, so clockwise moves down first.
    assert positions(ORBIT, drawn, 4).y[1] < positions(ORBIT, drawn, 4).y[0] < positions(ORBIT + 1, drawn, 4).y[1]
    for motion, axis, first in ((SHORT_GAP, 0, -1), (SHORT_GAP + 1, 0, 1), (LONG_GAP, 1, -1), (LONG_GAP + 1, 1, 1)):
        path = positions(motion, drawn, TICKS)
        seen = np.flatnonzero(path.visible)
        assert np.sign(path[axis][seen[0]] - path[axis][seen[-1]]) == first


def test_the_rendered_digit_is_where_the_trajectory_says() -> None:
    """Brightness above the ground, at rest and without noise, has its centre of mass on the path (drift wraps)."""
    clips = whole(replace(DEFAULT, noise=0, resolution=64), "train", CHUNK)
    draws_of_chunk = np.random.Generator(np.random.PCG64([0, 0, 0]))
    labels = draws_of_chunk.permutation(CHUNK) % 36
    np.testing.assert_array_equal(labels, clips.labels)
    errors = []
    for clip, label, one in zip(clips.clips, labels.tolist(), draw(draws_of_chunk, CHUNK), strict=True):
        if pair_of(label) == 2:
            path = positions(motion_of(label), one, TICKS)
            rows = (clip.min(3) > np.percentile(clip.min(3), 97)).sum(2)  # T H
            centre = (rows * np.arange(64)).sum(1) / rows.sum(1)
            errors.append(np.corrcoef(centre, path.y)[0, 1])
    assert len(errors) == 6 and min(errors) > 0.95


# The cache and the settings.


def test_generated_once_then_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path))
    first = moving_digits(TINY, Counts(40, 12, 12))
    made = (first.path / "dataset.json").stat().st_mtime_ns
    again = moving_digits(TINY, Counts(40, 12, 12))
    assert (again.path / "dataset.json").stat().st_mtime_ns == made
    assert isinstance(again.train.clips, np.memmap) and again.content_hash == first.content_hash
    assert moving_digits(level("tiny", seed=1), Counts(40, 12, 12)).path != first.path
    larger = moving_digits(TINY, Counts(80, 12, 12))
    np.testing.assert_array_equal(larger.train.clips[:40], first.train.clips)
    np.testing.assert_array_equal(larger.test.clips, first.test.clips)


@pytest.mark.parametrize(
    "change",
    [
        {"pairs": 0},
        {"pairs": 4},
        {"pairs": 7},
        {"ticks": 16},
        {"ticks": 40},
        {"resolution": 4},
        {"noise": -1},
        {"noise": 1.5},
        {"distractors": 9},
        {"seed": -1},
    ],
)
def test_bad_settings_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(InputError, match="moving_digits"):
        MovingDigitsConfig(**change)


def test_bad_level_and_counts_are_refused() -> None:
    with pytest.raises(InputError, match="'easy' must be one of tiny, short, default, hard"):
        level("easy")
    with pytest.raises(InputError, match="counts.test: 0"):
        Counts(test=0)


def test_nothing_here_imports_tensorflow() -> None:
    code = "import sys, movinet.data.moving_digits, movinet.data.video; print('tensorflow' in sys.modules)"
    root = Path(sys.modules["movinet.data"].__path__[0]).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout == "False\n"
