"""Motions of a digit on a torus and the difficulty of a clip, as integer arithmetic on uniform draws.

A digit moves horizontally or vertically, in one of two senses. Each axis is a circle, so a clip played backwards is a
clip of the opposite sense: a network that mixes nothing across time cannot tell the two senses apart. Speeds are
log-uniform, and the digit trembles about its path. Slow and trembling clips need long temporal kernels and many frames,
fast ones a high frame rate or large spatial kernels. No speed reaches 1/8 of the circle per tick, above which a digit
seems to move backwards at frame stride 4, so that clips at that stride contradict each other.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

MOTIONS = ("left", "right", "up", "down")

SIDE = 1 << 16  # units of position: one side of the frame, which is a torus
GRADES = 1 << 8  # number of values of a graded draw
SMALLEST, LARGEST = SIDE * 50 // 100, SIDE * 90 // 100  # sizes of the digit


class Range(NamedTuple):
    """A property of clips, from its easy to its hard end; values in between are log-uniform."""

    easy: int
    hard: int


SLOW, FAST = Range(SIDE // 14, SIDE // 126), Range(SIDE // 14, SIDE // 10)  # of the circle per tick
TREMOR = Range(SIDE // 256, SIDE // 7)  # at most this far from the straight path at a tick
NOISE = Range(3, 16)  # sigma in grey levels
CONTRAST = Range(256, 112)  # opacity of the digit, in 1/256
GAPS = Range(4, 96)  # probability that the digit is hidden at a tick, in 1/256
DISTRACTOR = Range(16, 96)  # opacity of another digit, as a share of the first one's, in 1/256
BAR = Range(SIDE // 40, SIDE // 5)  # width of a strip that hides the digits


class Draw(NamedTuple):
    """Random values of one clip: position and size of the digit in 1/SIDE of their ranges, difficulties in 1/GRADES."""

    x: int
    y: int
    size: int
    speed: int
    tremor: int
    noise: int
    contrast: int
    gaps: int
    distractor: int
    bar: int


_MOST = Draw(SIDE, SIDE, SIDE, *[GRADES] * 7)


def draw(rng: np.random.Generator, count: int) -> list[Draw]:
    """Draw `count` clips, every field uniform and independent."""
    return [Draw(*row) for row in rng.integers(_MOST, size=(count, len(_MOST))).tolist()]


def graded(values: Range, grade: int, difficulty: int) -> int:
    """Return the value at `grade` of `GRADES`; `difficulty` is the percentage of the range that is used."""
    return _graded(values, difficulty)[grade]


def speed(grade: int, difficulty: int) -> int:
    """Return the speed in 1/SIDE per tick: slow for the lower half of the grades, fast for the upper."""
    slower, distance = grade < GRADES // 2, abs(2 * grade - GRADES + 1)
    return graded(SLOW if slower else FAST, distance, difficulty)


@functools.cache
def _graded(values: Range, difficulty: int) -> list[int]:
    ratio = values.hard / values.easy
    return [round(values.easy * ratio ** (grade * difficulty / (100 * (GRADES - 1)))) for grade in range(GRADES)]


class Trajectory(NamedTuple):
    """Centre of a digit at each tick, int64 `T`, and its size, int64 `1`; in 1/SIDE."""

    x: Integers
    y: Integers
    size: Integers


def tremors(rng: np.random.Generator, drawn: Draw, difficulty: int, ticks: int) -> Integers:
    """Draw the offset of the digit from its straight path at each tick, horizontal and vertical: `2 T`, in 1/SIDE."""
    most = graded(TREMOR, drawn.tremor, difficulty)
    return rng.integers(-most, most, (2, ticks), endpoint=True)


def positions(motion: int, drawn: Draw, difficulty: int, tremor: Integers) -> Trajectory:
    """Return the path of `MOTIONS[motion]`, a pure function of `drawn` and `tremor` (`2 T`, from `tremors`)."""
    axis, forwards = divmod(motion, 2)
    places = tremor + np.array([[drawn.x], [drawn.y]])
    places[axis] += (2 * forwards - 1) * speed(drawn.speed, difficulty) * np.arange(tremor.shape[1])
    x, y = places % SIDE
    return Trajectory(x, y, np.array([SMALLEST + (LARGEST - SMALLEST) * drawn.size // SIDE]))
