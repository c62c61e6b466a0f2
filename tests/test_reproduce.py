"""Retraining of a recorded network: the trainings, the comparison and the messages; and a real retraining."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from played_run import played, settings
from small_search import ROOT, finished, searching, small, written

from nas.config.sections import Finals
from nas.loop import run_folder
from nas.loop.search import trial_seed
from nas.record.events import Completed, Failed, Proposal
from nas.record.ledger import Ledger
from nas.studies import reproduce
from results.analysis.reproduction import Reproduction, reproduction, text, verdict
from search_space.base.errors import InputError

KNOWN = Reproduction(0.5, 0.5, (0.5, 0.52), (0.51,), 0.02, 6, (), False)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Return a run in which repeat r of a network is 0.01 r better, and trial 1 failed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOVINET_NAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        return run_folder.read(played(tmp_path_factory.mktemp("runs") / "played", failing=1))


def finalist(ledger: Ledger) -> Proposal:
    return next(each for each in ledger.proposals.values() if each.kind == "finalist")


def measured(ledger: Ledger, point: Proposal, *accuracies: float) -> list[tuple[Proposal, Completed | Failed]]:
    """Return results like those of `trained`: the first with the seed of the point."""
    proposals = reproduce.again(ledger, point, len(accuracies) - 1)
    return [(p, Completed(p.index, 1, {"accuracy": a}, 1.0)) for p, a in zip(proposals, accuracies, strict=True)]


def test_a_point_is_a_trial_or_the_label_of_finals(ledger: Ledger) -> None:
    assert reproduce.point(ledger, "0").index == 0
    assert reproduce.point(ledger, finalist(ledger).label) == finalist(ledger)
    assert reproduce.point(ledger, "a0").kind == "reference"


@pytest.mark.parametrize("name", ["", "9999", "-1", "trial 999", "a6", "9" * 400, "²"])
def test_a_point_that_is_not_there(ledger: Ledger, name: str) -> None:
    with pytest.raises(InputError, match="neither a trial of .* nor the label of a re-evaluation: .*'a0'"):
        reproduce.point(ledger, name)


def test_a_point_without_a_result(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        reproduce.point(ledger, "1")


def test_the_same_training_first_then_seeds_that_the_run_has_not_used(ledger: Ledger) -> None:
    point = finalist(ledger)
    same, *others = reproduce.again(ledger, point, 2)
    assert same == point
    used = {each.seed for each in ledger.proposals.values()}
    assert [each.repeat for each in others] == [3, 4]  # the search had 0, the re-evaluation 1 and 2
    assert [each.seed for each in others] == [trial_seed(ledger.header.seed, point.fingerprint, i) for i in (3, 4)]
    assert not used & {each.seed for each in others}
    assert all(each.architecture == point.architecture for each in others)
    with pytest.raises(InputError, match="--repeats"):
        reproduce.again(ledger, point, -1)


def test_the_trial_that_chose_a_network_is_not_what_it_is_compared_with(ledger: Ledger) -> None:
    point = finalist(ledger)
    trials = [each for each in ledger.proposals.values() if each.fingerprint == point.fingerprint]
    accuracy = [ledger.completed[each.index].metrics["accuracy"] for each in trials]
    found = reproduction(ledger, trials[0], measured(ledger, trials[0], accuracy[0], 0.9))
    assert (found.recorded, found.repeated, found.again) == (accuracy[0], accuracy[0], (0.9,))
    assert found.before == tuple(accuracy[1:])
    # Repeats are 0.01 apart: the squares are 2e-4 per network with three trainings, 0.5e-4 for the reference with two.
    groups = [each.fingerprint for each in ledger.proposals.values() if each.index in ledger.completed]
    counts = [groups.count(each) for each in dict.fromkeys(groups)]
    squares = sum({1: 0, 2: 0.5e-4, 3: 2e-4}[count] for count in counts)
    assert found.freedom == sum(count - 1 for count in counts)
    assert found.spread == pytest.approx(math.sqrt(squares / found.freedom))
    assert not found.selected


def test_a_search_trial_alone_flatters(ledger: Ledger) -> None:
    counts = [each.fingerprint for each in ledger.proposals.values()]
    done = [ledger.proposals[index] for index in ledger.completed]
    alone = next(proposal for proposal in done if counts.count(proposal.fingerprint) == 1)
    recorded = ledger.completed[alone.index].metrics["accuracy"]
    found = reproduction(ledger, alone, measured(ledger, alone, recorded, recorded - 0.2, recorded - 0.21))
    assert found.selected
    assert "selection bias" in verdict(found)


def test_a_training_that_fails_is_said(ledger: Ledger) -> None:
    point = finalist(ledger)
    same, other = reproduce.again(ledger, point, 1)
    found = reproduction(ledger, point, [(same, Failed(same.index, "diverged", 1)), (other, Failed(0, "again", 1))])
    assert math.isnan(found.repeated)
    assert found.failures == ("diverged", "again")
    assert "no result now" in text(found, point)
    assert "nan" not in text(found, point)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "reproduces within"),
        ({"again": (0.8,)}, "does not reproduce: +0.29"),
        ({"again": (0.2,)}, "does not reproduce: -0.31"),
        ({"freedom": 0, "spread": math.nan}, "not enough evidence"),
        ({"again": ()}, "gives the same result"),
        ({"again": (), "repeated": 0.4}, "does not give the same result"),
    ],
)
def test_what_is_said(changes: dict[str, object], said: str) -> None:
    assert said in verdict(replace(KNOWN, **changes))


def test_chance_is_students_interval_of_the_difference_of_two_means() -> None:
    assert replace(KNOWN, again=(0.5, 0.5, 0.5)).by_chance == pytest.approx(2.44691 * 0.02 * math.sqrt(1 / 3 + 1 / 2))


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_a_real_run_reproduces_and_is_left_as_it_was(tmp_path: Path) -> None:
    chosen = small(trials=2, finals=Finals(1, 1, ()))
    chosen = replace(chosen, space=replace(chosen.space, blocks=chosen.space.blocks[:3]))
    folder, cache = tmp_path / "run", tmp_path / "cache"
    done = finished(searching(folder, "serial", written(tmp_path, chosen), MOVINET_NAS_CACHE=cache))
    assert done == ("", "")
    before = contents(folder)
    program = [sys.executable, str(ROOT / "run_search.py"), "reproduce", str(folder), "0", "--repeats", "1"]
    environment = {"MOVINET_NAS_CACHE": str(cache), "PATH": ""}
    result = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "now: equal" in result.stdout
    assert "verdict      reproduces" in result.stdout or "verdict      not enough evidence" in result.stdout
    assert contents(folder) == before


def test_other_clips_are_refused(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path))
    other = replace(ledger, header=replace(ledger.header, data_hash="another"))
    with pytest.raises(InputError, match="its clips have changed"):
        next(iter(reproduce.trained(other, [finalist(ledger)])))
    assert settings().seed == ledger.header.seed
