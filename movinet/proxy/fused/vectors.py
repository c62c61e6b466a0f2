# mypy: allow-untyped-defs
"""Compiled operations on vectors, from which the loops of the fused engine are built.

Arrays are float32 and contiguous; `n` floats are one row of `W * C`.

Channel vectors are tiled over a row, as loops over a few channels would not fill a vector register. Indices are
unsigned, because numba tests signed ones for negative values, which prevents vectorisation.

numba caches a compiled function until its own file changes. After a change here, remove `__pycache__` of this folder:
the functions of other files have these compiled into them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

U = np.uintp
F = np.float32

# No assumption that values are finite: a diverged training must stay visible.
compiled: Callable[..., Any] = numba.njit(
    cache=True, fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy"
)


@compiled
def sigmoid(x):
    """Compute 1 / (1 + exp(-x)) by a rational function of tanh(x / 2), as exp does not vectorise; error below 1e-6."""
    x = max(min(x * F(0.5), F(7.905311)), F(-7.905311))
    q = x * x
    p = F(-2.76076847742355e-16) * q + F(2.00018790482477e-13)
    p = p * q + F(-8.60467152213735e-11)
    p = p * q + F(5.12229709037114e-08)
    p = p * q + F(1.48572235717979e-05)
    p = p * q + F(6.37261928875436e-04)
    p = p * q + F(4.89352455891786e-03)
    d = F(1.19825839466702e-06) * q + F(1.18534705686654e-04)
    d = d * q + F(2.26843463243900e-03)
    d = d * q + F(4.89352518554385e-03)
    return F(0.5) * x * p / d + F(0.5)


@compiled
def tile(vector, n):
    """Repeat a vector: [C] -> [n]."""
    out = np.empty(n, F)
    channels = len(vector)
    for i in range(n):
        out[i] = vector[i % channels]
    return out


@compiled
def tile_rows(rows, n):
    """Repeat each row: [R, C] -> [R * n]."""
    out = np.empty(len(rows) * n, F)
    for r in range(len(rows)):
        out[r * n : (r + 1) * n] = tile(rows[r], n)
    return out


@compiled
def fold(row, channels):
    """Sum over the pixels of a row: [n] -> [C] in float64."""
    out = np.zeros(channels)
    for i in range(len(row)):
        out[i % channels] += row[i]
    return out


@compiled
def row_sums(u, n, channels):
    """Return mean and (biased) variance by channel of u, flat rows of n."""
    rows = len(u) // n
    total, square = np.zeros(channels), np.zeros(channels)
    step = max(1, 4096 // n)
    for start in range(0, rows, step):
        a, b = np.zeros(n, F), np.zeros(n, F)
        for r in range(start, min(rows, start + step)):
            o = U(r * n)
            for i in range(U(n)):
                value = u[o + i]
                a[i] += value
                b[i] += value * value
        total += fold(a, channels)
        square += fold(b, channels)
    count = rows * n // channels
    mean = total / count
    return mean.astype(F), np.maximum(square / count - mean * mean, 0.0).astype(F)


@compiled
def centre(x, n):
    """Return x[N, C] minus its mean over rows, the mean [C], the covariance [C, C]; n: floats of a row of pixels."""
    channels = x.shape[1]
    mean, _ = row_sums(x.reshape(-1), n, channels)
    away = tile(mean, n)
    centred = np.empty_like(x)
    source, target, o = x.reshape(-1), centred.reshape(-1), U(0)
    for _ in range(x.size // n):
        for i in range(U(n)):
            target[o + i] = source[o + i] - away[i]
        o += U(n)
    return centred, mean, np.dot(centred.T, centred) / F(len(x))
