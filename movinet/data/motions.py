"""Motions of a digit on a torus and the difficulty of a clip, as integer arithmetic on uniform draws.

A digit moves along one of three axes, horizontally, vertically or in size, in one of two senses. Each axis is a circle,
so a clip played backwards is a clip of the opposite sense: a network that mixes nothing across time cannot tell the two
senses apart. Speeds are log-uniform. Slow clips need long temporal kernels or many frames, fast ones the full frame
rate and large spatial kernels: above 1/4 of the circle per tick a digit seems to move backwards at frame stride 2,
above 1/8 at frame stride 4.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

MOTIONS = ("left", "right", "up", "down", "shrinking", "growing")

SIDE = 1 << 16  # units of position: one side of the frame, which is a torus
GRADES = 1 << 8  # values of a graded draw
SMALLEST, LARGEST = SIDE * 50 // 100, SIDE * 90 // 100  # sizes of the digit


class Range(NamedTuple):
    """A property of clips from its easy to its hard end; values in between are log-uniform."""

    easy: int
    hard: int


SLOW, FAST = Range(SIDE // 14, SIDE // 96), Range(SIDE // 14, SIDE // 3)  # of the circle per tick
NOISE = Range(3, 30)  # sigma in grey levels
CONTRAST = Range(256, 96)  # opacity of the digit, in 1/256
GAPS = Range(4, 128)  # probability that the digit is not seen at a tick, in 1/256
DISTRACTOR = Range(16, 160)  # opacity of another digit, as a share of the first one's, in 1/256
BAR = Range(SIDE // 40, SIDE * 2 // 5)  # width of a strip that hides the digits


class Draw(NamedTuple):
    """Random values of one clip: places on the three circles in 1/SIDE, and difficulties in 1/GRADES."""

    x: int
    y: int
    z: int
    speed: int
    noise: int
    contrast: int
    gaps: int
    distractor: int
    bar: int


_MOST = Draw(SIDE, SIDE, SIDE, *[GRADES] * 6)


def draw(rng: np.random.Generator, count: int) -> list[Draw]:
    """Draw `count` clips, every field uniform and independent."""
    return [Draw(*row) for row in rng.integers(_MOST, size=(count, len(_MOST))).tolist()]


def graded(values: Range, grade: int, difficulty: int) -> int:
    """Return the value at `grade` of `GRADES`, where `difficulty` percent of the way to the hard end is the most."""
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
    """Centre and size of a digit in 1/SIDE at each tick: int64 `T`."""

    x: Integers
    y: Integers
    size: Integers


def positions(motion: int, drawn: Draw, difficulty: int, ticks: int) -> Trajectory:
    """Return the path of `MOTIONS[motion]`, a pure function of what was drawn."""
    axis, forwards = divmod(motion, 2)
    places = np.repeat(np.array([[drawn.x], [drawn.y], [drawn.z]]), ticks, axis=1)
    places[axis] += (2 * forwards - 1) * speed(drawn.speed, difficulty) * np.arange(ticks)
    x, y, z = places % SIDE
    return Trajectory(x, y, SMALLEST + (LARGEST - SMALLEST) * z // SIDE)
