"""Tests of the one-shot search: its steps, resume and results."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from small_search import small

from nas.benchmark import table
from nas.config import search_config as configs
from nas.config.search_config import SearchConfig
from nas.config.sections import AlgorithmConfig, Finals, OneShot
from nas.evaluation.proxy_trainer import Trainer, open_data
from nas.execution import serial
from nas.loop.search import Search
from nas.one_shot import hints, run
from nas.one_shot.tunas import COLUMNS, OneShotSearch, clips_of_step, targets_of
from nas.record.ledger import Header, read
from nas.record.ledger_writer import LedgerWriter
from run_search import main
from search_space.base.errors import InputError
from search_space.space.movinet import movinet_space

ROOT = Path(__file__).parents[1]
FEW = OneShot(steps=12, warmup=0.25, controller_rate=0.5, reward_clips=8, recalibration_clips=16, checkpoint=5)


def settings(**changes: Any) -> SearchConfig:
    """Return the settings of the small one-shot search, three blocks of four."""
    whole = small(finals=Finals(repeats=0), one_shot=replace(FEW, **changes))
    return replace(whole, space=replace(whole.space, blocks=whole.space.blocks[:3]))


def simulated(config: SearchConfig) -> SearchConfig:
    """Return a simulated frontier search of the same space."""
    algorithm = AlgorithmConfig("frontier_search")
    return replace(config, one_shot=None, algorithm=algorithm, simulation=configs.SimulationConfig())


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    return Trainer(settings(), open_data(settings().data, settings().space), threads=None)


def quiet(line: str) -> None:
    pass


def trained(search: OneShotSearch, steps: int = FEW.steps) -> OneShotSearch:
    while search.supernet.steps_done < steps:
        search.step()
    return search


def without_time(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    plain = json.loads(str(state["plain"]))
    del plain["seconds"]
    return state | {"plain": np.array(json.dumps(plain)), "history": state["history"][:, :-1]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[OneShotSearch, Path]:
    """Return an uninterrupted search and its folder."""
    folder = tmp_path_factory.mktemp("one-shot") / "whole"
    return run.begin(settings(), folder, quiet, threads=None), folder


def test_the_first_steps_train_weights_alone_and_the_targets_take_turns(trainer: Trainer) -> None:
    search = trained(OneShotSearch(settings(), trainer), 3)
    assert [controller.updates for controller in search.controllers] == [0, 0, 0]
    trained(search, 9)
    history = np.array(search.history)
    assert np.isnan(history[:, COLUMNS.index("accuracy")]).tolist() == [True] * 3 + [False] * 6
    rewards = history[3:, COLUMNS.index("reward_statistic")]
    assert (rewards > 0).all() and (rewards != history[3:, COLUMNS.index("accuracy")]).all()
    assert history[:, COLUMNS.index("target")].tolist() == [0, 1, 2] * 3
    assert [controller.updates for controller in search.controllers] == [2, 2, 2]


def test_told_to_stop_it_saves_what_it_has(tmp_path: Path) -> None:
    def report(line: str) -> None:
        if "step 5 " in line:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run.begin(settings(checkpoint=5), tmp_path, report, threads=None)
    plain, _ = run.read_checkpoint(tmp_path / "supernet" / "checkpoint.npz")
    assert plain["steps"] == 5


def test_interrupted_is_unbroken(whole: tuple[OneShotSearch, Path], trainer: Trainer, tmp_path: Path) -> None:
    search, folder = whole
    assert search.finished
    broken = trained(OneShotSearch(settings(), trainer), 5)
    path = tmp_path / "out" / run.SUPERNET
    path.mkdir(parents=True)
    np.savez(path / run.CHECKPOINT, **broken.state())  # type: ignore[arg-type]
    resumed = run.resume(tmp_path / "out", quiet, threads=None)
    expected, found = without_time(search.state()), without_time(resumed.state())
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert run.read_members(tmp_path / "out") == run.read_members(folder)


def test_what_is_found_is_near_its_target(whole: tuple[OneShotSearch, Path]) -> None:
    search, folder = whole
    found = run.read_members(folder)
    assert [each.target for each in found] == list(targets_of(search.config))
    for each in found:
        assert abs(each.macs / each.target - 1) <= FEW.tolerance
        assert each.how in ("argmax", "most probable within")
        assert search.measure(search.space.decode(each.genotype))["accuracy"] == each.supernet_accuracy
        assert f"{each.macs}" in run.table_text(found)


def test_the_history_is_a_table(whole: tuple[OneShotSearch, Path]) -> None:
    with open(whole[1] / run.SUPERNET / run.HISTORY, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COLUMNS and len(rows) == FEW.steps
    assert {float(row[1]) for row in rows} == set(targets_of(settings()))


def test_a_finished_search_is_only_read(whole: tuple[OneShotSearch, Path]) -> None:
    path = whole[1] / run.SUPERNET / run.MEMBERS
    before = path.read_bytes(), path.stat().st_mtime_ns
    run.resume(whole[1], quiet, threads=None)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_the_rows_of_a_table_are_ranked(whole: tuple[OneShotSearch, Path], tmp_path: Path) -> None:
    search, folder = whole
    retraining = run.retraining(search.config, run.read_members(folder))
    once = replace(retraining, training=replace(retraining.training, steps=1))
    header = Header(configs.to_dict(once), {}, 0, "none")
    with LedgerWriter.create(tmp_path / "ledger.jsonl", header) as writer:
        serial.run(Search(once, writer), Trainer(once, search.trainer.data, threads=None))
    (tmp_path / "out").mkdir()
    made = table.from_ledger(read(tmp_path / "ledger.jsonl"))
    table.write(made, tmp_path / "rows.csv")
    ranked = table.read(run.rank(search, tmp_path / "rows.csv", tmp_path / "out", quiet))
    found = [search.space.decode(each.genotype) for each in run.read_members(folder)]
    scores = [search.measure(network)["likelihood"] for network in found]
    assert sorted(ranked.scores[run.SCORE]) == sorted(set(scores))
    assert ranked.accuracy.tolist() == made.accuracy.tolist()


def test_members_are_hinted_at_for_another_search(
    whole: tuple[OneShotSearch, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search, folder = whole
    path = run.hint(search, 6, folder, quiet)
    members = hints.members(search.config, 6)
    given = json.loads(path.read_text())["hints"]
    assert given == [
        [list(genotype), search.measure(search.space.decode(genotype))["likelihood"]] for genotype in members
    ]
    assert len(set(members)) == 6
    chosen = replace(simulated(search.config), trials=3)
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(configs.to_dict(chosen)))
    begun = ["search", str(tmp_path / "search.yaml"), "--serial", "--quiet", "--hints", str(path)]
    assert main([*begun, "--out", str(tmp_path / "run")]) == 0
    options = read(tmp_path / "run" / "ledger.jsonl").header.config["algorithm"]["options"]
    assert options["hints"] == given
    again = ["search", "--resume", str(tmp_path / "run"), "--serial", "--quiet"]
    assert main(again) == 0
    assert main([*again, "--hints", str(path)]) == 2
    assert main(["one-shot", "--resume", str(folder), "--hints", "0"]) == 2
    assert "--hints" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("", "is not JSON"),
        ('{"schema": "movinet-nas/hints/2"}', "newer version"),
        ('{"schema": "movinet-nas/hints/1", "hints": []}', "lacks"),
        ('{"schema": "movinet-nas/hints/1", "space": {}, "hints": []}', "not the searched space"),
        ('{"schema": "movinet-nas/hints/1", "space": SPACE, "hints": []}', "at least one prior score"),
        ('{"schema": "movinet-nas/hints/1", "space": SPACE, "hints": [[[99], 0.5]]}', "must be"),
    ],
)
def test_a_bad_file_of_hints_is_refused(
    change: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = simulated(settings())
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(configs.to_dict(chosen)))
    space = json.dumps(configs.to_dict(chosen)["space"])
    (tmp_path / "hints.json").write_text(change.replace("SPACE", space))
    out = tmp_path / "run"
    begun = ["search", str(tmp_path / "search.yaml"), "--serial", "--out", str(out)]
    assert main([*begun, "--hints", str(tmp_path / "hints.json")]) == 2
    assert main([*begun, "--hints", str(tmp_path / "missing.json")]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_the_command_retrains_what_was_found(whole: tuple[OneShotSearch, Path], tmp_path: Path) -> None:
    """The command runs in a separate process, because TensorFlow's threads are already configured in this one."""
    folder = tmp_path / "again"
    shutil.copytree(whole[1], folder)
    program = [sys.executable, str(ROOT / "run_search.py"), "one-shot", "--resume", str(folder), "--serial", "--json"]
    ended = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.count("\n")) == (0, 1), ended.stderr
    outcome = json.loads(ended.stdout)
    found = run.read_members(folder)
    assert [each["macs"] for each in outcome["supernet"]] == [each.macs for each in found]
    assert outcome["run"] == str(folder / run.RETRAINED)
    assert outcome["counts"]["completed"] == len({each.genotype for each in found})


def test_every_choice_is_at_its_widest_at_first_and_as_drawn_at_last(trainer: Trainer) -> None:
    search, rng = OneShotSearch(settings(), trainer), np.random.default_rng(0)
    drawn = tuple(search.space.sample(rng, 1)[0].tolist())
    assert search.widened(drawn, rng, 0.0) == drawn
    widest = search.space.decode(search.widened(drawn, rng, 1.0))
    assert [(block.width, len(block.layers)) for block in widest.blocks] == [(16, 2)] * 3
    assert {layer.expand for block in widest.blocks for layer in block.layers} == {16}


def test_clips_of_a_step_are_a_function_of_the_step_and_come_once_an_epoch() -> None:
    steps = [clips_of_step(10, 4, seed=3, step=step) for step in range(5)]
    flat = np.concatenate(steps)
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10].tolist() != flat[10:].tolist()
    assert clips_of_step(10, 4, seed=3, step=2).tolist() == steps[2].tolist()


@pytest.mark.parametrize("name", configs.presets())
def test_targets_of_every_preset_are_near_members(name: str) -> None:
    config = configs.load(name)
    space, targets = movinet_space(config.space), targets_of(config)
    assert len(targets) == 3 and sorted(targets) == list(targets)
    explicit = replace(config, one_shot=replace(config.one_shot or OneShot(), targets=targets))
    assert targets_of(explicit) == targets and space.size > 3


def test_a_target_that_no_member_is_near_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one_shot\.targets"):
        run.begin(settings(targets=(1e12,)), tmp_path / "out", quiet, threads=None)
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_and_a_broken_checkpoint_are_refused(tmp_path: Path) -> None:
    (tmp_path / run.SUPERNET).mkdir()
    with pytest.raises(InputError, match="--out"):
        run.begin(settings(), tmp_path, quiet, threads=None)
    with pytest.raises(InputError, match="checkpoint"):
        run.resume(tmp_path, quiet, threads=None)
    (tmp_path / run.SUPERNET / run.CHECKPOINT).write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(InputError, match="checkpoint"):
        run.resume(tmp_path, quiet, threads=None)


@pytest.mark.parametrize(
    "section",
    [{"steps": 0}, {"targets": 5}, {"targets": ["a"]}, {"beta": 0.1}, {"warmup": 1.5}, {"tolerance": 0}, {"stepz": 1}],
)
def test_a_bad_section_is_refused(section: dict[str, Any]) -> None:
    plain = configs.to_dict(settings()) | {"one_shot": section}
    with pytest.raises(InputError, match="one_shot"):
        configs.from_dict(plain)
