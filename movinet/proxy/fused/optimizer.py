# mypy: allow-untyped-defs
"""The optimiser of the fused engine: Muon for kernels, AdamW for other weights (`movinet.proxy.recipe`).

Weights, moments and gradients are flat float32 vectors of a whole network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from movinet.model.specs import Weight
from movinet.proxy.fused.vectors import F, U, compiled
from movinet.proxy.recipe import ADAM_SHARE, BETA1, BETA2, EPSILON, NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS, NOISE_SHARE


def places(weights: Iterable[Weight]) -> np.ndarray:
    """Return int64 [weights, 4]: size; rows and columns as a matrix, 0 rows for AdamW; 1 if weight decay applies."""
    return np.array([
        (size, size // w.shape[-1] * w.orthogonal, w.shape[-1], w.decayed)
        for w in weights
        for size in [math.prod(w.shape)]
    ])  # fmt: skip


@compiled
def step(weights, first, second, gradient, places, rate, power1, power2, decay):
    """One step of the flat weights by Muon and AdamW; power1 and power2 are beta1^t and beta2^t.

    `places` covers all arrays, in their order in the flat vectors.
    """
    adam = F(rate * ADAM_SHARE * np.sqrt(1 - power2) / (1 - power1))
    epsilon = F(EPSILON * np.sqrt(1 - power2))
    start = U(0)
    for size, rows, columns, decayed in places:
        stop = start + U(size)
        shrink = F(rate * decay * decayed)
        for i in range(start, stop):
            weights[i] -= weights[i] * shrink
            first[i] += (gradient[i] - first[i]) * F(1 - BETA1)
            second[i] += (gradient[i] * gradient[i] - second[i]) * F(1 - BETA2)
        if rows:
            ahead = np.empty(size, F)
            along, past = F(0), F(0)
            for i in range(start, stop):
                ahead[i - start] = first[i] * F(BETA1) + gradient[i] * F(1 - BETA1)
                along += ahead[i - start] * ahead[i - start]
                past += second[i]
            orthogonal = orthogonalised(ahead.reshape(rows, columns)).reshape(-1)
            noise = F(NOISE_SHARE * (1 - power1)) * np.sqrt(past / F(1 - power2)) + F(EPSILON)
            share = min(F(1), np.sqrt(along) / noise)
            step = F(rate * share * np.sqrt(max(1.0, columns / rows)))
            for i in range(start, stop):
                weights[i] -= step * orthogonal[i - start]
        else:
            for i in range(start, stop):
                weights[i] -= adam * first[i] / (np.sqrt(second[i]) + epsilon)
        start = stop


@compiled
def orthogonalised(matrix):
    """Map [R, C] to [R, C] with the same singular vectors and singular values near 1 (`movinet.proxy.recipe`)."""
    rows, columns = matrix.shape
    x = np.ascontiguousarray(matrix.T) if rows > columns else matrix.copy()
    norm = F(0)
    for value in x.reshape(-1):
        norm += value * value
    x *= F(1) / (np.sqrt(norm) + F(EPSILON))
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.T
        factor = square @ square
        for i in range(len(factor)):
            for j in range(len(factor)):
                factor[i, j] = factor[i, j] * F(NEWTON_SCHULZ[2]) + square[i, j] * F(NEWTON_SCHULZ[1])
            factor[i, i] += F(NEWTON_SCHULZ[0])
        x = factor @ x
    return np.ascontiguousarray(x.T) if rows > columns else x
