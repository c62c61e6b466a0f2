"""Test the controller of a one-shot search: its gradient, its learning, and its choice of an architecture."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.one_shot.controller import Controller, chosen_within
from search_space.base.errors import InputError
from search_space.space.choices import Choice, Condition, SearchSpace
from search_space.space.sampling import Limit

WIDTHS, DEPTH = 8, 3


def toy_space() -> SearchSpace:
    """Return a space of a width, a depth, and a free kind per layer; the kind of an absent layer is a dead gene."""
    choices = (
        Choice("width", tuple(range(1, WIDTHS + 1))),
        Choice("depth", tuple(range(1, DEPTH + 1))),
        *(Choice(f"kind{i}", tuple(range(4)), Condition("depth", i)) for i in range(1, DEPTH + 1)),
    )

    def count(genotypes: np.ndarray) -> dict[str, np.ndarray]:
        return {"macs": 100 * (genotypes[:, 0] + 1) * (genotypes[:, 1] + 1)}

    return SearchSpace("toy", choices, assemble=dict, disassemble=dict, count=count)


SPACE = toy_space()


def controller(target: float = 900, beta: float = -0.3, rate: float = 0.05, limits=()) -> Controller:
    return Controller(SPACE, target, beta, rate, limits)


def taught(seed: int = 0, updates: int = 10) -> Controller:
    learning = controller(rate=0.3)
    for step in range(updates):
        rng = np.random.default_rng([seed, step])
        learning.learn(rng, learning.draw(rng), float(rng.random()))
    return learning


def quality(genotype) -> float:
    """Return a value that grows with width and depth; the third kind is best."""
    width, depth, *kinds = genotype
    return 0.02 * width + 0.05 * depth + 0.05 * sum(kind == 2 for kind in kinds[: depth + 1])


def test_all_options_are_equally_likely_at_first():
    drawn = controller().sample(np.random.default_rng(0), 4000)
    assert np.abs(np.bincount(drawn[:, 0], minlength=WIDTHS) / 4000 - 1 / WIDTHS).max() < 0.02
    assert controller().most_likely() == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_of_all_members_sum_to_one(seed):
    assert np.exp(taught(seed).log_probability(SPACE.members())).sum() == pytest.approx(1)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_the_gradient_is_that_of_the_log_probability(seed):
    """Compare with finite differences, also for choices that an architecture lacks."""
    rng, learned = np.random.default_rng(seed), taught(seed % 5)
    members, advantages = learned.sample(rng, 3), rng.normal(size=3)
    gradient = learned.gradient(members, advantages)
    for place in np.argwhere(np.isfinite(learned.logits)):
        values = []
        for change in (1e-5, -1e-5):
            moved = controller()
            moved.logits = learned.logits.copy()
            moved.logits[tuple(place)] += change
            values.append((advantages * moved.log_probability(members)).mean())
        assert gradient[tuple(place)] == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-6)


def test_choices_that_a_member_lacks_learn_nothing_of_it():
    shallow = np.array([[3, 0, 1, 0, 0]])
    gradient = controller().gradient(shallow, np.ones(1))
    assert not gradient[3:].any() and gradient[:3].any(axis=1).all()


def test_the_reward_is_the_absolute_one():
    cost = 100 * 4 * 2
    for target in (cost / 2, cost, cost * 2):
        expected = 0.6 - 0.1 * abs(cost / target - 1)
        assert controller(target, -0.1).reward((3, 1, 0, 0, 0), 0.6) == pytest.approx(expected)


@pytest.mark.parametrize("target", [600, 1200])
def test_the_best_member_at_the_target_is_found(target):
    """Quality is noisy; among architectures at the target cost, the best has the third kind in every layer."""
    learning = controller(target)
    for step in range(1500):
        rng = np.random.default_rng(step)
        drawn = learning.draw(rng)
        learning.learn(rng, drawn, quality(drawn) + rng.normal(scale=0.02))
    width, depth, *kinds = learning.most_likely()
    assert kinds == [2] * (depth + 1) + [0] * (DEPTH - depth - 1)
    assert 100 * (width + 1) * (depth + 1) == target


@pytest.mark.parametrize("seed", range(5))
def test_the_most_probable_member_near_the_target_is_taken_where_argmax_is_not(seed):
    learned = taught(seed, updates=40)
    learned.target = 1.5 * int(learned.costs(np.array([learned.most_likely()]))[0])
    members = SPACE.members()
    near = members[np.abs(learned.deviation(members)) <= 0.2]
    if not len(near):
        pytest.skip("no member there")
    chosen, how = chosen_within(learned, np.random.default_rng(0), 0.2)
    assert how == "most probable within"
    assert learned.log_probability(np.array([chosen]))[0] == pytest.approx(learned.log_probability(near).max())


def test_a_target_that_no_member_meets_is_refused():
    with pytest.raises(InputError, match="target"):
        chosen_within(controller(target=1e6), np.random.default_rng(0), 0.05)


def test_draws_keep_the_limits():
    limited = controller(limits=(Limit("macs", 300),))
    drawn = np.array([limited.draw(np.random.default_rng(seed)) for seed in range(100)])
    assert limited.costs(drawn).max() <= 300
    limited.logits[0, -1] = 1000.0  # always the widest, so no draw meets the limit
    assert limited.costs(np.array([limited.draw(np.random.default_rng(0))]))[0] <= 300


def test_the_state_survives_json():
    learned, restored = taught(), controller(rate=0.3)
    restored.restore(json.loads(json.dumps(learned.state())))
    for each in (learned, restored):
        rng = np.random.default_rng(7)
        each.learn(rng, each.draw(rng), 0.4)
    assert restored.state() == learned.state()


@pytest.mark.parametrize("state", [{}, {"logits": [[0.0]], "squares": [], "baseline": None, "updates": 0}])
def test_another_state_is_refused(state):
    with pytest.raises(InputError, match="controller state"):
        controller().restore(state)
