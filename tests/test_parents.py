"""Choice of the network that a model grows from: shrinkage, cost, chance, and neighbours that are clearly better."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_run import published_at_this_scale, run

from results.family.parents import Candidates, compared, of_run
from search_space.architecture import to_dict

NETWORK = to_dict(next(iter(published_at_this_scale().values())))


def table(macs: object, accuracy: object, n: object = 3, selected: object = True) -> pd.DataFrame:
    columns = {"macs": macs, "accuracy": accuracy, "n": n, "selected": selected}
    rows = pd.DataFrame(columns).assign(architecture=[NETWORK] * len(np.atleast_1d(macs)))
    return rows.assign(fingerprint=[f"network{i:03}" for i in rows.index], index=rows.index)


def drawn(rng: np.random.Generator, n: int, noise: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Return networks trained once each, and their true accuracies."""
    macs = np.exp(rng.uniform(12, 15, n)).round()
    truth = 0.4 + 0.1 * (np.log(macs) - 13.5) + rng.normal(0, 0.05, n)
    return table(macs, truth + rng.normal(0, noise, n), n=1), truth[np.argsort(macs)]


def posterior(found: Candidates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    intervals = [each.posterior for each in found.networks]
    return tuple(np.array([getattr(each, name) for each in intervals]) for name in ("mean", "low", "high"))


def test_posterior_means_are_nearer_to_the_truth_and_intervals_hold_it() -> None:
    """Also test the best of many noisy trainings, whose result is biased upwards."""
    inside, gain, luck, left = [], [], [], []
    for seed in range(20):
        networks, truth = drawn(np.random.default_rng(seed), 60, noise=0.06)
        found = compared(networks, noise=0.06, chance=0.0)
        mean, low, high = posterior(found)
        measured = np.array([each.accuracy for each in found.networks])
        inside.append((low <= truth) & (truth <= high))
        gain.append(np.abs(measured - truth).mean() - np.abs(mean - truth).mean())
        winner, first = np.argmax(measured), np.argmax(mean)
        luck.append(measured[winner] - truth[winner])
        left.append(mean[first] - truth[first])
    assert 0.87 < np.mean(inside) < 0.985
    assert min(gain) > 0
    assert np.mean(luck) > 0.04 and abs(np.mean(left)) < 0.02


def test_more_trainings_are_drawn_less_towards_the_trend() -> None:
    rng = np.random.default_rng(3)
    networks, _ = drawn(rng, 40, noise=0.06)
    networks.loc[20:21, ["macs", "accuracy"]] = 1e6, 0.75
    networks.loc[20, "n"] = 12
    found = {each.fingerprint: each.posterior for each in compared(networks, noise=0.06, chance=0.0).networks}
    often, once = found["network020"], found["network021"]
    assert 0.72 < often.mean < 0.75 and once.mean < often.mean - 0.03 and often.sd < 0.6 * once.sd


def test_scaling_costs_more_the_further_it_goes() -> None:
    macs = np.geomspace(1e5, 1e6, 6)
    found = compared(table(macs, 0.2 + 0.1 * np.log(macs / 1e5)), noise=0.02, chance=0.0)
    for place in macs:
        best = found.at(place)[0]
        assert best.candidate.macs == pytest.approx(place, abs=1)
        assert best.expected.mean == pytest.approx(best.candidate.posterior.mean, abs=1e-3)
    cheapest = found.networks[0]
    near, far = (found.trend.scaled(cheapest, place) for place in (2e5, 4e5))
    assert cheapest.posterior.mean < near.mean < far.mean < found.networks[3].posterior.mean + 0.1 * np.log(2)
    assert cheapest.posterior.sd < near.sd < far.sd
    for place in (5e4, 2e5):  # distance has a penalty even on a flat trend
        flat = compared(table(macs, [0.5] * 6), noise=0.02, chance=0.0)
        assert flat.trend.scaled(flat.networks[0], place).mean < flat.networks[0].posterior.mean - 0.005


def test_no_parent_reaches_chance_while_another_beats_it() -> None:
    """The values are from the Pareto front of November 2026, whose cheapest network was the parent of A0."""
    found = compared(table([232544, 268576, 561600, 1116288], [0.07, 0.313, 0.412, 0.476]), noise=0.03, chance=1 / 18)
    assert found.networks[0].posterior.low < found.chance and not found.warning
    assert found.span() == (268576, 1116288)
    guesses = found.at(232544)
    assert guesses[0].candidate.macs == 268576
    assert guesses[-1].candidate.macs == 232544 and "reaches chance, 0.056" in guesses[-1].rejected


def test_where_nothing_beats_chance_there_is_one_warning() -> None:
    found = compared(table([2e5, 3e5], [0.05, 0.07]), noise=0.05, chance=0.1)
    assert "no network of the run beats chance (0.100)" in found.warning and "\n" not in found.warning
    assert not any(guess.rejected for guess in found.at(2e5))


def test_a_neighbour_that_is_clearly_better_rules_a_parent_out() -> None:
    found = compared(table([2e5, 2.29e5, 4e5, 4.7e5], [0.2, 0.4, 0.6, 0.8], n=10), noise=0.02, chance=0.0)
    verdicts = {guess.candidate.macs: guess.rejected for guess in found.at(2e5)}
    assert "the whole interval of trial 1 is above its interval, at +14.5% of cost" in verdicts[200000]
    assert not verdicts[229000] and not verdicts[400000] and not verdicts[470000]  # the last costs 17 % more


@pytest.mark.parametrize("references", [True, False])
def test_a_run_gives_its_selected_networks_and_trials_near_the_front(tmp_path, references) -> None:
    ledger = run(tmp_path, references=references)
    found = of_run(ledger)
    again = {each.fingerprint for each in ledger.proposals.values() if each.kind == "finalist"}
    assert again < {each.fingerprint for each in found.networks}
    assert 0.02 < found.trend.noise < 0.03  # drawn with 0.025
    for each in found.networks:
        assert each.trainings == (3 if each.fingerprint in again else 1)
    macs = [each.macs for each in found.networks]
    assert macs == sorted(macs) and len(found.networks) < 40
