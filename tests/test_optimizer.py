"""Learning rates and updates, compared with values that tests/benchmarks/release_optimization.py recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from movinet.training.config.optimizer_config import OptimizationConfig
from movinet.training.optimizer import INITIAL_LOSS_SCALE, LOSS_SCALE_GROWTH_STEPS, Updates, learning_rate
from search_space.base.configuration import made_from

RECORDED = json.loads((Path(__file__).parent / "recorded" / "release_optimization.json").read_text())
NAMES = ("block/kernel", "norm/beta")


def config(data: dict[str, Any]) -> OptimizationConfig:
    return made_from(OptimizationConfig, {"warmup": {"type": None}} | data, "")


def variables() -> list[tf.Variable]:
    return [tf.Variable(np.asarray(w, np.float32)) for w in RECORDED["start"]]


def apply(updates: Updates, gradients: list[Any]) -> None:
    tensors = [tf.constant(g, tf.float32) for g in gradients]
    tf.distribute.get_strategy().run(lambda given: updates.apply(given), args=(tensors,))


@pytest.mark.parametrize("name", RECORDED["rates"])
def test_learning_rates_are_those_of_the_release(name: str) -> None:
    recorded = RECORDED["rates"][name]
    rate = tf.function(learning_rate(config(recorded["config"])))
    found = [float(rate(tf.constant(step, tf.float32))) for step in RECORDED["steps"]]
    np.testing.assert_allclose(found, recorded["values"], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", RECORDED["updates"])
def test_updates_are_those_of_the_release(name: str) -> None:
    recorded, weights = RECORDED["updates"][name], variables()
    updates = Updates(config(recorded["config"]), list(zip(NAMES, weights, strict=True)), weights)
    for gradients in RECORDED["gradients"]:
        apply(updates, gradients)
    for variable, expected in zip(
        [*weights, *updates.averages], recorded["weights"] + recorded["averages"], strict=True
    ):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert int(updates.iterations) == len(RECORDED["gradients"])


def recipe() -> OptimizationConfig:
    return config(RECORDED["updates"]["rmsprop of the recipe"]["config"])


def test_a_constant_loss_scale_changes_nothing() -> None:
    plain, scaled = variables(), variables()
    without = Updates(recipe(), list(zip(NAMES, plain, strict=True)))
    by_four = Updates(recipe(), list(zip(NAMES, scaled, strict=True)), loss_scale=4.0)
    for gradients in RECORDED["gradients"]:
        apply(without, gradients)
        apply(by_four, [4 * np.asarray(g) for g in gradients])
    for a, b in zip(plain, scaled, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_a_dynamic_loss_scale_skips_what_overflows_and_grows_after_long() -> None:
    weights = variables()
    updates = Updates(recipe(), list(zip(NAMES, weights, strict=True)), loss_scale="dynamic")
    first = RECORDED["gradients"][0]
    apply(updates, [np.full_like(first[0], np.inf), first[1]])
    assert float(updates.loss_scale) == INITIAL_LOSS_SCALE / 2 and int(updates.iterations) == 0
    for variable, start in zip(weights, RECORDED["start"], strict=True):
        np.testing.assert_array_equal(variable.numpy(), np.asarray(start, np.float32))
    assert not any(slot.numpy().any() for slots in updates.slots.values() for slot in slots)
    updates.steps_since_change.assign(LOSS_SCALE_GROWTH_STEPS - 1)
    apply(updates, [np.asarray(g) * INITIAL_LOSS_SCALE / 2 for g in first])
    assert float(updates.loss_scale) == INITIAL_LOSS_SCALE and int(updates.iterations) == 1
    assert int(updates.steps_since_change) == 0


def test_averages_are_exchanged_and_back() -> None:
    weights = variables()
    data = RECORDED["updates"]["rmsprop, average"]["config"]
    updates = Updates(config(data), list(zip(NAMES, weights, strict=True)), weights)
    apply(updates, RECORDED["gradients"][0])
    before = [v.numpy() for v in (*weights, *updates.averages)]
    updates.swap_averages()
    swapped = [v.numpy() for v in (*updates.averages, *weights)]
    updates.swap_averages()
    for a, b, c in zip(before, swapped, [v.numpy() for v in (*weights, *updates.averages)], strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
