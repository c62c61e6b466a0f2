"""The motions of moving digits: six time-symmetric pairs, as pure integer arithmetic on what was drawn.

The two motions of a pair show the same frames in another order. What each pair probes: drift, any temporal kernel;
orbit, direction by position, so depth; vertical oscillation, a frame stride of at most 2; horizontal, the full rate;
the two places, a receptive field of 8 to 14 ticks with the short gap and of 17 to 26 with the long one.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

PAIRS = ("drift", "orbit", "vertical oscillation", "horizontal oscillation", "short gap", "long gap")
MOTIONS = (
    "drift left",
    "drift right",
    "orbit counter-clockwise",
    "orbit clockwise",
    "vertical oscillation, 1/16 cycle a tick",
    "vertical oscillation, 3/16 cycle a tick",
    "horizontal oscillation, 1/8 cycle a tick",
    "horizontal oscillation, 3/8 cycle a tick",
    "left, short gap, right",
    "right, short gap, left",
    "top, long gap, bottom",
    "bottom, long gap, top",
)

SIDE = 1 << 16  # units of position: one side of the frame, which is a torus
TURN = 1 << 12  # units of phase: one cycle


class Draw(NamedTuple):
    """What is drawn for one clip's motion, whichever it is."""

    x: int  # in 1/SIDE, as all lengths
    y: int
    start: int  # share of the spare ticks that pass before the digit first appears, in 1/SIDE
    phase: int  # in 1/TURN
    drift: int  # a tick
    turn: int  # in 1/TURN a tick
    radius: int
    amplitude: int
    visible: int  # ticks at each of the two places
    short_gap: int  # ticks between them
    long_gap: int
    size: int  # of the digit


LEAST = Draw(
    x=0,
    y=0,
    start=0,
    phase=0,
    drift=SIDE // 40,
    turn=TURN // 28,
    radius=SIDE * 18 // 100,
    amplitude=SIDE * 15 // 100,
    visible=4,
    short_gap=2,
    long_gap=9,
    size=SIDE * 36 // 100,
)
MOST = Draw(
    x=SIDE - 1,
    y=SIDE - 1,
    start=SIDE - 1,
    phase=TURN - 1,
    drift=SIDE // 18,
    turn=TURN // 18,
    radius=SIDE * 27 // 100,
    amplitude=SIDE * 25 // 100,
    visible=6,
    short_gap=4,
    long_gap=14,
    size=SIDE * 46 // 100,
)


def draw(rng: np.random.Generator, count: int) -> list[Draw]:
    """`count` independent draws, each field uniform from `LEAST` to `MOST`."""
    return [Draw(*row) for row in rng.integers(LEAST, MOST, (count, len(LEAST)), endpoint=True).tolist()]


class Trajectory(NamedTuple):
    """The digit's centre in 1/SIDE (the frame is a torus) and whether it is seen, at each tick: int64 `T`."""

    x: Integers
    y: Integers
    visible: Integers


def positions(motion: int, drawn: Draw, ticks: int) -> Trajectory:
    """The path of `MOTIONS[motion]`, a pure function of what was drawn."""
    pair, second = divmod(motion, 2)
    tick = np.arange(ticks)
    x, y, visible = (_drift, _orbit, _vertical, _horizontal, _short_gap, _long_gap)[pair](drawn, 2 * second - 1, tick)
    still = np.zeros_like(tick)
    return Trajectory((x + still) % SIDE, (y + still) % SIDE, visible + still)


Track = tuple[Integers | int, Integers | int, Integers | int]


def _drift(drawn: Draw, sign: int, tick: Integers) -> Track:
    return drawn.x + sign * drawn.drift * tick, _middle(drawn.y, 50), 1


def _orbit(drawn: Draw, sign: int, tick: Integers) -> Track:
    phase = drawn.phase + sign * drawn.turn * tick
    x, y = _swing(drawn.radius, phase + TURN // 4), _swing(drawn.radius, phase)
    return _middle(drawn.x, 10) + x, _middle(drawn.y, 10) + y, 1


def _vertical(drawn: Draw, sign: int, tick: Integers) -> Track:
    rate = (2 + sign) * TURN // 16  # identical at frame stride 4, where 3/16 is -1/16 of a cycle a tick
    return _middle(drawn.x, 50), SIDE // 2 + _swing(drawn.amplitude, drawn.phase + rate * tick), 1


def _horizontal(drawn: Draw, sign: int, tick: Integers) -> Track:
    rate = (2 + sign) * TURN // 8  # identical at frame stride 2
    return SIDE // 2 + _swing(drawn.amplitude, drawn.phase + rate * tick), _middle(drawn.y, 50), 1


def _short_gap(drawn: Draw, sign: int, tick: Integers) -> Track:
    offset, visible = _two_places(drawn, sign, tick, drawn.short_gap)
    return _middle(drawn.x, 6) + offset, _middle(drawn.y, 40), visible


def _long_gap(drawn: Draw, sign: int, tick: Integers) -> Track:
    offset, visible = _two_places(drawn, sign, tick, drawn.long_gap)
    return _middle(drawn.x, 40), _middle(drawn.y, 6) + offset, visible


def _two_places(drawn: Draw, sign: int, tick: Integers, gap: int) -> tuple[Integers, Integers]:
    """Seen at one place, unseen for `gap` ticks, seen at the other."""
    spare = len(tick) - 2 * drawn.visible - gap
    since = tick - (drawn.start * (spare + 1) // SIDE)
    later = since - drawn.visible - gap
    first, last = (since >= 0) & (since < drawn.visible), (later >= 0) & (later < drawn.visible)
    return np.where(last, -sign, sign) * (SIDE * 22 // 100), (first | last).astype(np.int64)


def _middle(drawn: int, percent: int) -> int:
    """A draw from 0..SIDE moved into the middle `percent` of the side."""
    return SIDE // 2 + (drawn - SIDE // 2) * percent // 100


def _swing(amplitude: int, phase: Integers) -> Integers:
    return amplitude * _sine()[phase % TURN] // SIDE


@functools.cache
def _sine() -> Integers:
    return np.array([round(SIDE * math.sin(2 * math.pi * phase / TURN)) for phase in range(TURN)])
