"""Test the frontier search beyond the contract of all algorithms: better than its start, batches, several costs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_table import synthetic_table

from nas.algorithms.frontier.search import FrontierSearch
from nas.algorithms.frontier.surrogate import Features, Scale, expected
from nas.algorithms.stratified_random import StratifiedRandom
from nas.benchmark.table import Table
from nas.record.events import Completed, Failed, Proposal, Rung, Stopped
from nas.record.pareto import hypervolume, non_dominated
from search_space.base.errors import InputError
from search_space.space.sampling import Limit

TABLE = synthetic_table(3, choices=(3,) * 6, seeds=2, noise=0.02)


def played(algorithm: FrontierSearch | StratifiedRandom, table: Table, evaluations: int, seed: int) -> list[int]:
    """Return the evaluated rows; the algorithm receives the accuracy of one training of each."""
    rows, rng = [], np.random.default_rng(seed)
    for index in range(evaluations):
        genotype = algorithm.ask(np.random.default_rng([seed, index]))
        rows.append(table.row(genotype))
        cost = {name: int(values[rows[-1]]) for name, values in table.costs.items()}
        algorithm.tell(Proposal(index, "search", genotype, {}, f"f{index}", 0, index, cost))
        value = float(table.accuracy[rows[-1], rng.integers(table.accuracy.shape[1])])
        algorithm.tell(Completed(index, 10, {"accuracy": value}, 1.0))
    return rows


def share(table: Table, rows: list[int]) -> float:
    """Return the hypervolume of the rows as a fraction of that of all means."""
    points = np.column_stack([np.log(table.costs["macs"]), -table.means])
    corner = (points[:, 0].max(), 0.0)
    return hypervolume(points[rows], corner) / hypervolume(points, corner)


def test_it_is_ahead_of_stratified_random_where_choices_matter() -> None:
    def mean(kind: type[FrontierSearch] | type[StratifiedRandom]) -> float:
        return float(
            np.mean([share(TABLE, played(kind(TABLE.space, planned=60), TABLE, 60, seed)) for seed in range(4)])
        )

    assert mean(FrontierSearch) > mean(StratifiedRandom) + 0.03


def test_a_batch_of_pending_proposals_spreads() -> None:
    algorithm = FrontierSearch(TABLE.space, planned=60, random_every=0)
    played(algorithm, TABLE, 40, 0)
    batch = []
    for index in range(40, 46):
        batch.append(algorithm.ask(np.random.default_rng(index)))
        algorithm.tell(Proposal(index, "search", batch[-1], {}, f"f{index}", 0, index, {"macs": 1}))
    assert len(set(batch)) == 6
    assert len({TABLE.costs["macs"][TABLE.row(genotype)] for genotype in batch}) > 2


def test_the_start_fills_the_strata_and_takes_what_is_given_first() -> None:
    given = [(2, 2, 2, 2, 2, 2), (0, 0, 0, 0, 0, 0)]
    algorithm = FrontierSearch(TABLE.space, planned=100, start=14, start_genotypes=given)
    rows = played(algorithm, TABLE, 14, 0)
    assert [tuple(row) for row in TABLE.genotypes[rows[:2]].tolist()] == given
    filled = np.bincount([algorithm.strata.of(cost) for cost in TABLE.costs["macs"][rows]], minlength=12)
    assert (filled > 0).sum() >= 9


def test_several_costs_are_traded_and_limits_kept() -> None:
    algorithm = FrontierSearch(
        TABLE.space, (Limit("macs", int(np.median(TABLE.costs["macs"]))),), planned=40, costs=tuple(TABLE.costs)
    )
    rows = played(algorithm, TABLE, 40, 0)
    assert len(set(rows)) == 40
    assert (TABLE.costs["macs"][rows] <= np.median(TABLE.costs["macs"])).all()


def test_hints_shorten_the_way_by_as_much_as_they_foretell() -> None:
    true = [(genotype, float(mean)) for genotype, mean in zip(TABLE.genotypes.tolist(), TABLE.means, strict=True)]
    rng = np.random.default_rng(0)
    nonsense = [(genotype, float(rng.random())) for genotype, _ in true[::5]]

    def mean(hints: list[tuple[list[int], float]], evaluations: int) -> float:
        runs = [FrontierSearch(TABLE.space, planned=100, hints=hints) for _ in range(4)]
        return float(np.mean([share(TABLE, played(run, TABLE, evaluations, n)) for n, run in enumerate(runs)]))

    without = mean([], 30)
    assert mean(true[::5], 15) > without
    assert mean(nonsense, 30) > without - 0.03


def test_hints_are_a_function_of_what_they_say_and_go_through_json() -> None:
    hints = [(genotype, 0.1 + 0.01 * sum(genotype)) for genotype in TABLE.genotypes[::7].tolist()]
    again, others = json.loads(json.dumps(hints)), [(genotype, value * value % 0.01) for genotype, value in hints]
    runs = [FrontierSearch(TABLE.space, planned=60, hints=each) for each in (hints, again, others)]
    rows = [played(run, TABLE, 12, 0) for run in runs]
    assert rows[0] == rows[1] != rows[2]


def believed(algorithm: FrontierSearch, genotype: tuple[int, ...]) -> tuple[float, float]:
    """Return the surrogate's mean and standard deviation for an architecture, in its scale."""
    objective = -np.array(list(algorithm.results.values()))
    scale = Scale.of(objective, len(objective))
    known = algorithm._known(len(objective), list(algorithm.stopped), scale)
    features = algorithm._features(np.array([algorithm.proposed[index][0] for index in known.indices]))
    mean, sd = algorithm._posterior(known, features, scale)(algorithm._features(np.array([genotype])))
    return float(mean[0]), float(sd[0])


def stopped_at(value: float | None) -> tuple[FrontierSearch, tuple[int, ...]]:
    """Return a search whose trials reach half of their accuracy at the rung; the last one stopped there or failed."""
    algorithm = FrontierSearch(TABLE.space, planned=60)
    rows = np.random.default_rng(1).permutation(len(TABLE.genotypes))[:25].tolist()
    for index, row in enumerate(rows):
        cost = {"macs": int(TABLE.costs["macs"][row])}
        genotype = tuple(TABLE.genotypes[row].tolist())
        algorithm.tell(Proposal(index, "search", genotype, {}, f"f{index}", 0, index, cost))
        full = float(TABLE.accuracy[row, 0])
        early = full / 2 if value is None or index < len(rows) - 1 else value
        algorithm.tell(Rung(index, 5, {"accuracy": early}, 1.0))
        if index < len(rows) - 1:
            algorithm.tell(Completed(index, 10, {"accuracy": full}, 1.0))
    end = Failed(index, "out of memory", 1) if value is None else Stopped(index, 5, {"accuracy": early}, 1.0)
    algorithm.tell(end)
    return algorithm, genotype


def test_a_stopped_trial_counts_with_what_its_rung_foretells() -> None:
    worse, better, failed = (stopped_at(value) for value in (0.1, 0.35, None))
    (low, sd), (high, _), (unknown, wide) = (believed(*each) for each in (worse, better, failed))
    assert low < high - 0.3 and low < unknown < high
    assert sd < 0.9 * wide  # its uncertainty is below that of a trial without measurement


def test_a_failed_trial_is_as_if_it_had_never_been_proposed() -> None:
    """The only difference is that it is not proposed again."""
    algorithm, genotype = stopped_at(None)
    without = FrontierSearch(TABLE.space, planned=60)
    state = algorithm.state()
    last = state["proposed"].pop()
    without.restore({**state, "early": state["early"][:-1], "failed": []})
    assert believed(algorithm, genotype) == believed(without, genotype)
    assert last[1] == list(genotype) and not algorithm.is_new(np.array([genotype]))[0]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_values_keep_the_order_of_accuracies_and_lead_back_to_them(accuracies: list[float]) -> None:
    objective = np.sort(accuracies)
    scale = Scale.of(objective, len(objective))
    values = scale.values(objective)
    assert (np.diff(values) >= 0).all()
    back, _ = scale.objective(values, np.zeros(len(values)))
    assert back == pytest.approx(np.clip(objective, 0.01, 0.99))


def test_the_good_are_told_apart_although_some_do_not_learn() -> None:
    """A fifth is at chance, as four choices lack one option. With equal weights of distances the mean would be 0.5."""
    features, dead = Features(TABLE.space, (), "macs"), (TABLE.genotypes[:, :4] != 2).all(axis=1)
    measured = np.where(dead, 0.02, TABLE.accuracy[:, 0])

    def correlation(seed: int) -> float:
        trained, others = np.split(np.random.default_rng(seed).permutation(len(measured)), [60])
        others = others[~dead[others]]
        mean = expected(features, TABLE.genotypes[trained], measured[trained], TABLE.genotypes[others])
        return float(np.corrcoef(mean, TABLE.means[others])[0, 1])

    assert np.mean([correlation(seed) for seed in range(10)]) > 0.6


def test_the_front_by_expectation_is_better_than_by_single_trainings() -> None:
    features, by_mean, by_one = Features(TABLE.space, (), "macs"), 0.0, 0.0
    for seed in range(6):
        rows = np.random.default_rng(seed).choice(len(TABLE.genotypes), 60, replace=False)
        one = TABLE.accuracy[rows, seed % 2]
        for objective in (one, expected(features, TABLE.genotypes[rows], one)):
            points = np.column_stack([np.log(TABLE.costs["macs"][rows]), -objective])
            chosen = share(TABLE, rows[non_dominated(points)].tolist())
            by_one, by_mean = (by_one + chosen, by_mean) if objective is one else (by_one, by_mean + chosen)
    assert by_mean > by_one


@pytest.mark.parametrize(
    ("hints", "place"),
    [
        (3, "hints"),
        ([3], "hints[0]"),
        ([[[0] * 6, 0.5], [[0] * 6]], "hints[1]"),
        ([[[0] * 6, None]], "hints[0]"),
        ([[[0] * 6, float("nan")]], "hints[0]"),
        ([[[0] * 6, True]], "hints[0]"),
        ([[[9] * 6, 0.5]], "synthetic-3: c0"),
        ([[[0, 0.5], 0.5]], "synthetic-3"),
        ([["abcdef", 0.5]], "hints[0]"),
        ([[[0, [0], 0, 0, 0, 0], 0.5]], "synthetic-3"),
    ],
)
def test_bad_hints_are_refused(hints: object, place: str) -> None:
    with pytest.raises(InputError) as error:
        FrontierSearch(TABLE.space, hints=hints)  # type: ignore[arg-type]
    assert error.value.place == place


@pytest.mark.parametrize(
    "options",
    [
        {"start": 1},
        {"random_every": -1},
        {"strata": 0},
        {"costs": ("state_bytes",)},
        {"start_genotypes": [(9,)]},
        {"start_genotypes": 3},
        {"start_genotypes": [3]},
        {"start_genotypes": ["a"]},
        {"costs": 3},
        {"costs": "macs"},
        {"costs": ["macs", 3]},
        {"costs": [["macs"]]},
    ],
)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        FrontierSearch(TABLE.space, **options)  # type: ignore[arg-type]
