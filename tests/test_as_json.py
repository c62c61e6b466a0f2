"""Test the output of commands with --json: one line of JSON, as docs/reference/json_output.md describes it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from played_run import played, settings
from synthetic_table import synthetic_table

import run_search
from cli import json_output
from nas.benchmark import table
from nas.config import search_config
from nas.loop import run_folder
from nas.record.events import Proposal
from nas.record.ledger import read
from results.analysis.reproduction import Reproduction
from search_space.cost.counting import COST_NAMES
from search_space.network import yaml_text

ROOT = Path(__file__).parents[1]
Printed = Callable[..., Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return played(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """Run a command with --json and parse its one line of output."""

    def work(*arguments: object) -> Any:
        assert run_search.main([*map(str, arguments), "--json"]) == 0
        text = capsys.readouterr().out
        assert text.count("\n") == 1
        return json.loads(text, parse_constant=pytest.fail)  # NaN and Infinity are not JSON

    return work


def test_plain_values() -> None:
    given = {"a": math.nan, "b": np.array([1, 2]), "c": (np.float32(0.5), np.inf), "d": Path("x"), 1: None, "e": True}
    assert json_output.plain(given) == {"a": None, "b": [1, 2], "c": [0.5, None], "d": "x", "1": None, "e": True}
    assert type(json_output.plain(np.int64(3))) is int and json_output.text({"é": 1}) == '{"é": 1}'


def test_the_outcome_of_a_search(printed: Printed, tmp_path: Path) -> None:
    file, out = tmp_path / "my.yaml", tmp_path / "run"
    file.write_text(yaml_text(search_config.to_dict(settings(trials=6))))
    found = printed("search", file, "--simulate", "--serial", "--out", out)
    assert found.keys() == {"run", "counts", "front", "family", "comparison", "ranking"}
    ledger = run_folder.read(out)
    searched = [index for index in ledger.completed if ledger.proposals[index].kind == "search"]
    assert found["run"] == str(out) and found["counts"]["completed"] == len(searched)
    assert sum(found["counts"].values()) == len(ledger.completed) + len(ledger.stopped) + len(ledger.failed)
    assert {"fingerprint", "index", "label", "n", "accuracy", "low", "high", *COST_NAMES} <= found["front"][0].keys()
    check_family(found["family"])


def check_family(models: list[dict[str, Any]]) -> None:
    assert models
    for model in models:
        assert model.keys() == {"model", "target_macs", "cost", "clips", "layers", "from"}
        assert model["cost"].keys() == set(COST_NAMES)
        assert len(model["clips"]) == len(model["layers"]) >= 1


def test_the_family_of_a_run(whole: Path, printed: Printed, tmp_path: Path) -> None:
    found = printed("scale", whole, "--target", "a0=2e7", "--out", tmp_path / "configs")
    check_family(found["family"])
    assert [model["model"] for model in found["family"]] == ["a0"]
    assert all(Path(file).is_file() for file in found["files"])
    refined = printed("scale", whole, "--target", "a0=2e6", "--refine", "a0", "--out", tmp_path / "around.yaml")
    assert refined == {"files": [str(tmp_path / "around.yaml")]}


def test_the_files_of_a_run(whole: Path, printed: Printed) -> None:
    files = printed("plot", whole)["files"]
    assert {Path(file).name for file in files} >= {"trials.csv", "front.csv", "front.png", "hypervolume.png"}


def test_a_run_as_a_table(whole: Path, printed: Printed, tmp_path: Path) -> None:
    found = printed("tabulate", whole, "--out", tmp_path / "table.csv")
    read_again = table.read(tmp_path / "table.csv")
    rows, seeds = read_again.accuracy.shape
    assert (found["architectures"], found["seeds"]) == (rows, seeds)
    assert found["trainings"] + found["missing"] == rows * seeds
    assert found.keys() - {"file", "left_out", "not_begun"} == {"architectures", "seeds", "trainings", "missing"}


def test_a_comparison_on_a_table(printed: Printed, tmp_path: Path) -> None:
    table.write(synthetic_table(0), tmp_path / "table.csv")
    few = ("--algorithms", "random,stratified_random", "--seeds", 2, "--evaluations", 12)
    found = printed("compare", tmp_path / "table.csv", *few, "--out", tmp_path / "arena")
    assert [row["algorithm"] for row in found["summary"]] == ["random", "stratified_random"]
    assert found.keys() == {"summary"}


def test_coefficients_that_were_tried() -> None:
    ledger = read(ROOT / "results" / "published" / "coefficients" / "ledger.jsonl")
    found = json.loads(json_output.text(json_output.tried_coefficients(ledger, [Path("a.csv")])))
    assert len(found["draws"]) == 12 and found["files"] == ["a.csv"]
    assert found["chosen"] == 0 and "why" in found


def test_a_network_trained_again() -> None:
    found = Reproduction(0.5, 0.5, (0.5, 0.52), (0.51, 0.49), 0.01, 9, (), False)
    point = Proposal(3, "search", (0,), {}, "x", 0, 1, dict.fromkeys(COST_NAMES, 7))
    plain = json.loads(json_output.text(json_output.reproduced(found, point)))
    assert (plain["point"], plain["macs"], plain["again"]) == ("trial 3", 7, [0.51, 0.49])
    assert plain["verdict"].startswith("reproduces") and plain["by_chance"] > abs(plain["difference"])
