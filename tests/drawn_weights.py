"""Draw equal weights in two programs: a hash of a variable's name seeds its values. Requires only numpy.

`release_values.py` sets weights of Model Garden models in the environment of the Model Garden; the tests set those of
this project. A recorded case therefore contains its name and its logits, and no weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np

Draw = Callable[[np.random.Generator, int], np.ndarray]

# No variable has its initial value: no ReZero of 0, no normalization that is the identity.
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
    """Return a generator seeded by the two names, equal in every process."""
    digest = hashlib.sha256(f"{case}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def values(case: str, name: str, shape: Sequence[int]) -> np.ndarray:
    """Return float32 values of `shape`.

    Axes of length one do not change the values. Only the last part of `name` decides the kind: `_gamma`, `_beta`,
    `_bias`, `_moving_mean`, `_moving_variance`, `rezero`, `positional`, else a kernel whose last axis is that of the
    outputs.
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
    """Return float32 clips `B T H W 3` in 0..1."""
    return generator(case, "clips").random(tuple(shape), np.float32)


def labels(case: str, batch: int, classes: int) -> np.ndarray:
    """Return int32 labels [B]."""
    return generator(case, "labels").integers(0, classes, batch, np.int32)
