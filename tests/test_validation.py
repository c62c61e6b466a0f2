"""Validation of a finished run: its trainings, its report, and a real validation, killed and resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from played_run import accuracy, begin, play, played, settings
from small_search import finished, kill, ledger_of, searching, small, started, wait_for, written

import run_search
from cli import json_output
from movinet_nas import runs
from nas.config import search_config as configs
from nas.config.sections import Finals, SimulationConfig
from nas.execution.ray_cluster import ALONE
from nas.loop import run_folder
from nas.loop.search import Search
from nas.record.events import Completed, Proposal, Resumed
from nas.studies import validation as trainings
from results.analysis import validation
from search_space.architecture import from_dict
from search_space.base.errors import InputError
from search_space.cost.counting import count

SETTINGS = trainings.Settings(steps_factor=4, repeats=2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def in_cache(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(cache))


@pytest.fixture
def of_a_run(tmp_path: Path) -> Path:
    """Write a run with made-up results and three published networks."""
    chosen = settings(finals=Finals(repeats=2, most=3, references=("a0", "a2", "a5")))
    with begin(tmp_path / "run", chosen) as writer:
        play(Search(chosen, writer))
    return tmp_path / "run"


def lead(proposal: Proposal) -> float:
    """Add .1 to searched networks, as if longer training helped them more; the order within a kind stays."""
    return accuracy(proposal) * 0.8 + 0.1 * (proposal.kind == "finalist")


def long_run(folder: Path, chosen: trainings.Settings = SETTINGS) -> Path:
    """Write the validation of a run with made-up measurements."""
    config = trainings.validation(run_folder.read(folder), chosen)
    own = trainings.folder_of(folder, chosen.steps_factor)
    with begin(own, config) as writer:
        search = Search(config, writer)
        while (proposal := search.propose()) is not None:
            metrics = {"accuracy": lead(proposal), "loss": 1.0, "test_accuracy": lead(proposal)}
            search.observe(Completed(proposal.index, config.training.steps, metrics, 1.0))
        assert search.finished
    return own


def test_both_kinds_of_networks_are_trained_longer_with_new_seeds_and_again_larger(of_a_run: Path) -> None:
    ledger = run_folder.read(of_a_run)
    before, config = run_folder.config_of(ledger), trainings.validation(ledger, SETTINGS)
    assert config.training == dataclasses.replace(before.training, steps=4 * before.training.steps)
    assert config.data.train * 8 >= config.training.steps * config.training.batch_size
    assert not config.early_stopping.rungs and config.seed != before.seed
    assert configs.from_dict(json.loads(json.dumps(configs.to_dict(config)))) == config

    again = {(each.kind, each.label) for each in ledger.proposals.values() if each.kind != "search"}
    own = [each for each in config.networks if each.scale == 1]
    assert {(each.kind, each.of) for each in own} == again
    costs = {each.of: count(from_dict(each.architecture), 12).macs for each in own}
    clip = from_dict(own[0].architecture).clip
    for each in config.networks[len(own) :]:
        network = from_dict(each.architecture)
        assert abs(count(network, 12).macs / (4 * costs[each.of]) - 1) <= 0.25 and each.label == f"{each.of} x4"
        assert clip.frames <= network.clip.frames <= 16 and network.clip.resolution <= max(before.space.resolutions)

    long = run_folder.read(long_run(of_a_run))
    assert len(long.completed) == 2 * len(config.networks) == 4 * len(own)
    seeds = {each.seed for each in long.proposals.values()}
    assert len(seeds) == len(long.proposals) and not seeds & {each.seed for each in ledger.proposals.values()}


def test_a_lead_is_reported_with_its_interval_and_a_kept_order_as_correlation(of_a_run: Path) -> None:
    folder = long_run(of_a_run)
    found = validation.validation(run_folder.read(of_a_run), run_folder.read(folder))
    assert [part.scale for part in found.parts] == [1, 4]
    for part in found.parts:
        assert not part.missing and part.comparison is not None
        differences = [point.difference for point in part.comparison.points]
        assert all(each.low <= each.value <= each.high for each in differences if not np.isnan(each.value))
        assert part.correlation.networks == 6 and -1 <= part.correlation.overall.low <= part.correlation.overall.value
    assert found.parts[0].correlation.overall.value > 0.5
    told = validation.text(found)
    assert "trained for 48 steps in place of 12" in told and "scaled to 4 times" in told
    files = validation.write(found, json_output.text(validation.plain(found)), folder)
    assert [path.name for path in files] == ["validation.json", "front.png", "front_x4.png"]
    assert json.loads(files[0].read_text())["parts"][0]["correlation"]["networks"] == 6


def test_correlation_is_that_of_pairs_and_its_interval_widens_with_noise() -> None:
    x, y = np.array([[1.0, 2, 3, 4]]), np.array([[1.0, 3, 2, 4]])
    i, j = np.triu_indices(4, 1)
    assert validation._tau(x, y, i, j)[0] == pytest.approx(2 / 3)
    within = np.array([(a < 2) == (b < 2) for a, b in zip(i, j, strict=True)])
    assert validation._tau(x, y, i[within], j[within])[0] == 1
    rng = np.random.default_rng(0)
    narrow, wide = (validation._drawn([x + np.array([-s, s]) for x in (1.0, 2, 3)], rng)[1] for s in (0.1, 1.0))
    assert narrow.std(axis=0).max() < 0.2 < wide.std(axis=0).min()


def test_what_cannot_be_validated_is_refused_in_one_line(of_a_run: Path, tmp_path: Path) -> None:
    refused: list[tuple[Any, str]] = [
        (lambda: run_folder.read(tmp_path / "none"), "is not a folder"),
        (lambda: trainings.Settings(steps_factor=0), "--steps-factor: 0 must be a number from"),
        (lambda: trainings.Settings(repeats=0), "--repeats: 0 must be"),
        (lambda: trainings.Settings(scale=0.5), "--scale: 0.5 must be"),
        (
            lambda: trainings.validation(run_folder.read(played(tmp_path / "cut", 5)), SETTINGS),
            "is not finished; resume it",
        ),
        (lambda: trainings.validation(run_folder.read(long_run(of_a_run)), SETTINGS), "it is already a validation"),
        (lambda: trainings.resume(tmp_path / "none", "serial", lambda search: None), "without --resume"),
        (
            lambda: validation.validation(run_folder.read(of_a_run), run_folder.read(of_a_run)),
            "a validation needs some",
        ),
    ]
    for attempt, message in refused:
        with pytest.raises(InputError) as caught:
            attempt()
        assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_search_settles_the_choice_of_parents_and_does_so_once(tmp_path: Path) -> None:
    family = {"targets": {"a0": 2e8, "a1": 1e9}, "settle": {"parents": 2, "factor": 2, "repeats": 2}}
    chosen = settings(simulation=SimulationConfig(), family=family)
    out = tmp_path / "out"
    assert run_search.main(["search", str(written(tmp_path, chosen)), "--out", str(out), "--serial", "--quiet"]) == 0
    settled = ledger_of(out / "settle")
    assert settled.completed and {each.kind for each in settled.proposals.values()} == {"finalist"}
    labels = {each.label for each in settled.proposals.values()}
    assert len(settled.completed) == 2 * len(labels)
    record = json.loads((out / "configs" / "family.json").read_text())
    for model in record["models"]:
        if "parent" in model:
            variants = [row for row in model["comparison"] if "scaled_variant" in row]
            assert {row["fingerprint"] for row in variants} == {
                label.split()[1] for label in labels if label.startswith(f"{model['model']}: ")
            }
            best = max(variants, key=lambda row: row["scaled_variant"]["accuracy"])
            assert model["parent"]["fingerprint"] == best["fingerprint"]
    entries = len(settled.entries)
    runs.settle(out, "serial", contextlib.nullcontext, ALONE)
    assert len(ledger_of(out / "settle").entries) == entries


@pytest.mark.slow
def test_with_ray_killed_and_resumed_it_is_finished_and_compared(tmp_path: Path, cache: Path) -> None:
    out, environment = tmp_path / "out", {"MOVINET_NAS_CACHE": cache}
    assert finished(searching(out, "serial", written(tmp_path, small()), **environment)) == ("", "")
    arguments = [out, "--steps-factor", "2", "--scale", "2", "--repeats", "1"]
    process = started(*arguments, command="validate", **environment)
    own = out / "validation-2x"
    wait_for(lambda: (own / "ledger.jsonl").exists() and len(ledger_of(own).completed) >= 2, process)
    kill(process)
    before = ledger_of(own)
    printed, errors = finished(started(*arguments[:3], "--resume", "--json", command="validate", **environment))
    found, after = json.loads(printed), ledger_of(own)
    assert errors == "" and [part["scale"] for part in found["parts"]] == [1, 2]
    assert after.entries[: len(before.entries)] == before.entries and not after.pending and not after.failed
    assert sum(isinstance(entry.record, Resumed) for entry in after.entries) == 1
    assert {done.steps for done in after.completed.values()} == {8}
    assert len(after.completed) == sum(len(part["networks"]) for part in found["parts"]) >= 4
    assert all(Path(file).exists() for file in found["files"])
    printed, errors = finished(started(*arguments, command="validate", **environment))
    assert printed == "" and "already contains a run" in errors and errors.count("\n") == 1
