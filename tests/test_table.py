"""Benchmark tables: their file, their space, and tables made from runs."""

from __future__ import annotations

import gzip
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played_run import played
from synthetic_table import RUNGS, synthetic_table

from nas.algorithms.base import Exhausted
from nas.algorithms.registry import ALGORITHMS
from nas.benchmark import table
from nas.benchmark.row_space import RowIndex, RowSpace
from nas.benchmark.table import Table
from nas.benchmark.table_comparison import Settings, run_on_table
from nas.loop import run_folder
from nas.record.events import Completed, Proposal
from results.tables.tabulation import tabulate
from search_space.base.errors import InputError
from search_space.space.choices import SearchSpace
from search_space.space.sampling import Limit, cost_range, sample_feasible, sample_stratum

TABLES = {
    "product": synthetic_table(0),
    "conditional": synthetic_table(1, conditional=True),
    "sparse": synthetic_table(2, choices=(4, 4, 4, 3, 3, 3), share=0.05),
    "two": synthetic_table(3, choices=(2,)),
    "one": synthetic_table(4, choices=(3, 2), share=0.1),
    "wide": synthetic_table(5, choices=(2,) * 12, share=0.1),
}
SPARSE = ("conditional", "sparse", "wide")
every_table = pytest.mark.parametrize("name", TABLES)
every_sparse_table = pytest.mark.parametrize("name", SPARSE)


def distances(made: Table, genotype: tuple[int, ...]) -> np.ndarray:
    """Return the number of differences in choices present on both sides; 1/2 if only the presence differs."""
    rows, optional = made.genotypes, np.array([choice.options[0] is None for choice in made.space.choices])
    present, own = ~optional | (rows > 0), ~optional | (np.array(genotype) > 0)
    return np.maximum(((rows != genotype) & present & own).sum(axis=1), 0.5 * (present != own).any(axis=1))


def rows_of(made: Table) -> set[tuple[int, ...]]:
    return set(map(tuple, made.genotypes.tolist()))


def same(one: Table, other: Table) -> bool:
    arrays = (
        (one.genotypes, other.genotypes),
        (one.long_accuracy, other.long_accuracy),
        (one.seconds, other.seconds),
        *((one.costs[name], other.costs[name]) for name in one.costs),
        *((one.statistics[name], other.statistics[name]) for name in one.statistics),
        *((one.scores[name], other.scores[name]) for name in one.scores),
    )
    names = [each.keys() for made in (one, other) for each in (made.costs, made.statistics, made.scores)]
    return (
        all(np.array_equal(a, b, equal_nan=True) for a, b in arrays)
        and names[:3] == names[3:]
        and (one.steps, one.long_steps, one.space.choices, list(one.architectures), list(one.fingerprints))
        == (other.steps, other.long_steps, other.space.choices, list(other.architectures), list(other.fingerprints))
    )


@every_table
@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_what_was_written_is_read_again(name: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{ending}"
    table.write(TABLES[name], path)
    assert same(table.read(path), TABLES[name])
    before = path.read_bytes()
    table.write(table.read(path), path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_gaps_stay_gaps(tmp_path: Path) -> None:
    made = synthetic_table(6, seeds=3)
    made.accuracy[3, 1] = made.accuracy[4, :2] = made.early()[RUNGS[0]][5, 2] = made.seconds[6, 0] = math.nan
    table.write(made, tmp_path / "t.csv")
    assert same(table.read(tmp_path / "t.csv"), made)
    assert made.means[4] == made.accuracy[4, 2]


def test_the_order_of_options() -> None:
    values = {"c": [16, "wide", None, 8, 1.5, "narrow"]}
    made = table.make("t", values, {"macs": np.arange(1, 7)}, {"accuracy": np.full((6, 1), 0.5)})
    assert made.space.choices[0].options == (None, 1.5, 8, 16, "wide", "narrow")
    assert made.space.values((0,)) == {"c": None} and made.row((3,)) == 0


def test_a_product_is_a_plain_space_and_anything_else_is_not() -> None:
    assert type(TABLES["product"].space) is SearchSpace and type(TABLES["two"].space) is SearchSpace
    assert all(type(TABLES[name].space) is RowSpace for name in SPARSE)


@every_table
def test_the_members_are_the_rows_and_cost_what_they_say(name: str) -> None:
    made = TABLES[name]
    assert made.space.size == len(made.genotypes) == len(rows_of(made))
    assert set(map(tuple, made.space.members().tolist())) == rows_of(made)
    for cost, values in made.space.count(made.genotypes).items():
        assert np.array_equal(values, made.costs[cost])
    assert [made.row(tuple(g)) for g in made.genotypes.tolist()] == list(range(len(made.genotypes)))
    assert np.array_equal(made.space.canonical_batch(made.genotypes), made.genotypes)


@every_sparse_table
def test_a_genotype_that_is_no_row_is_refused_by_the_table(name: str) -> None:
    made = TABLES[name]
    every = itertools.product(*(range(k) for k in made.space.options))
    stranger = next(genotype for genotype in every if genotype not in rows_of(made))
    with pytest.raises(InputError, match="not the genotype of a row"):
        made.row(stranger)


@every_sparse_table
@given(data=st.data())
@settings(max_examples=25)
def test_any_genotype_stands_for_a_row_nearest_to_it(name: str, data: st.DataObject) -> None:
    made = TABLES[name]
    genotype = tuple(data.draw(st.integers(0, k - 1)) for k in made.space.options.tolist())
    found, apart = made.space.canonical(genotype), distances(made, genotype)
    assert apart[made.row(found)] == apart.min()
    assert found in rows_of(made) and found == made.space.canonical(genotype)


@every_sparse_table
def test_what_varies_stays_within_the_rows(name: str) -> None:
    made, rng = TABLES[name], np.random.default_rng(0)
    space, known = made.space, rows_of(made)
    parents = space.sample(rng, 200, rng.uniform(-5, 5, 200))
    children = space.mutate_batch(parents, rng)
    for parent, child in zip(parents.tolist(), children.tolist(), strict=True):
        assert tuple(parent) in known and tuple(child) in known and parent != child
        assert space.crossover(tuple(parent), tuple(child), rng) in known
        around = set(map(tuple, space.neighbours(tuple(parent)).tolist()))
        assert tuple(child) in around <= known - {tuple(parent)}
    apart = distances(made, tuple(parents[0].tolist()))
    near = {tuple(g) for g in made.genotypes[(apart > 0) & (apart <= max(np.sort(apart)[8], 1))].tolist()}
    assert near == set(map(tuple, space.neighbours(tuple(parents[0].tolist())).tolist()))


@every_sparse_table
def test_draws_are_uniform_and_tilt_by_cost(name: str) -> None:
    made = TABLES[name]
    rng, n = np.random.default_rng(1), 40_000

    def drawn(tilt: float) -> np.ndarray:
        return np.array([made.row(tuple(g)) for g in made.space.sample(rng, n, tilt)[:4000].tolist()])

    expected = 4000 / len(made.genotypes)
    counts = np.bincount(drawn(0.0), minlength=len(made.genotypes))
    assert ((counts - expected) ** 2 / expected).sum() < len(counts) + 5 * math.sqrt(2 * len(counts))  # chi squared
    macs = made.costs["macs"]
    assert np.log(macs[drawn(-2)]).mean() < np.log(macs[drawn(0)]).mean() < np.log(macs[drawn(2)]).mean()
    assert set(macs[drawn(-300)]) <= set(np.sort(macs)[: len(macs) // 4 + 1])


@every_table
def test_sampling_under_limits_works_on_it(name: str) -> None:
    made, rng = TABLES[name], np.random.default_rng(2)
    macs = made.costs["macs"]
    limits = (Limit("macs", float(np.median(macs))),)
    assert cost_range(made.space, rng, ()) == (macs.min(), macs.max())
    low, high = cost_range(made.space, rng, limits)
    assert (low, high) == (macs.min(), macs[macs <= limits[0].at_most].max())
    draws = sample_feasible(made.space, rng, 50, limits)
    assert (made.space.count(draws)["macs"] <= high).all()
    found = sample_stratum(made.space, rng, low, high + 1, limits, set())
    assert found is not None and low <= macs[made.row(found)] <= high
    with pytest.raises(InputError, match="cheapest architecture"):
        sample_feasible(made.space, rng, 1, (Limit("macs", 1),))


@pytest.mark.parametrize("algorithm", ["random", "stratified_random", "ageing_evolution"])
@pytest.mark.parametrize("name", ["conditional", "one", "two"])
def test_an_algorithm_proposes_every_row_once(algorithm: str, name: str) -> None:
    made = TABLES[name]
    search = ALGORITHMS[algorithm](made.space, planned=len(made.genotypes))
    rows = set()
    for index in range(len(made.genotypes)):
        genotype = search.ask(np.random.default_rng(index))
        rows.add(made.row(genotype))
        cost = {"macs": int(made.costs["macs"][made.row(genotype)])}
        search.tell(Proposal(index, "search", genotype, {}, "f", 0, 0, cost))
        search.tell(Completed(index, 1, {"accuracy": made.means[made.row(genotype)]}, 1.0))
    assert rows == set(range(len(made.genotypes)))
    with pytest.raises(Exhausted):
        search.ask(np.random.default_rng(0))


@every_sparse_table
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_runs_on_a_table_that_is_no_product(algorithm: str, name: str) -> None:
    assert len(set(run_on_table(TABLES[name], algorithm, 0, Settings(15)).rows)) == 15


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 6))
def test_rows_are_found_and_nothing_else(seed: int, rows: int, choices: int) -> None:
    rng = np.random.default_rng(seed)
    known = np.unique(rng.integers(0, 4, (rows, choices)), axis=0)
    index = RowIndex(known)
    asked = rng.integers(0, 4, (100, choices))
    listed = [tuple(row) for row in known.tolist()]
    expected = [listed.index(tuple(g)) if tuple(g) in listed else -1 for g in asked.tolist()]
    assert index.find(asked).tolist() == expected


GOOD = """\
choice.depth,choice.kind,macs,accuracy.0@16,accuracy.0,accuracy.1,seconds.0,score.x,steps
1,a,100,0.1,0.2,0.3,1.5,7,64
2,a,200,0.2,0.4,,2.5,8,64
1,,150,,0.3,0.3,1.9,,64
"""


def test_the_documented_example(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(GOOD)
    made = table.read(path)
    assert [choice.options for choice in made.space.choices] == [(1, 2), (None, "a")]
    assert made.genotypes.tolist() == [[0, 1], [1, 1], [0, 0]]
    assert made.means.tolist() == pytest.approx([0.25, 0.4, 0.3])
    assert (made.steps, list(made.early()), made.space.size) == (64, [16], 3)
    assert np.isnan(made.seconds[:, 1]).all() and math.isnan(made.scores["x"][2])


STATISTICS = """\
choice.depth,macs,accuracy.0,accuracy.1,accuracy.2,loss.0,loss.2,loss.0@16,motion.1,ema_loss.0,long_accuracy.1,steps,long_steps
1,100,0.2,0.3,,1.0,,2.0,0.5,0.8,0.7,64,512
2,200,0.4,0.5,0.6,0.5,0.25,1.5,,0.4,,64,512
"""


def test_every_statistic_seed_and_long_training_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(STATISTICS)
    made = table.read(path)
    names = ["accuracy", "loss", "likelihood", "loss@16", "likelihood@16", "motion", "ema_loss", "ema_likelihood"]
    assert [*made.statistics] == names
    expected = np.exp(-np.array([[1.0, np.nan, np.nan], [0.5, np.nan, 0.25]]))
    np.testing.assert_allclose(made.statistics["likelihood"], expected)
    assert made.early("loss")[16][:, 0].tolist() == [2.0, 1.5] and made.usual_statistic == "likelihood"
    assert np.isnan(made.long_accuracy[:, 0]).all() and made.long_accuracy[0, 1] == 0.7 and made.long_steps == 512
    assert made.means.tolist() == pytest.approx([0.25, 0.5])
    table.write(made, path)
    assert same(table.read(path), made)


BAD = {
    "an unknown column": (("score.x", "scores.x"), ("line 1", "'scores.x'", "not a column")),
    "a column twice": (("accuracy.1", "accuracy.0"), ("line 1", "'accuracy.0'", "duplicate")),
    "no macs": (("macs,", "total_parameters,"), ("line 1", "lacks the column macs")),
    "no choice": (("choice.", "score."), ("line 1", "choice.NAME")),
    "a seed left out": (("accuracy.1", "accuracy.2"), ("line 1", "lacks the column accuracy.1")),
    "percent": (("0.4", "40"), ("line 3: accuracy.0", "40.0", "from 0 to 1")),
    "negative": (("0.2,0.3", "-0.2,0.3"), ("line 2: accuracy.0", "-0.2", "from 0 to 1")),
    "early percent": (("0.1,", "10,"), ("line 2: accuracy.0@16", "10.0", "from 0 to 1")),
    "a text for a number": (("0.4", "high"), ("line 3: accuracy.0", "'high'", "finite number")),
    "not a number": (("0.4", "nan"), ("line 3: accuracy.0", "'nan'", "finite number")),
    "a row without accuracy": (("0.2,0.4,,", "0.2,,,"), ("line 3: accuracy", "every row")),
    "a cost of nothing": ((",100,", ",0,"), ("line 2: macs", "'0'", "integer of at least 1")),
    "a cost with a fraction": ((",100,", ",1.5,"), ("line 2: macs", "'1.5'", "integer of at least 1")),
    "no cost": ((",100,", ",,"), ("line 2: macs", "''", "integer of at least 1")),
    "an architecture twice": (("2,a", "1,a"), ("line 3", "same architecture as line 2")),
    "a cell too many": ((",8,64", ",8,64,1"), ("line 3", "10", "the header has 9")),
    "two budgets": ((",8,64", ",8,65"), ("line 3: steps", "65", "same in all rows: 64")),
    "a rung beyond the budget": (("@16", "@64"), ("accuracy.S@64", "below the full budget, 64")),
    "a statistic of a seed without accuracy": (("score.x", "loss.2"), ("line 1", "lacks the column accuracy.2")),
    "a likelihood above 1": (("score.x", "likelihood.0"), ("line 2: likelihood.0", "7.0", "from 0 to 1")),
    "a long accuracy above 1": (("score.x", "long_accuracy.0"), ("line 2: long_accuracy.0", "7.0", "from 0 to 1")),
    "a long accuracy with steps": (("score.x", "long_accuracy.0@5"), ("line 1", "not a column")),
    "an open quote": (("1,a", '1,"a'), ("parsing the table", "CSV")),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_file_is_said(case: str, tmp_path: Path) -> None:
    (old, new), words = BAD[case]
    path = tmp_path / "bad.csv"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, GOOD.count(old) if old == "choice." else 1))
    with pytest.raises(InputError) as raised:
        table.read(path)
    for word in ("bad.csv", *words):
        assert word in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.txt", GOOD.encode(), "valid suffix of a benchmark table"),
        ("t.csv", b"", "parsing the table"),
        ("t.csv", b"\xff\xfe\x00", "parsing the table"),
        ("t.csv", GOOD.splitlines()[0].encode(), "number of rows"),
        ("t.csv.gz", GOOD.encode(), "prevented reading"),
        ("t.csv.gz", gzip.compress(GOOD.encode())[:-9], "parsing the table"),
        ("t.csv", None, "No such file"),
    ],
)
def test_files_that_are_no_tables(name: str, content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        table.read(tmp_path / name)


def test_a_table_is_not_written_where_it_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prevented writing"):
        table.write(TABLES["two"], tmp_path / "no" / "t.csv")
    with pytest.raises(InputError, match="valid suffix"):
        table.write(TABLES["two"], tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_run_becomes_a_table(tmp_path: Path) -> None:
    folder = played(tmp_path / "run")
    ledger = run_folder.read(folder)
    text = tabulate(ledger, tmp_path / "t.csv")
    made = table.read(tmp_path / "t.csv")
    assert same(made, table.from_ledger(ledger))
    completed = [p for i, p in ledger.proposals.items() if i in ledger.completed and p.kind == "search"]
    assert text.startswith(f"{tmp_path / 't.csv'}: {len(completed)} architectures, 1 seeds, {len(completed)} trainings")
    assert set(made.fingerprints) == {p.fingerprint for p in completed}
    for p in completed:
        row = list(made.fingerprints).index(p.fingerprint)
        metrics = ledger.completed[p.index].metrics
        assert metrics.items() <= {name: values[row, 0] for name, values in made.statistics.items()}.items()
        assert made.costs["macs"][row] == p.cost["macs"] and made.architectures[row] == p.architecture
    assert made.steps == run_folder.config_of(ledger).training.steps
    assert len(made.early()) == 1


def test_half_a_run_says_what_is_missing(tmp_path: Path) -> None:
    ledger = run_folder.read(played(tmp_path / "run", trials=3, failing=1))
    text = tabulate(ledger, tmp_path / "t.csv")
    assert "left out: 1 architectures" in text and "not yet started: 3 trainings" in text
    nothing = run_folder.read(played(tmp_path / "none", trials=1, failing=0))
    with pytest.raises(InputError, match="number of search trials completed"):
        tabulate(nothing, tmp_path / "n.csv")
    assert not (tmp_path / "n.csv").exists()
