"""Weights that two programs can draw alike: each variable's values from a hash of its name. Needs numpy alone.

`release_values.py` sets the release's models by it in the release's environment, the tests set ours: so a recorded
case holds its name and its logits, and no weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np

Draw = Callable[[np.random.Generator, int], np.ndarray]

# Nothing at its start value: no ReZero of 0, no norm that does nothing.
_SETTLED: dict[str, Draw] = {
    "gamma": lambda rng, n: rng.uniform(0.6, 1.4, n),
    "beta": lambda rng, n: rng.normal(0, 0.2, n),
    "mean": lambda rng, n: rng.normal(0, 0.2, n),
    "variance": lambda rng, n: rng.uniform(0.6, 1.4, n),
    "bias": lambda rng, n: rng.normal(0, 0.2, n),
    "rezero": lambda rng, n: rng.uniform(0.3, 0.8, n),
    "positional": lambda rng, n: rng.uniform(0.3, 0.8, n),
}


def generator(case: str, name: str) -> np.random.Generator:
    """The same for the same names, whatever the process."""
    digest = hashlib.sha256(f"{case}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def values(case: str, name: str, shape: Sequence[int]) -> np.ndarray:
    """float32 of `shape`. Axes of length one make no difference to the numbers, nor does the last part of `name` to
    which kind they are: `_gamma`, `_beta`, `_bias`, `_moving_mean`, `_moving_variance`, `rezero`, `positional`, else a
    kernel whose last axis is that of the outputs.
    """
    rng, count = generator(case, name), math.prod(shape)
    draw = _SETTLED.get(name.rpartition("/")[2].rpartition("_")[2])
    if draw is None:
        long = [size for size in shape if size != 1]
        drawn = rng.normal(0, 1 / math.sqrt(math.prod(long[:-1])), count)
    else:
        drawn = draw(rng, count)
    return drawn.astype(np.float32).reshape(shape)


def clips(case: str, shape: Sequence[int]) -> np.ndarray:
    """float32 `B T H W 3` in 0..1."""
    return generator(case, "clips").random(tuple(shape), np.float32)


def labels(case: str, batch: int, classes: int) -> np.ndarray:
    """int32 [B]."""
    return generator(case, "labels").integers(0, classes, batch, np.int32)
