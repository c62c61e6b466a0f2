"""Which choices go with accuracy: figures against a slower computation, and what must not change or be claimed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import SPACE, published_at_this_scale, sampled

from results.agreement import Agreement
from results.importance import ENOUGH, importance, partial_correlations
from results.measures import WHOLE, measures

Measured = list[dict[tuple[str, str], float]]


def drawn(seed: int, n: int, effect: float) -> tuple[Measured, np.ndarray, np.ndarray]:
    """Trials in which one choice has an effect, one only costs, and one is noise."""
    rng = np.random.default_rng(seed)
    helps, costs, noise = rng.normal(size=(3, n))
    log_macs = 6 + 0.5 * costs + 0.2 * helps
    accuracy = 0.3 * (log_macs - 6) + effect * helps + 0.02 * rng.normal(size=n)
    columns = {"helps": helps, "costs": costs, "noise": noise, "constant": np.ones(n)}
    measured = [{(WHOLE, name): float(column[i]) for name, column in columns.items()} for i in range(n)]
    return measured, log_macs, accuracy


def found(seed: int = 0, n: int = 200, effect: float = 0.1):  # type: ignore[no-untyped-def]
    return importance(*drawn(seed, n, effect), np.random.default_rng(1))


def by_name(result) -> dict[str, object]:  # type: ignore[no-untyped-def]
    return {effect.measure[1]: effect for effect in result.effects}


def test_what_helps_is_told_from_what_only_costs() -> None:
    result = found()
    effects = by_name(result)
    assert set(effects) == {"helps", "costs", "noise"}  # what never varies has no effect to speak of
    assert [abs(effect.value) for effect in result.effects] == sorted(
        (abs(effect.value) for effect in result.effects), reverse=True
    )
    assert effects["helps"].clear and effects["helps"].value > 0.9
    assert not effects["noise"].clear
    assert result.by_cost < result.by_all <= 1 and result.gain[0] > 0


def test_without_an_effect_none_is_claimed() -> None:
    clear = [effect.clear for seed in range(20) for effect in found(seed, 60, 0.0).effects]
    assert np.mean(clear) < 0.15  # 5 % by definition of an interval of 95 %
    result = found(3, 60, 0.0)
    assert result.gain[0] < 0.02


def slow(log_macs: np.ndarray, column: np.ndarray, accuracy: np.ndarray) -> float:
    """The definition: the correlation of what a quadratic in log-FLOPs leaves of both."""
    left = [values - np.polyval(np.polyfit(log_macs, values, 2), log_macs) for values in (column, accuracy)]
    return float(np.corrcoef(*left)[0, 1])


def test_the_figures_are_those_of_the_definition() -> None:
    measured, log_macs, accuracy = drawn(5, 50, 0.05)
    for name, effect in by_name(found(5, 50, 0.05)).items():
        column = np.array([each[(WHOLE, name)] for each in measured])
        assert effect.value == pytest.approx(slow(log_macs, column, accuracy), abs=1e-9)  # type: ignore[attr-defined]


@given(st.integers(0, 2**32 - 1))
def test_a_draw_is_the_trials_repeated(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 30
    columns, cost = rng.normal(size=(n, 2)), np.stack([np.ones(n), rng.normal(size=n)], axis=1)
    accuracy, copies = rng.random(n), rng.multinomial(n, np.full(n, 1 / n), size=1)
    again = np.repeat(np.arange(n), copies[0])
    direct = partial_correlations(cost[again], columns[again], accuracy[again], np.ones((1, n)))
    np.testing.assert_allclose(partial_correlations(cost, columns, accuracy, copies), direct, atol=1e-8)


def test_units_and_order_change_nothing() -> None:
    measured, log_macs, accuracy = drawn(2, 80, 0.1)
    scaled = [{name: 1000 * value - 7 for name, value in each.items()} for each in measured]
    one = importance(measured, log_macs, accuracy, np.random.default_rng(0))
    other = importance(scaled, log_macs * 2.3, accuracy, np.random.default_rng(0))
    for a, b in zip(one.effects, other.effects, strict=True):
        assert a.measure == b.measure and a.value == pytest.approx(b.value) and a.low == pytest.approx(b.low)
    assert one.by_all == pytest.approx(other.by_all)


@pytest.mark.parametrize("n", [0, 1, ENOUGH - 1])
def test_few_trials_are_not_enough_evidence(n: int) -> None:
    measured, log_macs, accuracy = drawn(0, n, 0.1)
    result = importance(measured, log_macs, accuracy, np.random.default_rng(0))
    assert result.trials == n and result.effects == () and math.isnan(result.by_all)


@pytest.mark.parametrize("same", ["accuracy", "cost", "measures"])
def test_what_never_varies(same: str) -> None:
    measured, log_macs, accuracy = drawn(0, 40, 0.1)
    if same == "accuracy":
        assert importance(measured, log_macs, accuracy * 0, np.random.default_rng(0)).effects == ()
    elif same == "cost":
        result = importance(measured, log_macs * 0, accuracy, np.random.default_rng(0))
        assert len(result.effects) == 3 and result.by_cost < 0.1
    else:
        assert importance(measured[:1] * 40, log_macs, accuracy, np.random.default_rng(0)).effects == ()


def test_measures_are_those_of_the_layers() -> None:
    (network,) = sampled(np.random.default_rng(0), 1)
    found = measures(network)
    assert found[(WHOLE, "layers")] == sum(len(block.layers) for block in network.blocks)
    assert found[("block 2", "width")] == network.blocks[1].width
    layers = network.blocks[2].layers
    assert found[("block 3", "temporal kernel")] == sum(layer.kernel[0] for layer in layers) / len(layers)
    assert found[(WHOLE, "squeeze-excite")] == pytest.approx(
        sum(layer.squeeze_excite for block in network.blocks for layer in block.layers) / network.depth
    )
    assert all(found.keys() == measures(each).keys() for each in published_at_this_scale().values())
    assert len(SPACE.choices) > len(found) / 2


@pytest.mark.parametrize(
    ("of", "low", "high", "verdict"),
    [
        (19, 0.5, 0.9, "not enough evidence: 19 of 20"),
        (40, 0.5, 0.9, "ranks"),
        (40, -0.9, -0.1, "reversed"),
        (40, -0.1, 0.3, "not enough evidence"),
        (40, math.nan, math.nan, "not enough evidence"),
    ],
)
def test_the_verdict_of_an_agreement(of: int, low: float, high: float, verdict: str) -> None:
    assert Agreement("", of, 0.5, low, high).verdict == verdict
