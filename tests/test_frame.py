"""Test tables of event logs, and hypervolume over time, against arithmetic by hand."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_run import STEPS, ledger_of, proposal, run, sampled

from nas.record.events import Completed, Failed, Note, Resumed, Rung, Stopped
from nas.record.hypervolume import hypervolume
from nas.record.ledger import Ledger
from results.tables import frame
from results.tables import hypervolume_over_time as volume
from results.tables.hypervolume_over_time import hypervolume_over_time
from search_space.base.errors import InputError
from search_space.cost.counting import COST_NAMES

ROOT = Path(__file__).parents[1]
NETS = sorted(sampled(np.random.default_rng(3), 6), key=lambda a: proposal(0, a).cost["macs"])
MACS = [proposal(0, net).cost["macs"] for net in NETS]


def done(index: int, accuracy: float, **others: float) -> Completed:
    return Completed(index, STEPS, {"accuracy": accuracy, **others}, 10.0 + index)


@pytest.fixture
def every_state(tmp_path) -> Ledger:
    records = [
        proposal(0, NETS[0]),
        proposal(1, NETS[1], kind="reference", label="a0"),
        Rung(0, 5, {"accuracy": 0.1}, 1.0),
        done(0, 0.4, motion=0.9),
        proposal(2, NETS[2]),
        Stopped(2, 100, {"accuracy": 0.2}, 3.0),
        proposal(3, NETS[3]),
        Failed(3, "out of memory, twice", 2),
        Note("a pause"),
        Resumed({}),
        proposal(4, NETS[4]),
        Failed(4, "worker died", 1),
        Rung(4, 5, {"accuracy": 0.3}, 1.0),  # retried
        done(1, 0.5),
    ]
    return ledger_of(tmp_path, records)


def test_trials_of_every_state(every_state):
    table = frame.trials(every_state).set_index("index")
    assert table["state"].to_list() == ["completed", "completed", "stopped", "failed", "pending"]
    assert table["accuracy"].fillna(-1).to_list() == [0.4, 0.5, 0.2, -1, -1]
    assert table["motion"].fillna(-1).to_list() == [0.9, -1, -1, -1, -1]
    assert table["steps"].fillna(-1).to_list() == [STEPS, STEPS, 100, -1, -1]
    assert table["seconds"].fillna(-1).to_list() == [10, 11, 3, -1, -1]
    assert table["started"].to_list() == [1000, 1001, 1004, 1006, 1010]
    assert table["finished"].fillna(-1).to_list() == [1003, 1013, 1005, 1007, -1]
    assert table["reason"].to_list() == ["", "", "", "out of memory, twice", ""]
    assert table["kind"][1] == "reference" and table["label"][1] == "a0"
    assert table["macs"].to_list() == MACS[:5] and set(COST_NAMES) < set(table.columns)


def test_a_run_without_trials_has_empty_tables(tmp_path):
    ledger = ledger_of(tmp_path, [Note("nothing yet")])
    assert frame.trials(ledger).empty and frame.networks(ledger).empty
    for table in (frame.front(ledger), frame.selected_front(ledger)):
        assert table.empty and {"fingerprint", "accuracy", "macs", "low", "high"} < set(table.columns)
    assert hypervolume_over_time(ledger).empty
    frame.write_trials(ledger, tmp_path / "trials.csv")
    frame.write_front(ledger, tmp_path / "front.csv")
    assert (tmp_path / "front.csv").read_text().startswith("fingerprint,index,label,kinds,accuracy,n,")


def test_networks_are_means_over_full_trainings(tmp_path):
    records = [
        proposal(0, NETS[0]),
        done(0, 0.6),
        proposal(1, NETS[1], kind="reference", label="a0"),
        done(1, 0.3),
        proposal(2, NETS[0], kind="finalist"),
        done(2, 0.5),
        proposal(3, NETS[0], kind="finalist", repeat=1),
        done(3, 0.52),
        proposal(4, NETS[0], kind="finalist", repeat=2),
        Stopped(4, 3, {"accuracy": 0.01}, 1.0),
        proposal(5, NETS[2], kind="finalist"),
        done(5, 0.7),
    ]
    ledger = ledger_of(tmp_path, records)
    table = frame.networks(ledger).set_index("fingerprint")
    assert table.index.to_list() == [NETS[0].fingerprint, NETS[1].fingerprint, NETS[2].fingerprint]
    values = [0.6, 0.5, 0.52]
    error = np.std(values, ddof=1) / np.sqrt(3)
    row = table.loc[NETS[0].fingerprint]
    assert row["accuracy"] == pytest.approx(0.54) and row["n"] == 3 and row["kinds"] == "search+finalist"
    assert (row["low"], row["high"]) == pytest.approx((0.54 - 4.302653 * error, 0.54 + 4.302653 * error))
    assert row["standard_error"] == pytest.approx(error) and row["macs"] == MACS[0]
    assert row["architecture"]["schema"] == "movinet-nas/architecture/1"
    single = table.loc[NETS[1].fingerprint]
    assert single["n"] == 1 and np.isnan([single["standard_error"], single["low"], single["high"]]).all()
    assert table["index"].isna().to_list() == [False, True, True] and row["index"] == 0

    finalists = frame.networks(ledger, kinds=("finalist",)).set_index("fingerprint")
    assert finalists["accuracy"].to_list() == pytest.approx([0.51, 0.7])
    assert finalists["index"].iloc[0] == 0  # its search trial, although the result of that trial is not counted
    assert frame.selected_kinds(ledger) == ("finalist",)
    assert frame.selected_front(ledger)["n"].to_list() == [2, 1]


QUANTILES = {
    1: 12.7062,
    2: 4.3027,
    10: 2.2281,
    11: 2.2010,
    12: 2.1788,
    20: 2.0860,
    30: 2.0423,
    120: 1.9799,
    10**6: 1.96,
}


@pytest.mark.parametrize(("freedom", "quantile"), QUANTILES.items())
def test_student_t_is_that_of_the_tables(freedom, quantile):
    assert frame.student_t(freedom) == pytest.approx(quantile, abs=6e-5)


def test_the_front_is_that_of_means(tmp_path):
    ledger = run(tmp_path)
    table, front = frame.networks(ledger, ("search", "finalist")), frame.front(ledger)
    best = [
        all(row["accuracy"] > other["accuracy"] or row["macs"] < other["macs"] for _, other in table.drop(i).iterrows())
        for i, row in table.iterrows()
    ]
    assert sorted(front["fingerprint"]) == sorted(table["fingerprint"][best])
    assert front["macs"].is_monotonic_increasing and front["accuracy"].is_monotonic_increasing
    assert not set(front["kinds"]) & {"reference"} and 3 < len(front) < len(table)


def test_of_several_costs_what_is_best_in_one_stays_on_the_front(tmp_path):
    table = frame.networks(run(tmp_path), ("search",))
    both = frame.non_dominated(table, ["macs", "total_parameters"])
    for cost in ("macs", "total_parameters"):
        assert set(frame.non_dominated(table, [cost])["fingerprint"]) <= set(both["fingerprint"])
    assert both["macs"].is_monotonic_increasing and len(both) < len(table)
    for _, row in both.iterrows():
        no_worse = (table["accuracy"] >= row["accuracy"]) & (table["macs"] <= row["macs"])
        assert list(table[no_worse & (table["total_parameters"] <= row["total_parameters"])]["fingerprint"]) == [
            row["fingerprint"]
        ]


def test_without_finalists_the_search_speaks_for_itself(tmp_path):
    ledger = ledger_of(tmp_path, [proposal(0, NETS[0]), done(0, 0.5), proposal(1, NETS[1], kind="finalist")])
    assert frame.selected_kinds(ledger) == ("search",)  # the selected architecture is not trained yet
    assert frame.selected_front(ledger)["accuracy"].to_list() == [0.5]


def test_csv_files(tmp_path):
    ledger = run(tmp_path / "run")
    frame.write_trials(ledger, tmp_path / "trials.csv")
    frame.write_front(ledger, tmp_path / "front.csv")
    trials, front = pd.read_csv(tmp_path / "trials.csv"), pd.read_csv(tmp_path / "front.csv")
    assert len(trials) == len(ledger.proposals) and trials["macs"].to_list() == frame.trials(ledger)["macs"].to_list()
    assert front["accuracy"].to_numpy() == pytest.approx(frame.selected_front(ledger)["accuracy"].to_numpy())
    assert "architecture" not in front.columns
    assert sorted(path.name for path in tmp_path.iterdir()) == ["front.csv", "run", "trials.csv"]


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, every_state):
    taken = tmp_path / "trials.csv"
    taken.mkdir()  # cannot be replaced by a file, even by root
    with pytest.raises(InputError, match="prevented writing it"):
        frame.write_trials(every_state, taken)
    with pytest.raises(InputError, match="prevented writing it"):
        frame.write_trials(every_state, tmp_path / "none" / "trials.csv")
    assert taken.is_dir() and not list(tmp_path.glob(".*"))


# Hypervolume over time.


def test_hypervolume_over_time(tmp_path):
    records = [
        proposal(0, NETS[2]),
        proposal(1, NETS[0]),
        done(0, 0.5),
        proposal(2, NETS[5], kind="reference"),
        done(2, 0.99),  # not a search trial
        Stopped(1, 3, {"accuracy": 0.9}, 1.0),  # a partial budget is not a result
        Resumed({}),
        proposal(3, NETS[0]),
        done(3, 0.2),
        proposal(4, NETS[3]),
        done(4, 0.4),  # dominated
        proposal(5, NETS[3]),
        Failed(5, "worker died", 1),
    ]
    times = [100, 101, 110, 110, 111, 120, 5000, 5001, 5010, 5011, 5015, 5016, 5017]
    ledger = ledger_of(tmp_path, records, times)
    table = hypervolume_over_time(ledger)
    assert table["seconds"].to_list() == [10, 20, 30, 35]  # the night between is left out
    assert table["finished"].to_list() == [1, 2, 3, 4]
    (within,) = volume.ranges_of_run(ledger)
    length = np.log10(within.high / within.low)
    first = 0.5 * np.log10(within.high / MACS[2]) / length
    both = first + 0.2 * np.log10(MACS[2] / MACS[0]) / length
    assert table["hypervolume"].to_list() == pytest.approx([first, first, both, both])


def test_hypervolume_over_time_ends_at_the_whole_search(tmp_path):
    ledger = run(tmp_path, searched=40)
    table, results = hypervolume_over_time(ledger), frame.trainings(ledger, ("search",))
    whole = hypervolume(results[["macs"]].to_numpy(), results["accuracy"].to_numpy(), volume.ranges_of_run(ledger))
    assert table["hypervolume"].is_monotonic_increasing and table["seconds"].is_monotonic_increasing
    assert table["hypervolume"].iloc[-1] == pytest.approx(float(whole))


def test_a_long_run_is_quick(tmp_path):
    records = [record for i in range(600) for record in (proposal(i, NETS[i % 6]), done(i, 0.5))]
    ledger = ledger_of(tmp_path, records)
    start = time.process_time()
    frame.networks(ledger)
    hypervolume_over_time(ledger)
    assert time.process_time() - start < 2
