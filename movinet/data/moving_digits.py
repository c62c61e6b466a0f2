"""Moving digits in time-symmetric pairs, after Moving MNIST (Srivastava et al. 2015, arXiv 1502.04681).

A real handwritten digit (`digits.npz`: UCI optdigits, Alpaydin and Kaynak 1998) moves over a drifting texture with
pixel noise. Label = 12 motions x 3 appearance groups. The two motions of a pair show the same frames in another order,
so a network that mixes nothing across time cannot pass 50 % within a pair; the pairs differ in the temporal kernel,
receptive field and frame rate that they need. Digits are split by contiguous index, that is by writer.

Bit for bit the same on every machine: all draws, positions and bilinear weights are integers, those in the matrix
products small enough to be exact in float32; the one rounding left is elementwise.
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

from movinet.data.motions import MOTIONS, PAIRS, SIDE, Integers, Trajectory, draw, positions
from movinet.data.store import SPLITS, Dataset, Split, cache_path, write_dataset
from search_space.architecture import check_integer
from search_space.choices import check_choice
from search_space.errors import InputError

Labels = TypeVar("Labels", int, npt.NDArray[Any])
Floats = npt.NDArray[np.float32]

APPEARANCES = ("loops", "strokes", "open curves")
APPEARANCE_OF_DIGIT = (0, 1, 2, 2, 1, 2, 0, 1, 0, 0)  # {0,6,8,9} loops, {1,4,7} strokes, {2,3,5} open curves
DIGITS_OF_SPLIT = {"train": range(1078), "validation": range(1078, 1347), "test": range(1347, 1797)}

GRID = 8  # a digit and the texture have 8 x 8 cells
WEIGHT = 32  # bilinear weights are integers of 1/32
CHUNK = 36  # clips drawn from one generator; a multiple of the number of classes at every level


@dataclass(frozen=True)
class MovingDigitsConfig:
    """The first `pairs` of `PAIRS` as clips of `ticks` x `resolution` x `resolution`.

    `noise` is its sigma in grey levels, `distractors` the number of static digits in the moving one's colour.
    Raises `InputError` for a value outside its range.
    """

    pairs: int = 6
    ticks: int = 32
    resolution: int = 24
    noise: int = 12
    distractors: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("moving_digits.pairs", self.pairs, 1, len(PAIRS))
        check_integer("moving_digits.resolution", self.resolution, 8, 256)
        check_integer("moving_digits.noise", self.noise, 0, 40)
        check_integer("moving_digits.distractors", self.distractors, 0, 8)
        check_integer("moving_digits.seed", self.seed, 0, 2**32 - 1)
        # Whole cycles make the two oscillations of a pair show the same frames; the long gap needs 26 ticks.
        check_integer("moving_digits.ticks", self.ticks, 32 if self.pairs == len(PAIRS) else 16, 256)
        if self.ticks % 16:
            raise InputError("moving_digits.ticks", self.ticks, "must be a multiple of 16")
        if CHUNK % self.classes:
            raise InputError("moving_digits.pairs", self.pairs, "must be 1, 2, 3 or 6, so that classes balance")

    @property
    def classes(self) -> int:
        """Two motions a pair, each with every appearance."""
        return 2 * self.pairs * len(APPEARANCES)


@dataclass(frozen=True)
class Counts:
    """Clips per split. A larger split starts with the clips of a smaller one; the splits do not affect each other."""

    train: int = 6000
    validation: int = 2000
    test: int = 2000

    def __post_init__(self) -> None:
        for split, count in asdict(self).items():
            check_integer(f"moving_digits.counts.{split}", count, 1, 10_000_000)


TINY = MovingDigitsConfig(pairs=2, ticks=16)  # for unit tests
SHORT = MovingDigitsConfig(pairs=3, ticks=16)  # for a search's proxies: the other pairs are learned late, by luck
DEFAULT = MovingDigitsConfig()
HARD = MovingDigitsConfig(resolution=32, noise=20, distractors=1)


def level(name: str, seed: int = 0) -> MovingDigitsConfig:
    """The configuration called "tiny", "short", "default" or "hard"; raises `InputError` for another name."""
    levels = {"tiny": TINY, "short": SHORT, "default": DEFAULT, "hard": HARD}
    check_choice("moving_digits.level", name, levels)
    return MovingDigitsConfig(**{**asdict(levels[name]), "seed": seed})


def motion_of(label: Labels) -> Labels:
    """Index into `MOTIONS`."""
    return label // len(APPEARANCES)


def pair_of(label: Labels) -> Labels:
    """Index into `PAIRS`."""
    return label // (2 * len(APPEARANCES))


def appearance_of(label: Labels) -> Labels:
    """Index into `APPEARANCES`."""
    return label % len(APPEARANCES)


def moving_digits(config: MovingDigitsConfig = DEFAULT, counts: Counts | None = None) -> Dataset:
    """The dataset of `config`, rendered at about 2 000 clips/s into the cache unless it is there already."""
    sizes = asdict(counts or Counts())
    settings = {"source": "moving_digits/1", **asdict(config), "counts": sizes}
    classes = tuple(f"{motion}: {look}" for motion in MOTIONS[: 2 * config.pairs] for look in APPEARANCES)
    splits = {split: rendered(config, split, sizes[split]) for split in SPLITS}
    path = cache_path("moving-digits", settings)
    return write_dataset(path, "moving_digits", classes, config.ticks, config.resolution, settings, splits)


def rendered(config: MovingDigitsConfig, split: str, count: int) -> Iterator[Split]:
    """The first `count` clips of `split`, in chunks: uint8 `n T H W C`, any `CHUNK` of them balanced over classes."""
    digits = np.load(Path(__file__).with_name("digits.npz"))
    own = slice(DIGITS_OF_SPLIT[split].start, DIGITS_OF_SPLIT[split].stop)
    images, looks = digits["images"][own].astype(np.float32), np.array(APPEARANCE_OF_DIGIT)[digits["targets"][own]]
    for chunk, first in enumerate(range(0, count, CHUNK)):
        # A generator per split and chunk: what one draws never depends on the size of anything else.
        rng = np.random.Generator(np.random.PCG64([config.seed, SPLITS.index(split), chunk]))
        labels = rng.permutation(CHUNK).astype(np.int32) % config.classes
        draws = draw(rng, CHUNK)
        labels = labels[: count - first]
        clips = np.empty((len(labels), config.ticks, config.resolution, config.resolution, 3), np.uint8)
        for clip, label, one in zip(clips, labels.tolist(), draws, strict=False):
            digit = rng.choice(np.flatnonzero(looks == appearance_of(label)))
            others = images[rng.integers(len(images), size=config.distractors)]
            track = positions(motion_of(label), one, config.ticks)
            _render(clip, images[digit], one.size, track, others, config.noise, rng)
        yield Split(clips, labels)


@functools.cache
def _noise_of_byte(sigma: int) -> bytes:
    """256 equally likely values (int8) of a normal distribution, so that a random byte becomes noise by look-up."""
    normal = statistics.NormalDist()
    return np.array([round(sigma * normal.inv_cdf((byte + 0.5) / 256)) for byte in range(256)], np.int8).tobytes()


def _render(
    clip: npt.NDArray[np.uint8],
    digit: Floats,
    size: int,
    track: Trajectory,
    others: Floats,
    sigma: int,
    rng: np.random.Generator,
) -> None:
    """Fill `clip` (uint8 `T H W C`) with `digit` (0..16, 8x8) on its track and `others` at rest, all of one colour."""
    ticks, side = clip.shape[:2]
    pixel = (2 * np.arange(side) + 1) * SIDE // (2 * side)
    colour = rng.integers(170, 255, 3, endpoint=True)
    ground = rng.integers(30, 120, (3, 1, 1), endpoint=True) + rng.integers(-30, 30, (3, GRID, GRID), endpoint=True)
    clear = _transparency(digit, track.x, track.y, size, pixel)
    clear[track.visible == 0] = 1
    for other in others:
        x, y = rng.integers(SIDE // 5, SIDE * 4 // 5, (2, 1))
        clear *= _transparency(other, x, y, size, pixel)
    # ground + (colour - ground) * opacity = colour + (ground - colour) * transparency; all in 0..255, `T H C W`.
    picture = _texture((ground - colour[:, None, None]).astype(np.float32), ticks, pixel, rng)
    picture *= clear[:, :, None, :]
    picture += (colour[:, None] + 0.5).astype(np.float32)
    grey = picture.swapaxes(2, 3).astype(np.int16)
    grey += np.frombuffer(rng.bytes(clip.size).translate(_noise_of_byte(sigma)), np.int8).reshape(clip.shape)
    np.clip(grey, 0, 255, out=clip, casting="unsafe")


def _transparency(image: Floats, x: Integers, y: Integers, size: int, pixel: Integers) -> Floats:
    """1 where `image` (0..16), `size` wide and centred on `x`, `y` (`T`), leaves the ground free: `T H W`."""
    rows = _sprite_weights(y, size, pixel) @ image
    opacity: Floats = np.matmul(rows, _sprite_weights(x, size, pixel).swapaxes(1, 2))
    opacity *= np.float32(-1 / (16 * WEIGHT**2))
    opacity += np.float32(1)
    return opacity


def _texture(cells: Floats, ticks: int, pixel: Integers, rng: np.random.Generator) -> Floats:
    """`cells` (`C 8 8`) stretched over the frame and drifting, by up to half the side in a clip: `T H C W`."""
    start, drift = rng.integers(SIDE, size=2), rng.integers(-(SIDE // 2), SIDE // 2, 2, endpoint=True) // ticks
    shift = start[:, None] + drift[:, None] * np.arange(ticks)
    rows = _torus_weights(shift[0], pixel) @ cells.transpose(1, 0, 2).reshape(GRID, 3 * GRID)
    columns = _torus_weights(shift[1], pixel).swapaxes(1, 2)
    picture: Floats = np.matmul(rows.reshape(ticks, -1, GRID), columns)
    picture *= np.float32(1 / WEIGHT**2)
    return picture.reshape(ticks, len(pixel), 3, len(pixel))


def _sprite_weights(centre: Integers, size: int, pixel: Integers) -> Floats:
    """Bilinear weight of each of the 8 cells of an image at each pixel: integers 0..WEIGHT, `T pixels 8`."""
    distance = (pixel - centre[:, None] + SIDE // 2) % SIDE - SIDE // 2
    return _bilinear(distance * (GRID * WEIGHT) // size + (GRID - 1) * WEIGHT // 2)


def _torus_weights(shift: Integers, pixel: Integers) -> Floats:
    """The same for cells that go round the whole side."""
    place = (pixel + shift[:, None]) % SIDE * (GRID * WEIGHT) // SIDE
    weights = _bilinear(place)
    weights[..., 0] += np.maximum(0, place - (GRID - 1) * WEIGHT)  # the first cell follows the last
    return weights


def _bilinear(place: Integers) -> Floats:
    distance = np.abs(place.astype(np.float32)[..., None] - np.arange(GRID, dtype=np.float32) * WEIGHT)
    return np.maximum(np.float32(0), WEIGHT - distance)
