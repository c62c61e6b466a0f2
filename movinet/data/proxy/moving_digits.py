"""Moving digits of graded difficulty, after Moving MNIST (Srivastava et al. 2015, arXiv 1502.04681).

A real handwritten digit (`digits.npz`: UCI optdigits, Alpaydin and Kaynak 1998) moves over a drifting texture. The
label is the motion and the digit. Speed, tremor, noise, contrast, gaps (ticks at which the digit is hidden), a moving
distractor and an occluding strip are drawn per clip from easy to hard, independently of the label. So every network
starts to learn at once, and networks differ in the number of hard clips that they classify correctly. The two senses of
an axis show the same frames in the opposite order, so a network without temporal kernels cannot distinguish them.
Digits are split by contiguous index, that is by writer.

Clips are bit for bit the same on every machine: draws, positions and bilinear weights are integers, those in matrix
products small enough to be exact in float32; all rounding is elementwise.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from movinet.data.proxy.motions import (
    BAR,
    CONTRAST,
    DISTRACTOR,
    GAPS,
    MOTIONS,
    NOISE,
    SIDE,
    Draw,
    Integers,
    Trajectory,
    draw,
    graded,
    positions,
    tremors,
)
from movinet.data.store import SPLITS, Dataset, Split, cache_path, write_dataset
from search_space.base.checks import check_integer
from search_space.base.names import check_choice

Labels = TypeVar("Labels", int, npt.NDArray[Any])
Floats = npt.NDArray[np.float32]

DIGITS_OF_SPLIT = {"train": range(1078), "validation": range(1078, 1347), "test": range(1347, 1797)}

GRID = 8  # a digit and the texture have 8 x 8 cells
WEIGHT = 32  # bilinear weights are integers of 1/32
# Height of a digit over its width. In the square images of 0 and 1 edges across are 1.3 times as strong as edges along,
# and networks learned vertical motion later than horizontal motion, some not at all.
HEIGHT = 4, 5


@dataclass(frozen=True)
class MovingDigitsConfig:
    """Clips of `ticks` x `resolution` x `resolution` of the first `motions` of `MOTIONS` and the digits below `digits`.

    `difficulty` is a percentage: 0 makes all clips easy, 100 spreads them over the whole range to the hard end.
    Raises `InputError` for a value outside its range.
    """

    motions: int = 4
    digits: int = 6
    ticks: int = 16
    resolution: int = 32
    difficulty: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("moving_digits.motions", self.motions, 2, len(MOTIONS))
        check_integer("moving_digits.digits", self.digits, 1, 10)
        check_integer("moving_digits.ticks", self.ticks, 2, 256)
        check_integer("moving_digits.resolution", self.resolution, 8, 256)
        check_integer("moving_digits.difficulty", self.difficulty, 0, 100)
        check_integer("moving_digits.seed", self.seed, 0, 2**32 - 1)

    @property
    def classes(self) -> int:
        """Number of classes: every motion with every digit."""
        return self.motions * self.digits

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return tuple(f"{motion}: {digit}" for motion in MOTIONS[: self.motions] for digit in range(self.digits))


@dataclass(frozen=True)
class Counts:
    """Clips per split. A larger split starts with the clips of a smaller one; the splits do not affect each other."""

    train: int = 6000
    validation: int = 2000
    test: int = 2000

    def __post_init__(self) -> None:
        for split, count in asdict(self).items():
            check_integer(f"moving_digits.counts.{split}", count, 1, 10_000_000)


TINY = MovingDigitsConfig(digits=3, resolution=24)  # for unit tests
DEFAULT = MovingDigitsConfig()
LEVELS = {"tiny": TINY, "default": DEFAULT}


def level(name: str, seed: int = 0) -> MovingDigitsConfig:
    """Return the configuration called "tiny" or "default"; raise `InputError` for another name."""
    check_choice("moving_digits.level", name, LEVELS)
    return MovingDigitsConfig(**{**asdict(LEVELS[name]), "seed": seed})


def motion_of(label: Labels, digits: int) -> Labels:
    """Return the index into `MOTIONS`."""
    return label // digits


def digit_of(label: Labels, digits: int) -> Labels:
    """Return the digit, below `digits`."""
    return label % digits


def moving_digits(config: MovingDigitsConfig = DEFAULT, counts: Counts | None = None) -> Dataset:
    """Return the dataset of `config`; if it is not cached, render it at about 2 000 clips/s."""
    sizes = asdict(counts or Counts())
    settings = {"source": "moving_digits/4", **asdict(config), "counts": sizes}
    splits = {split: rendered(config, split, sizes[split]) for split in SPLITS}
    path = cache_path("moving-digits", settings)
    return write_dataset(path, "moving_digits", config.names, config.ticks, config.resolution, settings, splits)


def rendered(config: MovingDigitsConfig, split: str, count: int) -> Iterator[Split]:
    """Yield the first `count` clips of `split` as uint8 `n T H W C`, in chunks that hold every class once."""
    own = slice(DIGITS_OF_SPLIT[split].start, DIGITS_OF_SPLIT[split].stop)
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        images, targets = file["images"][own].astype(np.float32), file["targets"][own]
    of_digit = [images[targets == digit] for digit in range(10)]
    for chunk, first in enumerate(range(0, count, config.classes)):
        # One generator per split and chunk: draws do not depend on the size of any other split or chunk.
        rng = np.random.Generator(np.random.PCG64([config.seed, SPLITS.index(split), chunk]))
        labels, draws = rng.permutation(config.classes).astype(np.int32), draw(rng, config.classes)
        labels = labels[: count - first]
        clips = np.empty((len(labels), config.ticks, config.resolution, config.resolution, 3), np.uint8)
        for clip, label, drawn in zip(clips, labels.tolist(), draws, strict=False):
            own_digits = of_digit[digit_of(label, config.digits)]
            digit, other = own_digits[rng.integers(len(own_digits))], images[rng.integers(len(images))]
            tremor = tremors(rng, drawn, config.difficulty, config.ticks)
            track = positions(motion_of(label, config.digits), drawn, config.difficulty, tremor)
            _render(clip, digit, other, track, drawn, config, rng)
        yield Split(clips, labels)


@functools.cache
def _noise_of_byte(sigma: int) -> bytes:
    """Return 256 equally likely values (int8) of a normal distribution: noise is a look-up of random bytes."""
    normal = statistics.NormalDist()
    return np.array([round(sigma * normal.inv_cdf((byte + 0.5) / 256)) for byte in range(256)], np.int8).tobytes()


def _render(
    clip: npt.NDArray[np.uint8],
    digit: Floats,
    other: Floats,
    track: Trajectory,
    drawn: Draw,
    config: MovingDigitsConfig,
    rng: np.random.Generator,
) -> None:
    """Fill `clip` (uint8 `T H W C`) with `digit` (0..16, 8x8) on its track and `other` on another track."""
    ticks, side = clip.shape[:2]
    pixel = (2 * np.arange(side) + 1) * SIDE // (2 * side)
    colour = rng.integers(170, 255, 3, endpoint=True)
    ground = rng.integers(30, 120, (3, 1, 1), endpoint=True) + rng.integers(-20, 20, (3, GRID, GRID), endpoint=True)
    contrast, gaps, share, bar = (
        graded(values, grade, config.difficulty)
        for values, grade in (
            (CONTRAST, drawn.contrast),
            (GAPS, drawn.gaps),
            (DISTRACTOR, drawn.distractor),
            (BAR, drawn.bar),
        )
    )
    clear = _transparency(digit, track, pixel, contrast)
    clear[rng.integers(256, size=ticks) < gaps] = 1
    (apart,), motion = draw(rng, 1), int(rng.integers(len(MOTIONS)))
    path = positions(motion, apart, config.difficulty, tremors(rng, apart, config.difficulty, ticks))
    clear *= _transparency(other, path, pixel, contrast * share // 256)
    hidden = (pixel - int(rng.integers(SIDE))) % SIDE < bar
    if rng.integers(2):
        clear[:, hidden] = 1
    else:
        clear[:, :, hidden] = 1
    # ground + (colour - ground) * opacity = colour + (ground - colour) * transparency; all in 0..255, `T H C W`.
    picture = _texture((ground - colour[:, None, None]).astype(np.float32), ticks, pixel, rng)
    picture *= clear[:, :, None, :]
    picture += (colour[:, None] + 0.5).astype(np.float32)
    grey = picture.astype(np.int16)
    noise = _noise_of_byte(graded(NOISE, drawn.noise, config.difficulty))
    grey += np.frombuffer(rng.bytes(clip.size).translate(noise), np.int8).astype(np.int16).reshape(grey.shape)
    np.minimum(np.maximum(grey, 0, out=grey), 255, out=grey)
    clip[:] = grey.swapaxes(2, 3)


def _transparency(image: Floats, track: Trajectory, pixel: Integers, opacity: int) -> Floats:
    """Return 1 where `image` (0..16, at most `opacity` / 256) on its track leaves the background visible: `T H W`."""
    rows = _sprite_weights(track.y, track.size * HEIGHT[0] // HEIGHT[1], pixel) @ image
    clear: Floats = np.matmul(rows, _sprite_weights(track.x, track.size, pixel).swapaxes(1, 2))
    clear *= np.float32(-opacity / (256 * 16 * WEIGHT**2))
    clear += np.float32(1)
    return clear


def _texture(cells: Floats, ticks: int, pixel: Integers, rng: np.random.Generator) -> Floats:
    """Stretch `cells` (`C 8 8`) over the frame; they drift by up to half the side in a clip: `T H W C`."""
    start, drift = rng.integers(SIDE, size=2), rng.integers(-(SIDE // 2), SIDE // 2, 2, endpoint=True) // ticks
    shift = start[:, None] + drift[:, None] * np.arange(ticks)
    rows = _torus_weights(shift[0], pixel) @ cells.transpose(1, 0, 2).reshape(GRID, 3 * GRID)
    columns = _torus_weights(shift[1], pixel).swapaxes(1, 2)
    picture: Floats = np.matmul(rows.reshape(ticks, -1, GRID), columns)
    picture *= np.float32(1 / WEIGHT**2)
    return picture.reshape(ticks, len(pixel), 3, len(pixel))


def _sprite_weights(centre: Integers, size: Integers, pixel: Integers) -> Floats:
    """Return the bilinear weight of each of the 8 cells of an image at each pixel: integers 0..WEIGHT, `T pixels 8`."""
    distance = (pixel - centre[:, None] + SIDE // 2) % SIDE - SIDE // 2
    return _bilinear(distance * (GRID * WEIGHT) // size[:, None] + (GRID - 1) * WEIGHT // 2)


def _torus_weights(shift: Integers, pixel: Integers) -> Floats:
    """Return the same weights for cells that cover the whole side, which is a circle."""
    place = (pixel + shift[:, None]) % SIDE * (GRID * WEIGHT) // SIDE
    weights = _bilinear(place)
    weights[..., 0] += np.maximum(0, place - (GRID - 1) * WEIGHT)  # the first cell follows the last
    return weights


def _bilinear(place: Integers) -> Floats:
    distance = np.abs(place.astype(np.float32)[..., None] - np.arange(GRID, dtype=np.float32) * WEIGHT)
    return np.maximum(np.float32(0), WEIGHT - distance)
