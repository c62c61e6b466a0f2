"""Test the association of choices with accuracy: values against a slower computation, invariances, no false claims."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import SPACE, published_at_this_scale, sampled

from results.analysis.importance import ENOUGH, Importance, importance, partial_correlations
from results.tables.measures import WHOLE, dimensions, measures

Measured = list[dict[tuple[str, str], float]]


def drawn(seed: int, n: int, effect: float) -> tuple[Measured, np.ndarray, np.ndarray]:
    """Return trials in which one choice has an effect, one only costs, and one is noise."""
    rng = np.random.default_rng(seed)
    helps, costs, noise = rng.normal(size=(3, n))
    log_macs = 6 + 0.5 * costs + 0.2 * helps
    accuracy = 0.3 * (log_macs - 6) + effect * helps + 0.02 * rng.normal(size=n)
    columns = {"helps": helps, "costs": costs, "noise": noise, "constant": np.ones(n)}
    measured = [{(WHOLE, name): float(column[i]) for name, column in columns.items()} for i in range(n)]
    return measured, log_macs, accuracy


def judged(drawn: tuple[Measured, np.ndarray, np.ndarray], seed: int = 1) -> Importance:
    measured, log_macs, values = drawn
    chosen = [{name: (value,) for (_, name), value in each.items()} for each in measured]
    return importance("accuracy", measured, chosen, log_macs, values, np.random.default_rng(seed))


def found(seed: int = 0, n: int = 200, effect: float = 0.1) -> Importance:
    return judged(drawn(seed, n, effect))


def by_name(result) -> dict[str, object]:  # type: ignore[no-untyped-def]
    return {effect.measure[1]: effect for effect in result.effects}


def test_what_helps_is_told_from_what_only_costs() -> None:
    result = found()
    effects = by_name(result)
    assert set(effects) == {"helps", "costs", "noise"}  # a constant choice has no effect
    assert [abs(effect.value) for effect in result.effects] == sorted(
        (abs(effect.value) for effect in result.effects), reverse=True
    )
    assert effects["helps"].clear and effects["helps"].value > 0.9
    assert not effects["noise"].clear
    assert 0 < result.by_cost < 1 and result.together.low > 0.8 and result.together.high <= 1


def test_shares_add_up_and_belong_to_what_helps() -> None:
    """One choice explains 4/5 of the variance beside cost, another 1/5, a third nothing, and a fourth is the cost."""
    rng = np.random.default_rng(0)
    n = 1500
    much, little, nothing, size = rng.normal(size=(4, n))
    values = 2 * much + little + 3 * size + np.sqrt(5) * rng.normal(size=n)  # noise is half of the rest
    chosen = [
        {"much": (much[i], rng.normal()), "little": (little[i],), "nothing": (nothing[i],), "size": (size[i],)}
        for i in range(n)
    ]
    result = importance("loss", [{} for _ in range(n)], chosen, size, values, rng, 300)
    shares = {each.dimension: each for each in result.shares}
    assert [each.dimension for each in result.shares][:2] == ["much", "little"]
    assert result.by_cost == pytest.approx(9 / 19, abs=0.05)
    assert result.together.value == pytest.approx(0.5, abs=0.05)
    assert shares["much"].value == pytest.approx(0.4, abs=0.05) and shares["little"].value == pytest.approx(
        0.1, abs=0.04
    )
    assert abs(shares["nothing"].value) < 0.005 and abs(shares["size"].value) < 0.005
    assert sum(each.value for each in result.shares) == pytest.approx(result.together.value)
    assert shares["much"].low < 0.4 < shares["much"].high and shares["nothing"].low < 0


def test_what_cannot_be_told_apart_at_equal_cost_is_shared() -> None:
    """Cost is the sum of two choices, so at equal cost each choice determines the other."""
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 400))
    chosen = [{"one": (one[i],), "other": (other[i],)} for i in range(400)]
    result = importance("loss", [{}] * 400, chosen, one + other, one + 0.1 * rng.normal(size=400), rng, 100)
    first, second = (each.value for each in result.shares)
    assert first == pytest.approx(second, abs=0.02) and first + second > 0.9


def test_without_an_effect_none_is_claimed() -> None:
    clear = [effect.clear for seed in range(20) for effect in found(seed, 60, 0.0).effects]
    assert np.mean(clear) < 0.15  # 5 % by definition of an interval of 95 %
    shares = [share.low > 0 for seed in range(20) for share in found(seed, 60, 0.0).shares]
    assert np.mean(shares) < 0.15


def slow(log_macs: np.ndarray, column: np.ndarray, accuracy: np.ndarray) -> float:
    """Return the defined value: the correlation of the residuals of both after a quadratic fit in log-FLOPs."""
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
    one, other = judged((measured, log_macs, accuracy)), judged((scaled, log_macs * 2.3, accuracy * 4 - 1))
    for a, b in zip(one.effects, other.effects, strict=True):
        assert a.measure == b.measure and a.value == pytest.approx(b.value) and a.low == pytest.approx(b.low)
    assert one.together.value == pytest.approx(other.together.value)


@pytest.mark.parametrize("n", [0, 1, ENOUGH - 1])
def test_few_trials_are_not_enough_evidence(n: int) -> None:
    measured, log_macs, accuracy = drawn(0, n, 0.1)
    result = judged((measured, log_macs, accuracy))
    assert result.trials == n and result.effects == result.shares == () and math.isnan(result.together.value)


@pytest.mark.parametrize("same", ["accuracy", "cost", "measures"])
def test_what_never_varies(same: str) -> None:
    measured, log_macs, accuracy = drawn(0, 40, 0.1)
    if same == "accuracy":
        assert judged((measured, log_macs, accuracy * 0)).effects == ()
    elif same == "cost":
        result = judged((measured, log_macs * 0, accuracy))
        assert len(result.effects) == 3 and result.by_cost < 0.1
    else:
        assert judged((measured[:1] * 40, log_macs, accuracy)).shares == ()


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
    chosen = dimensions(network)
    assert chosen["depth of block 2"] == (len(network.blocks[1].layers),)
    assert chosen["temporal kernel"][2] == found[("block 3", "temporal kernel")]
    assert all(found.keys() == measures(each).keys() for each in published_at_this_scale().values())
    assert len(SPACE.choices) > len(found) / 2
