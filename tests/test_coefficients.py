"""Test the search for scaling coefficients: its trainings and their order, its decision, and the use of the outcome."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from played_run import played
from small_search import ROOT, finished, searching, small, written

import run_search
from nas.config import search_config, sections
from nas.loop import run_folder
from nas.loop.algorithm import make_algorithm
from nas.record.events import Completed, Event, Failed, Proposal
from nas.record.ledger import Header, Ledger, read
from nas.record.ledger_writer import LedgerWriter
from nas.studies import coefficients
from nas.studies.coefficients import EQUAL, FINALISTS, TIMES, Settings, parents_of, plan, selected_draws, train_all
from results.analysis import coefficients as tried
from results.family import refinement
from results.outcome import family_config, family_of, with_targets
from search_space.architecture import Architecture, Clip, from_dict, to_dict
from search_space.base.errors import InputError
from search_space.base.yaml_file import parse_yaml
from search_space.cost.counting import count
from search_space.scaling.compound import DEFAULT_COEFFICIENTS, Coefficients, Factors, scale_to_macs
from search_space.space.movinet import from_dict as space_from_dict
from search_space.space.movinet import movinet_space

# A fixed space, because it decides which draws become equal networks after rounding.
SPACE = """
schema: movinet-nas/space/1
name: movinet_proxy
classes: 18
frames: 16
frame_strides: [1, 2, 4]
resolutions: [16, 20, 24]
stem_widths: [8]
blocks:
  - {base_width: 8, widths: [8, 16], stride: 2, depths: [1, 2, 3]}
  - {base_width: 16, widths: [8, 16, 24], stride: 2, depths: [1, 2, 3]}
  - {base_width: 24, widths: [16, 24, 32], stride: 2, depths: [1, 2, 3]}
  - {base_width: 24, widths: [16, 24, 32], stride: 1, depths: [1, 2, 3]}
  - {base_width: 48, widths: [40, 48, 64], stride: 2, depths: [1, 2, 3]}
project: [96, 128, 160]
dense: 512
"""
PRESET = dataclasses.replace(search_config.load("default"), space=space_from_dict(parse_yaml(SPACE, "space", "test")))
CLASSES = PRESET.space.classes
LIFT = Factors(2.5, 3.0, 9.3333333, 6.25)
SETTINGS = Settings(draws=8, seeds=3, lift=LIFT)
MODEL = "a0"
LUCKY, BETTER = 4, 5  # draws whose networks no other draw has


def members(settings: search_config.SearchConfig, n: int) -> list[Architecture]:
    """Return architectures in a space, cheapest first."""
    space = movinet_space(settings.space)
    found = [space.decode(tuple(row)) for row in space.sample(np.random.default_rng(0), n, -6.0).tolist()]
    return sorted(found, key=lambda each: count(each, CLASSES).macs)


@pytest.fixture(scope="module")
def planned() -> dict[str, Any]:
    return plan(PRESET, parents_of(members(PRESET, 12), PRESET.space, DEFAULT_COEFFICIENTS), SETTINGS)


def trained(path: Path, planned: dict[str, Any], train: Callable[[Proposal], Event]) -> Ledger:
    """Return the event log of a search whose trainings are computed by a function."""
    path.mkdir(exist_ok=True)
    file = path / "ledger.jsonl"
    if not file.exists():
        LedgerWriter.create(file, Header(planned, {}, 0, "abc", "2030-01-01T00:00:00+00:00")).close()
    with LedgerWriter.open_for_append(file) as writer:
        train_all(PRESET, writer, train, lambda line: None)
    return read(file)


def measured(planned: dict[str, Any], better: int | None, by: float = 0.05) -> Callable[[Proposal], Event]:
    """Compute accuracies by a formula: noise from the seed, and one draw that is better than all others."""
    favoured = planned["draws"][better]["fingerprints"] if better is not None else ()

    def train(proposal: Proposal) -> Event:
        noise = np.random.default_rng(proposal.seed).normal(0, 0.01)
        accuracy = 0.3 + float(noise) + by * (proposal.fingerprint in favoured)
        return Completed(proposal.index, 128, {"accuracy": accuracy, "likelihood": accuracy}, 1.0)

    return train


def test_parents_are_of_the_cheaper_half_on_the_smallest_clip_and_can_grow() -> None:
    front = members(PRESET, 12)
    small = [dataclasses.replace(each, clip=Clip(4, 16, 4)) for each in front[:6]]
    grow = [each for each in small if can_grow(each)]
    assert 1 < len(grow) < 6
    assert parents_of(front, PRESET.space, DEFAULT_COEFFICIENTS) == [grow[0], grow[-1]]
    assert parents_of([front[small.index(grow[0])]], PRESET.space, DEFAULT_COEFFICIENTS) == [grow[0]]
    with pytest.raises(InputError, match="front: 0 networks are too few"):
        parents_of([], PRESET.space, DEFAULT_COEFFICIENTS)
    stuck = next(each for each in small if each not in grow)
    with pytest.raises(
        InputError, match="front: 1 networks of its cheaper half cannot be scaled to 4 times their cost"
    ):
        parents_of([stuck], PRESET.space, DEFAULT_COEFFICIENTS)


def can_grow(network: Architecture) -> bool:
    target = TIMES * count(network, CLASSES).macs
    try:
        return bool(scale_to_macs(network, target, CLASSES, DEFAULT_COEFFICIENTS, tolerance=EQUAL))
    except InputError:
        return False


def test_every_draw_is_compared_at_equal_cost_on_clips_that_there_are(planned: dict[str, Any]) -> None:
    assert json.loads(json.dumps(planned)) == planned
    assert len(planned["draws"]) == SETTINGS.draws
    parents = [from_dict(parent) for parent in planned["parents"]]
    assert planned["draws"][0]["coefficients"] == vars(DEFAULT_COEFFICIENTS)
    for draw in planned["draws"]:
        assert np.abs(np.array(draw["steps"]) / 2 - 1).max() <= 0.05
        for parent, data in zip(parents, draw["networks"], strict=True):
            network = from_dict(data)
            assert abs(count(network, CLASSES).macs / count(parent, CLASSES).macs / TIMES - 1) <= EQUAL
            assert network.clip.frames <= 16 and network.clip.resolution <= 24
    names = [name for draw in planned["draws"] for name in draw["fingerprints"]]
    for draw in (LUCKY, BETTER):  # other tests rely on these; other draws become equal networks after rounding
        assert all(names.count(name) == 1 for name in planned["draws"][draw]["fingerprints"])


def test_all_are_screened_once_and_the_best_trained_again(planned: dict[str, Any], tmp_path: Path) -> None:
    ledger = trained(tmp_path, planned, measured(planned, better=BETTER))
    repeats = [proposal.repeat for proposal in ledger.proposals.values()]
    assert repeats == sorted(repeats) and max(repeats) == SETTINGS.seeds
    keys = [(proposal.fingerprint, proposal.repeat) for proposal in ledger.proposals.values()]
    assert len(set(keys)) == len(keys)
    screened = {name for name, repeat in keys if repeat == 0}
    assert screened == {name for draw in planned["draws"] for name in draw["fingerprints"]}
    table = tried.table(ledger)
    again = table.index[table["n"] > 0].to_list()
    networks = [tuple(draw["fingerprints"]) for draw in planned["draws"]]
    assert 0 in again and BETTER in again and len({networks[i] for i in again}) == 1 + FINALISTS
    worst = table.loc[table["n"] == 0, "first"].max()
    assert table.loc[[i for i in again if networks[i] != networks[0]], "first"].min() >= worst


def test_draws_that_come_to_the_same_networks_are_one_finalist(planned: dict[str, Any]) -> None:
    draws = planned["draws"]
    twins = {**planned, "draws": [draws[i] for i in (0, LUCKY, BETTER, 0, BETTER, 6)]}
    accuracy = {(name, 0): 0.1 * i for i, draw in enumerate(draws) for name in draw["fingerprints"]}
    assert selected_draws(twins, accuracy) == [0, 5, 2, 1]


def test_a_better_draw_is_chosen_and_a_lucky_one_is_not(planned: dict[str, Any], tmp_path: Path) -> None:
    better = tried.decision(trained(tmp_path / "better", planned, measured(planned, better=BETTER)))
    assert better["chosen"] == BETTER and "is above zero" in better["why"]
    assert better["coefficients"] == planned["draws"][BETTER]["coefficients"]
    equal = tried.decision(trained(tmp_path / "equal", planned, measured(planned, better=None)))
    assert equal["chosen"] == 0 and "not enough evidence" in equal["why"]
    assert equal["coefficients"] == vars(DEFAULT_COEFFICIENTS)


def test_the_interval_is_of_pairs_that_did_not_choose_the_finalists(planned: dict[str, Any], tmp_path: Path) -> None:
    train = measured(planned, better=BETTER)

    def lucky_once(proposal: Proposal) -> Event:
        event = train(dataclasses.replace(proposal, seed=5))  # no noise between seeds
        assert isinstance(event, Completed)
        gain = 0.5 if proposal.repeat == 0 and proposal.fingerprint in planned["draws"][LUCKY]["fingerprints"] else 0.0
        return dataclasses.replace(event, metrics={name: value + gain for name, value in event.metrics.items()})

    table = tried.table(trained(tmp_path, planned, lucky_once)).set_index("draw")
    pairs = len(planned["parents"]) * SETTINGS.seeds
    assert table["first"].idxmax() == LUCKY
    assert table.loc[LUCKY, ["difference", "low", "high", "n"]].to_list() == pytest.approx([0, 0, 0, pairs])
    assert table.loc[BETTER, "difference"] == pytest.approx(0.05) == pytest.approx(table.loc[BETTER, "low"])


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(planned: dict[str, Any], tmp_path: Path) -> None:
    train = measured(planned, better=1)
    whole = trained(tmp_path / "whole", planned, train)
    for stop in (0, 3, 14):
        number = itertools.count()

        def failing(proposal: Proposal, stop: int = stop, number: Any = number) -> Event:
            if next(number) == stop:
                raise KeyboardInterrupt
            return train(proposal)

        with contextlib.suppress(KeyboardInterrupt):
            trained(tmp_path / str(stop), planned, failing)
        assert trained(tmp_path / str(stop), planned, train).events == whole.events


def test_a_failed_training_is_no_result(planned: dict[str, Any], tmp_path: Path) -> None:
    train = measured(planned, better=BETTER)
    lost = planned["draws"][BETTER]["fingerprints"][0]

    def diverging(proposal: Proposal) -> Event:
        return Failed(proposal.index, "diverged", 1) if proposal.fingerprint == lost else train(proposal)

    decided = tried.decision(trained(tmp_path, planned, diverging))
    assert decided["chosen"] == 0
    assert decided["draws"][BETTER]["first"] is None and decided["draws"][BETTER]["n"] == 0


def test_the_record_is_read_back_as_it_was_written(planned: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / tried.FOLDER
    assert tried.chosen(tmp_path) is None
    ledger = trained(folder, planned, measured(planned, better=BETTER))
    table_path, record_path = tried.write(ledger, folder)
    record = yaml.safe_load(record_path.read_text())
    assert record["schema"] == tried.SCHEMA and len(record["draws"]) == SETTINGS.draws
    assert list(record["draws"][0]["steps"]) == ["-1", "0", "1", "2", "3"]
    pd.testing.assert_frame_equal(pd.read_csv(table_path), tried.table(ledger))
    found, origin = tried.chosen(tmp_path) or (None, "")
    assert found == Coefficients(**planned["draws"][BETTER]["coefficients"]) and origin.endswith(f"draw {BETTER}")
    assert "+0.0" in tried.text(ledger) and max(map(len, tried.text(ledger).splitlines())) <= 200
    record_path.write_text("schema: movinet-nas/space/1\n")
    with pytest.raises(InputError, match="coefficients.yaml"):
        tried.chosen(tmp_path)


def test_an_unfinished_search_decides_nothing(planned: dict[str, Any], tmp_path: Path) -> None:
    def interrupted(proposal: Proposal) -> Event:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, planned, interrupted)
    with pytest.raises(InputError, match="0 trainings are done; the search is not finished"):
        tried.write(read(tmp_path / "ledger.jsonl"), tmp_path)
    assert not (tmp_path / tried.RECORD).exists()


@pytest.fixture(scope="module")
def of_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOVINET_NAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        return played(tmp_path_factory.mktemp("runs") / "run")


def test_the_family_uses_what_was_chosen_and_says_so(of_a_run: Path, planned: dict[str, Any], tmp_path: Path) -> None:
    before = family_config(run_folder.read(of_a_run))
    assert before.coefficients_from in ("default", "configuration")
    folder = of_a_run / tried.FOLDER
    tried.write(trained(folder, planned, measured(planned, better=BETTER)), folder)
    try:
        ledger = run_folder.read(of_a_run)
        family = family_of(ledger, family_config(ledger))
    finally:
        (folder / tried.RECORD).unlink()
    chosen = planned["draws"][BETTER]["coefficients"]
    for member in family.models[:6]:
        assert member.decision["coefficients"] == chosen
        assert member.decision["coefficients_from"] == f"coefficients/coefficients.yaml, draw {BETTER}"
        assert abs(member.network.cost["macs"] / member.network.target_macs - 1) <= 0.02


TARGET = 3e6


def test_a_refinement_is_a_search_around_the_target(of_a_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "refine.yaml"
    arguments = ["scale", str(of_a_run), "--target", f"{MODEL}={TARGET:g}", "--refine", MODEL, "--out", str(file)]
    assert run_search.main(arguments) == 0
    settings = search_config.load(str(file))
    assert [limit.at_most for limit in settings.limits] == [round(TARGET * 1.02)]
    before = run_folder.config_of(run_folder.read(of_a_run))
    assert settings.space.frames == before.space.frames and settings.space.resolutions == before.space.resolutions
    space = movinet_space(settings.space)
    macs = space.count(space.sample(np.random.default_rng(5), 4000))["macs"]
    assert np.median(macs) == pytest.approx(TARGET, rel=0.25)
    assert (np.abs(macs / TARGET - 1) <= 0.02).mean() > 0.01
    assert run_search.main([*arguments[:5], "a1", *arguments[6:]]) == 2


def test_a_refinement_of_videos_scales_the_clip_too(of_a_run: Path) -> None:
    ledger = run_folder.read(of_a_run)
    data = {**ledger.header.config["data"], "source": "video_folder", "path": "/videos", "frame_stride": 50}
    header = dataclasses.replace(ledger.header, config={**ledger.header.config, "data": data})
    config_of_it = with_targets(ledger, ["a0=2.7e9"])
    written = refinement.refinement(dataclasses.replace(ledger, header=header), config_of_it, MODEL)
    space = space_from_dict(written["space"])
    before = space_from_dict(ledger.header.config["space"])
    assert space.frames > before.frames and max(space.resolutions) > max(before.resolutions)
    assert written["data"]["frame_stride"] * space.frames == pytest.approx(50 * before.frames, rel=0.1)
    members = movinet_space(space)
    macs = members.count(members.sample(np.random.default_rng(5), 4000))["macs"]
    assert (np.abs(macs / 2.7e9 - 1) <= 0.02).any()


def test_an_algorithm_that_takes_a_start_gets_the_scaled_parents(of_a_run: Path) -> None:
    ledger = run_folder.read(of_a_run)
    algorithm = {"name": "frontier_search", "options": {"random_every": 5, "hints": [[[0], 0.5]]}}
    header = dataclasses.replace(ledger.header, config={**ledger.header.config, "algorithm": algorithm})
    made = refinement.refinement(
        dataclasses.replace(ledger, header=header), with_targets(ledger, [f"{MODEL}={TARGET}"]), MODEL
    )
    options = made["algorithm"]["options"]
    space = movinet_space(space_from_dict(made["space"]))
    assert "hints" not in options
    assert options["random_every"] == 5 and 1 <= len(options["start_genotypes"]) <= 3
    macs = space.count(space.canonical_batch(np.array(options["start_genotypes"])))["macs"]
    assert np.abs(np.log(macs / TARGET)).max() < math.log(2)
    settings = search_config.from_dict(made)
    within = [tuple(options["start_genotypes"][i]) for i in np.flatnonzero(macs <= settings.limits[0].at_most)]
    first = make_algorithm(settings).ask(np.random.default_rng(0))
    assert not within or first == within[0]


def commanded(*arguments: str) -> tuple[int, str, str]:
    """Run `run_search.py ...` in a new process, because the settings of TensorFlow's threads may be fixed here."""
    command = [sys.executable, str(ROOT / "run_search.py"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    return ended.returncode, ended.stdout, ended.stderr


def test_a_real_search_and_a_real_refinement(tmp_path: Path) -> None:
    """Run real, minimal trainings from the command line."""
    base = small()
    space = dataclasses.replace(base.space, frame_strides=(1, 4), resolutions=(10, 16), blocks=base.space.blocks[:3])
    lift = {"family": {"lift": vars(LIFT), "targets": {MODEL: 1e9}}}
    stopping, finals = sections.EarlyStopping(()), sections.Finals(1, 2, ())
    settings = dataclasses.replace(base, space=space, trials=3, early_stopping=stopping, finals=finals, **lift)
    finished(searching(tmp_path / "run", "serial", written(tmp_path, settings)))
    command = ["coefficients", str(tmp_path / "run"), "--draws", "2", "--seeds", "2"]
    code, first, _ = commanded(*command)
    assert code == 0 and "training 1: network" in first and "incumbent" in first
    folder = tmp_path / "run" / tried.FOLDER
    ledger = read(folder / coefficients.LEDGER)
    assert {done.steps for done in ledger.completed.values()} == {4}
    assert set(ledger.completed[0].metrics) >= {"accuracy"} and "test_accuracy" not in ledger.completed[0].metrics
    assert tried.chosen(tmp_path / "run") is not None
    code, again, _ = commanded(*command)  # no training is left
    assert code == 0 and "training" not in again.partition("incumbent")[0]
    code, _, error = commanded(*command[:2], "--draws", "3")
    assert code == 2 and "contains another search" in error
    file = tmp_path / "refine.yaml"
    cost = np.median(
        [count(from_dict(p.architecture), 12).macs for p in run_folder.read(tmp_path / "run").proposals.values()]
    )
    target = f"{MODEL}={2 * cost:.0f}"
    assert run_search.main(["scale", command[1], "--target", target, "--refine", MODEL, "--out", str(file)]) == 0
    finished(searching(tmp_path / "refined", "serial", file))
    refined = run_folder.read(tmp_path / "refined")
    assert refined.completed and all(p.cost["macs"] <= 2 * cost * 1.03 for p in refined.proposals.values())


def test_plain_parents_survive_the_record(planned: dict[str, Any]) -> None:
    assert [to_dict(from_dict(parent)) for parent in planned["parents"]] == planned["parents"]
