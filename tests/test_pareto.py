"""Tests of Pareto numerics in three ways: closed form, a slower second implementation, and invariances."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas.record import pareto
from search_space.base.errors import InputError

INF = float("inf")
# Few distinct values make ties, duplicates and infinities common.
VALUES = st.sampled_from([-INF, -2.0, -1.0, 0.0, 0.5, 1.0, 3.0, INF])
FINITE = st.sampled_from([-2.0, -1.0, 0.0, 0.25, 1.0, 1.5, 3.0])


def points_of(values, low=1, high=4, n=12):
    return st.integers(low, high).flatmap(
        lambda m: arrays(float, st.tuples(st.integers(0, n), st.just(m)), elements=values)
    )


def slow_dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def slow_non_dominated(points):
    return [not any(slow_dominates(q, p) for q in points) for p in points]


def slow_ranks(points):
    rank, left = {}, list(range(len(points)))
    for front in itertools.count():
        if not left:
            return [rank[i] for i in range(len(points))]
        keep = slow_non_dominated([points[i] for i in left])
        rank |= {i: front for i, kept in zip(left, keep, strict=True) if kept}
        left = [i for i, kept in zip(left, keep, strict=True) if not kept]


def slow_hypervolume(points, reference):
    """Compute by inclusion and exclusion over all subsets."""
    inside = [p for p in points if all(x < r for x, r in zip(p, reference, strict=True))]
    total = 0.0
    for k in range(1, len(inside) + 1):
        for subset in itertools.combinations(inside, k):
            worst = np.max(subset, axis=0)
            total += (-1) ** (k + 1) * float(np.prod(np.asarray(reference) - worst))
    return total


def test_closed_forms_of_a_small_set():
    points = [[1, 3], [2, 2], [3, 1], [3, 3], [2, 2], [4, 4]]
    assert pareto.non_dominated(points).tolist() == [True, True, True, False, True, False]
    assert pareto.ranks(points).tolist() == [0, 0, 0, 1, 0, 2]
    assert pareto.pareto_front(points).tolist() == [0, 1, 2]
    assert pareto.crowding([[0, 4], [1, 2], [4, 0]]).tolist() == [INF, 2.0, INF]
    assert pareto.crowding([[0, 4], [1, 2], [2, 1], [4, 0]]).tolist() == [INF, 2 / 4 + 3 / 4, 3 / 4 + 2 / 4, INF]
    assert pareto.crowded_order([[0, 4], [1, 2], [2, 1.5], [4, 0], [5, 5]]).tolist() == [0, 3, 2, 1, 4]


@pytest.mark.parametrize("k", [1, 2, 7, 100])
def test_hypervolume_of_a_staircase(k):
    steps = [[i, k - 1 - i] for i in range(k)]
    assert pareto.hypervolume(steps, [k, k]) == k * (k + 1) / 2


@given(points_of(FINITE, 1, 3, 7), st.integers(1, 5))
def test_the_greatest_are_nearly_the_best_choice(points, most):
    reference = np.full(points.shape[1], 2.0)
    kept = pareto.greatest(points, reference, most)
    assert len(kept) == min(most, len(points)) and np.all(np.diff(kept) > 0)
    best = max(
        (pareto.hypervolume(points[list(some)], reference)
         for some in itertools.combinations(range(len(points)), len(kept))), default=0.0,
    )  # fmt: skip
    if len(points):
        assert (1 - 1 / np.e) * best - 1e-9 <= pareto.hypervolume(points[kept], reference) <= best + 1e-9


def test_the_greatest_leave_out_neighbours_and_a_poor_end():
    points = [[0, -0.05], [0.1, -0.5], [0.2, -0.51], [1, -0.9], [1.1, -0.91], [2, -1]]
    assert pareto.greatest(points, [3, 0], 3).tolist() == [1, 3, 5]


def test_hypervolume_of_boxes():
    assert pareto.hypervolume([[0.25, 0.5, 0.5, 0.75]], [1, 1, 1, 1]) == 0.75 * 0.5 * 0.5 * 0.25
    assert pareto.hypervolume([[0, 0, 1], [0, 1, 0], [1, 0, 0]], [2, 2, 2]) == 3 * 4 - 3 * 2 + 1
    assert pareto.hypervolume([[3], [1]], [4]) == 3


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_empty(m):
    empty = np.empty((0, m))
    assert pareto.non_dominated(empty).shape == (0,) and pareto.non_dominated(empty).dtype == bool
    assert pareto.ranks(empty).shape == pareto.crowding(empty).shape == pareto.crowded_order(empty).shape == (0,)
    assert pareto.pareto_front(empty).shape == (0,)
    assert pareto.hypervolume(empty, [1] * m) == 0


@given(points_of(VALUES))
def test_dominance_and_ranks_equal_the_slow_ones(points):
    assert pareto.non_dominated(points).tolist() == slow_non_dominated(points.tolist())
    assert pareto.ranks(points).tolist() == slow_ranks(points.tolist())
    assert (pareto.non_dominated(points) == (pareto.ranks(points) == 0)).all()


@given(points_of(FINITE, n=7))
def test_hypervolume_equals_inclusion_and_exclusion(points):
    reference = [1.5] * points.shape[1]
    assert pareto.hypervolume(points, reference) == pytest.approx(slow_hypervolume(points, reference), abs=1e-9)


@pytest.mark.parametrize("m", [3, 4])
def test_hypervolume_equals_monte_carlo(m):
    rng = np.random.default_rng(m)
    points = rng.random((25, m)) * 0.8 + 0.2
    draws = rng.random((40_000, m))
    share = np.mean((points[:, None] <= draws).all(axis=2).any(axis=0))
    assert pareto.hypervolume(points, np.ones(m)) == pytest.approx(share, abs=0.015)


@given(points_of(VALUES), st.randoms(use_true_random=False))
def test_order_is_irrelevant(points, random):
    order = list(range(len(points)))
    random.shuffle(order)
    for f in (pareto.non_dominated, pareto.ranks, pareto.crowding):
        np.testing.assert_array_equal(f(points)[order], f(points[order]))
    np.testing.assert_array_equal(
        points[pareto.pareto_front(points)], points[order][pareto.pareto_front(points[order])]
    )
    reference = [2.0] * points.shape[1]
    assert pareto.hypervolume(points, reference) == pytest.approx(pareto.hypervolume(points[order], reference))


@given(points_of(VALUES))
def test_a_copy_of_every_point_changes_nothing(points):
    doubled = np.repeat(points, 2, axis=0)
    for f in (pareto.non_dominated, pareto.ranks, pareto.crowding):
        np.testing.assert_array_equal(f(doubled), np.repeat(f(points), 2))
    reference = [2.0] * points.shape[1]
    assert pareto.hypervolume(doubled, reference) == pareto.hypervolume(points, reference)
    assert len(pareto.pareto_front(doubled)) == len(pareto.pareto_front(points))


@given(points_of(FINITE, high=3))
def test_only_the_front_has_volume_and_scale_factors_out(points):
    reference = np.full(points.shape[1], 2.0)
    whole = pareto.hypervolume(points, reference)
    assert pareto.hypervolume(points[pareto.non_dominated(points)], reference) == pytest.approx(whole)
    assert pareto.hypervolume(points * 4 + 1, reference * 4 + 1) == pytest.approx(whole * 4 ** points.shape[1])


@given(points_of(VALUES))
def test_crowded_order_is_a_permutation_that_respects_rank_then_crowding(points):
    place, rank = pareto.crowded_order(points), pareto.ranks(points)
    assert sorted(place) == list(range(len(points)))
    assert (np.diff(rank[np.argsort(place)]) >= 0).all()
    for front in set(rank.tolist()):
        members = np.flatnonzero(rank == front)
        lonely = pareto.crowding(points[members])[np.argsort(place[members])]
        assert all(a >= b for a, b in itertools.pairwise(lonely))


def test_infinities():
    assert pareto.hypervolume([[0, INF], [INF, 0]], [1, 1]) == 0
    assert pareto.hypervolume([[-INF, 0.5]], [1, 1]) == INF
    assert pareto.hypervolume([[-INF, 1.0]], [1, 1]) == 0
    assert pareto.non_dominated([[-INF, INF], [0, INF], [INF, -INF]]).tolist() == [True, False, True]
    assert not np.isnan(pareto.crowding([[-INF, 1], [0, 0], [INF, -INF], [1, INF]])).any()


@pytest.mark.parametrize(
    "f", [pareto.non_dominated, pareto.ranks, pareto.crowding, pareto.crowded_order, pareto.pareto_front]
)
def test_nan_and_wrong_shapes_are_refused(f):
    with pytest.raises(InputError, match="NaN"):
        f([[0, 1], [float("nan"), 2]])
    for wrong in ([1.0, 2.0], np.zeros((3, 0)), np.zeros((2, 2, 2))):
        with pytest.raises(InputError, match=r"shape \[n, m\]"):
            f(wrong)


@pytest.mark.parametrize("reference", [[1], [1, 2, 3], [1, INF], [1, float("nan")], 1.0])
def test_bad_references_are_refused(reference):
    with pytest.raises(InputError, match="reference"):
        pareto.hypervolume([[0.0, 0.0]], reference)


def test_a_hundred_thousand_points_take_a_second():
    rng = np.random.default_rng(0)
    x = rng.random(100_000)
    cloud = np.column_stack([x, rng.random(100_000)])
    front = np.column_stack([x, 1 - x])  # every point non-dominated
    started = time.process_time()
    for points in (cloud, front):
        pareto.hypervolume(points, [1, 1])
        pareto.ranks(points)
        pareto.crowding(points[pareto.non_dominated(points)])
    assert pareto.non_dominated(front).all()
    assert time.process_time() - started < 5  # about 0.6 s measured; quadratic code takes minutes
