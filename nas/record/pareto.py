"""Pareto fronts: dominance, ranks, crowding and exact hypervolume.

Deb et al. 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (ranks, crowding);
While et al. 2006, "A Faster Algorithm for Calculating Hypervolume" (slicing).

Points are arrays [n, m] of n points with m objectives, all minimised. A point dominates another if it is nowhere worse
and somewhere better, so equal points never dominate each other. Infinite values are allowed; NaN is an error. Two
objectives take O(n log n).
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import ArrayLike

from search_space.base.errors import InputError


def non_dominated(points: ArrayLike) -> np.ndarray:
    """Return bool [n]: the points that no other dominates. Equal points have equal results.

    Raises:
      InputError: points that are not an [n, m] array, or hold NaN.
    """
    distinct, copies = _distinct(_checked(points))
    if distinct.shape[1] == 2:
        return _non_dominated_pairs(distinct)[copies]
    return _non_dominated_rows(distinct)[copies]


def ranks(points: ArrayLike) -> np.ndarray:
    """Return int [n]: 0 on the front, 1 on the front of the remaining points, and so on.

    Raises:
      InputError: see `non_dominated`.
    """
    distinct, copies = _distinct(_checked(points))
    rank = _ranks_pairs(distinct) if distinct.shape[1] == 2 else _ranks_rows(distinct)
    return rank[copies]


def crowding(points: ArrayLike) -> np.ndarray:
    """Return float [n]: crowding distance of each point of one front; a larger value is less crowded.

    Sum over objectives of the gap between the next smaller and the next larger value, over the
    range; infinite at the ends. Equal points share one distance, so the order of points is irrelevant.

    Raises:
      InputError: see `non_dominated`.
    """
    array = _checked(points)
    distance = np.zeros(len(array))
    for column in array.T:
        distance += _gaps(column)
    return distance


def crowded_order(points: ArrayLike) -> np.ndarray:
    """Return int [n]: order of each point, 0 the best, by rank, then by crowding; ties keep their order."""
    array = _checked(points)
    rank = ranks(array)
    distance = np.zeros(len(array))
    for front in range(rank.max(initial=-1) + 1):
        members = rank == front
        distance[members] = crowding(array[members])
    place = np.empty(len(array), dtype=np.int64)
    place[np.lexsort((-distance, rank))] = np.arange(len(array))
    return place


def pareto_front(points: ArrayLike) -> np.ndarray:
    """Return int [k]: indices of non-dominated points in order of the first objective, one per set of equal points.

    Raises:
      InputError: see `non_dominated`.
    """
    array = _checked(points)
    _, first = np.unique(array, axis=0, return_index=True)
    return first[non_dominated(array[first])]


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Return the exact volume dominated by `points` up to `reference` [m]; points not better than it everywhere add 0.

    Raises:
      InputError: see `non_dominated`; a reference that is not m finite numbers.
    """
    array, corner = _checked(points), np.asarray(reference, dtype=np.float64)
    if corner.shape != array.shape[1:] or not np.isfinite(corner).all():
        raise InputError("reference", corner.tolist(), f"must be {array.shape[1]} finite numbers")
    inside = array[(array < corner).all(axis=1)]
    if np.isneginf(inside).any():
        return float("inf")
    return _volume(inside, corner)


def greatest(points: ArrayLike, reference: ArrayLike, most: int) -> np.ndarray:
    """Return int [at most `most`]: points for a large hypervolume, chosen greedily; rising indices.

    The hypervolume is at least 1 - 1/e of the largest for `most` points, as it is submodular (Nemhauser et al. 1978).

    Raises:
      InputError: see `hypervolume`.
    """
    array = _checked(points)
    kept: list[int] = []
    for _ in range(min(most, len(array))):
        left = [i for i in range(len(array)) if i not in kept]
        kept.append(max(left, key=lambda i: hypervolume(array[[*kept, i]], reference)))
    return np.sort(np.array(kept, dtype=np.int64))


def _checked(points: ArrayLike) -> np.ndarray:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError("points", array.shape, "must be the shape [n, m] of n points with m >= 1 objectives")
    if np.isnan(array).any():
        raise InputError("points", "NaN", "must not occur; a trial without a result has no point")
    return array


def _distinct(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct points as dense ranks per objective, sorted by row, and the index of each point."""
    dense = np.empty(array.shape, dtype=np.int64)
    for m, column in enumerate(array.T):
        dense[:, m] = np.unique(column, return_inverse=True)[1]
    order = np.lexsort(dense.T[::-1])
    rows = dense[order]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    copies = np.empty(len(rows), dtype=np.int64)
    copies[order] = np.cumsum(new) - 1
    return rows[new], copies


def _non_dominated_pairs(rows: np.ndarray) -> np.ndarray:
    """Return which sorted distinct pairs have a second value below all before."""
    second = rows[:, 1]
    keep = np.ones(len(rows), dtype=bool)
    keep[1:] = second[1:] < np.minimum.accumulate(second)[:-1]
    return keep


def _non_dominated_rows(rows: np.ndarray) -> np.ndarray:
    """Return which sorted distinct rows are not dominated: only kept earlier rows have to be checked."""
    keep = np.zeros(len(rows), dtype=bool)
    front = np.empty_like(rows)
    size = 0
    for i, row in enumerate(rows):
        if not (front[:size] <= row).all(axis=1).any():
            keep[i] = True
            front[size] = row
            size += 1
    return keep


def _ranks_pairs(rows: np.ndarray) -> np.ndarray:
    """Return ranks: each pair joins the first front whose least second value is above; these values stay sorted."""
    least: list[int] = []
    rank = np.empty(len(rows), dtype=np.int64)
    for i, second in enumerate(rows[:, 1].tolist()):
        front = bisect_right(least, second)
        least[front : front + 1] = [second]
        rank[i] = front
    return rank


def _ranks_rows(rows: np.ndarray) -> np.ndarray:
    rank = np.full(len(rows), -1, dtype=np.int64)
    left = np.arange(len(rows))
    front = 0
    while len(left):
        best = _non_dominated_rows(rows[left])
        rank[left[best]] = front
        left, front = left[~best], front + 1
    return rank


def _gaps(column: np.ndarray) -> np.ndarray:
    values, where = np.unique(column, return_inverse=True)
    finite = values[np.isfinite(values)]
    span = np.ptp(finite) if len(finite) > 1 else 1.0
    gap = np.full(len(values), np.inf)
    gap[1:-1] = (values[2:] - values[:-2]) / span
    return gap[where]


def _volume(points: np.ndarray, corner: np.ndarray) -> float:
    """Return the volume by slices along the last objective, each with one dimension less."""
    if len(points) == 0:
        return 0.0
    if len(corner) == 1:
        return float(corner[0] - points.min())
    if len(corner) == 2:
        return _area(points, corner)
    points = points[non_dominated(points)]
    points = points[np.argsort(points[:, -1], kind="stable")]
    heights = np.diff(points[:, -1], append=corner[-1])
    return sum(
        float(height) * _volume(points[: i + 1, :-1], corner[:-1]) for i, height in enumerate(heights) if height > 0
    )


def _area(points: np.ndarray, corner: np.ndarray) -> float:
    front = points[pareto_front(points)]
    widths = np.diff(front[:, 0], append=corner[0])
    return float(widths @ (corner[1] - front[:, 1]))
