"""Simulated evaluations: deterministic, with the events of a training and configured failures; and whole searches."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty_search import begun
from small_search import ROOT, finished, ledger_of, searching, small, story, written

import run_search
from nas.benchmark import table, table_cells
from nas.config import search_config, sections
from nas.config.search_config import SearchConfig
from nas.config.sections import SimulationConfig
from nas.evaluation.proxy_trainer import Trainer
from nas.evaluation.simulation import DATA_HASH, SimulatedError, Simulation, evaluator
from nas.loop.search import Search
from nas.record.events import Completed, Failed, Proposal, Rung
from search_space.base.errors import InputError


def simulated(**settings: Any) -> SearchConfig:
    return small(simulation=SimulationConfig(**settings))


class Kept(list[Any]):
    """Event log in memory."""

    append = list.append


def proposals(whole: SearchConfig, count: int) -> list[Proposal]:
    search = Search(replace(whole, trials=count), Kept())  # type: ignore[arg-type]
    return [search.propose() for _ in range(count)]  # type: ignore[misc]


def accuracies(whole: SearchConfig, asked: list[Proposal]) -> list[float]:
    simulation = Simulation(whole)
    return [list(simulation.train(proposal))[-1].metrics["accuracy"] for proposal in asked]  # type: ignore[union-attr]


def test_it_reports_what_a_training_reports() -> None:
    whole = simulated()
    (first, *_) = proposals(whole, 3)
    *rungs, last = Simulation(whole).train(first)
    assert [(type(event), event.steps) for event in rungs] == [(Rung, 1), (Rung, 2)]  # type: ignore[union-attr]
    assert isinstance(last, Completed) and last.steps == whole.training.steps
    assert set(last.metrics) == {"accuracy", "loss", "likelihood"}
    *_, final = Simulation(whole).train(replace(first, kind="finalist"))
    assert isinstance(final, Completed) and "test_accuracy" in final.metrics


def test_a_measurement_depends_on_network_and_seed_alone() -> None:
    whole = simulated(seconds=1e-3)
    asked = proposals(whole, 3)
    assert accuracies(whole, asked) == accuracies(whole, asked[::-1])[::-1]
    again = accuracies(whole, [replace(each, seed=each.seed + 1) for each in asked])
    assert all(0 < abs(a - b) < 0.1 for a, b in zip(accuracies(whole, asked), again, strict=True))


def test_costly_networks_are_better_and_options_matter() -> None:
    whole = simulated()
    (first, *_) = proposals(whole, 3)
    costs = [first.cost | {"macs": int(macs)} for macs in np.geomspace(1e5, 1e9, 9)]
    found = accuracies(whole, [replace(first, cost=cost) for cost in costs])
    assert np.corrcoef(range(9), found)[0, 1] > 0.9
    members = [replace(first, genotype=genotype) for genotype in {each.genotype for each in proposals(whole, 6)}]
    assert np.std(accuracies(whole, members)) > 0.003


def test_faults_come_as_often_as_asked_and_the_same_again() -> None:
    whole = simulated(die=0.1, hang=0.2, diverge=0.3, error=0.1)
    drawn = [[Simulation(whole)._fault(index, attempt) for attempt in range(2)] for index in range(1000)]
    assert drawn == [[Simulation(whole)._fault(index, attempt) for attempt in range(2)] for index in range(1000)]
    names = [name for both in drawn for name, _ in both]
    shares = {name: names.count(name) / len(names) for name in ("die", "hang", "diverge", "error", "")}
    assert shares == pytest.approx({"die": 0.1, "hang": 0.2, "diverge": 0.3, "error": 0.1, "": 0.3}, abs=0.03)
    assert sum(first == second for first, second in drawn) < 300
    assert {steps for both in drawn for _, steps in both} == set(range(1, whole.training.steps + 1))


def test_a_loss_that_is_not_finite_and_an_error() -> None:
    (first, *_) = proposals(simulated(), 3)
    *_, last = Simulation(simulated(diverge=1.0)).train(first)
    assert isinstance(last, Failed) and last.reason.startswith("diverged within")
    with pytest.raises(SimulatedError):
        list(Simulation(simulated(error=1.0)).train(first))


IN_A_PROCESS = """
import sys
sys.path.insert(0, "tests")
from test_simulation import *
whole = simulated(**eval(sys.argv[1]))
print(list(Simulation(whole).train(proposals(simulated(), 1)[0])))
"""


def test_a_worker_dies_or_hangs() -> None:
    def process(settings: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", IN_A_PROCESS, settings]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    hanging, dying = process("dict(hang=1.0)"), process("dict(die=1.0)")
    assert dying.communicate(timeout=60) == ("", "") and dying.returncode == -9
    with pytest.raises(subprocess.TimeoutExpired):
        hanging.communicate(timeout=2)
    hanging.kill()
    assert hanging.communicate() == ("", "")


def test_time_and_memory_are_taken() -> None:
    whole = simulated(seconds=0.2, memory_mb=5.0)
    simulation = Simulation(whole)
    begun = time.monotonic()
    *_, last = simulation.train(proposals(whole, 3)[0])
    assert isinstance(last, Completed) and 0.1 <= last.seconds <= 0.3
    assert last.seconds <= time.monotonic() - begun < last.seconds + 5
    assert sum(array.nbytes for array in simulation.kept) == 5 * 2**20


def test_measurements_from_a_table(tmp_path: Path) -> None:
    """Convert a simulated run to a table and simulate by that table: the results at the full budget are equal."""
    first = replace(simulated(), finals=sections.Finals(0), early_stopping=sections.EarlyStopping(()))
    ledger = ledger_of(begun(tmp_path / "one", first))
    file = tmp_path / "table.csv"
    table.write(table.from_ledger(ledger), file)
    second = replace(first, simulation=SimulationConfig(str(file)))
    asked = list(ledger.proposals.values())
    assert accuracies(second, asked) == [ledger.completed[each.index].metrics["accuracy"] for each in asked]
    (missing,) = Simulation(second).train(replace(asked[0], fingerprint="f" * 16))
    assert missing == Failed(0, f"no row of {file} is the network {'f' * 16}", 1)
    columns = dict(table_cells.read(file))
    del columns["fingerprint"]
    table_cells.write(file, columns)
    with pytest.raises(InputError, match="fingerprint"):
        Simulation(second)


def test_early_measurements_from_a_table(tmp_path: Path) -> None:
    asked = proposals(simulated(), 3)[0]
    columns: dict[str, list[str]] = {
        "choice.a": ["1", "2"],
        "macs": ["10", "20"],
        "accuracy.0": ["0.5", "0.1"],
        "accuracy.1": ["0.7", ""],
        "accuracy.0@50": ["0.25", ""],
        "loss.1": ["0.4", ""],
        "motion.0": ["0.9", ""],
        "steps": ["100", "100"],
        "fingerprint": [asked.fingerprint, "another"],
    }
    table_cells.write(tmp_path / "table.csv", columns)  # type: ignore[arg-type]
    simulation = Simulation(simulated(table=str(tmp_path / "table.csv")))
    measured = [event.metrics["accuracy"] for event in simulation.train(asked)]  # type: ignore[union-attr]
    assert measured == [0.5, 0.25, 0.5]  # there is no measurement after a quarter of the steps
    last, other = ([*simulation.train(replace(asked, repeat=repeat))][-1] for repeat in (2, 1))
    assert last.metrics == pytest.approx({"accuracy": 0.5, "loss": np.log(2), "likelihood": 0.5, "motion": 0.9})  # type: ignore[union-attr]
    assert other.metrics == pytest.approx({"accuracy": 0.7, "loss": 0.4, "likelihood": np.exp(-0.4)})  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"die": 1.5}, "die: 1.5 must be a number from 0 to 1"),
        ({"die": 0.5, "error": 0.6}, "die .* must be at most 1"),
        ({"seconds": -1}, "seconds: -1 must be"),
        ({"table": 3}, "table: 3 must be"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SimulationConfig(**settings)


def test_it_stands_where_training_would_and_nowhere_else() -> None:
    assert isinstance(evaluator(simulated(), None), Simulation)
    assert search_config.from_dict(search_config.to_dict(simulated(die=0.25))) == simulated(die=0.25)
    assert "simulation" not in search_config.to_dict(small())
    with pytest.raises(InputError, match="is for searches"):
        Trainer(simulated(), None)
    with pytest.raises(InputError, match="remove one of them"):
        small(simulation=SimulationConfig(), one_shot=sections.OneShot())


def test_a_simulated_search_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both executors give the same results; neither makes a data set."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(cache))
    options = ["--serial", "--simulate", "--quiet", "--out", str(tmp_path / "1")]
    assert run_search.main(["search", str(written(tmp_path, small())), *options]) == 0
    assert capsys.readouterr().out.startswith("simulated: ")
    file = written(tmp_path, simulated())
    assert finished(searching(tmp_path / "2", "ray", file, MOVINET_NAS_CACHE=cache)) == ("", "")
    assert not cache.exists()
    serial, ray = ledger_of(tmp_path / "1"), ledger_of(tmp_path / "2")
    assert serial.header.data_hash == ray.header.data_hash == DATA_HASH
    assert story(serial) == story(ray)


def test_faults_that_would_strike_the_run_itself_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, simulated(die=0.1))
    assert run_search.main(["search", str(file), "--serial", "--out", str(tmp_path / "out")]) == 2
    message = "error: simulation.die: 0.1 must be 0 without workers, because it would end or block the run itself\n"
    assert capsys.readouterr().err == message
    assert not (tmp_path / "out").exists()
