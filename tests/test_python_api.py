"""The Python API: its documentation page runs as it stands, and heavy modules are loaded only when needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from documented import blocks
from played_run import played

import movinet_nas as mn
from nas.config import search_config

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.usefixtures("clip_cache")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> mn.Run:
    return mn.load_run(played(tmp_path_factory.mktemp("runs") / "played"))


def test_every_public_name_is_on_the_page() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    members = [name for name in vars(mn.Run) if not name.startswith("_")]
    missing = [name for name in mn.__all__ if name not in page]
    assert missing == [] and mn.__all__ == sorted(mn.__all__, key=lambda name: (not name.isupper(), name))
    assert {"trials", "front", "family", "architecture", "write"} <= set(members)


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    """Run the code of the page in an empty folder, outside of the repository."""
    page = "docs/reference/python.md"
    code = [block.text for block in blocks() if block.place.startswith(page) and block.language == "python"]
    frames = "import numpy as np\nsize = run.architecture(0).clip.resolution\n"
    frames += "frames = np.zeros((4, size, size, 3), np.uint8)\n"
    program = code[0] + code[1] + frames + "".join(code[2:])
    program += "assert logits.shape == (12,) and len(run.trials()) > 4 and len(run.front())\n"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs" / "first.tflite").exists() and "a0" in result.stdout


def test_tables_of_a_run(run: mn.Run) -> None:
    trials, front = run.trials(), run.front()
    assert isinstance(trials, pd.DataFrame) and list(trials["index"]) == list(range(len(trials)))
    assert front["macs"].is_monotonic_increasing and front["accuracy"].is_monotonic_increasing
    assert run.front("likelihood")["macs"].is_monotonic_increasing
    assert run.config.trials == 6
    assert run.architecture(0).fingerprint == trials["fingerprint"][0]


def test_the_family_and_all_files(run: mn.Run) -> None:
    assert [member.name for member in run.family().models] == [f"a{i}" for i in range(7)]
    assert "front: network" in run.write()
    assert (run.folder / "report.html").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda run: run.front(metric="f1"), "metric: 'f1' must be one of"),
        (lambda run: run.architecture(999), "index: 999 must be that of a trial"),
        (lambda run: mn.load_run(run.folder / "none"), "is not a folder"),
        (lambda run: mn.search({"extends": "tiny", "trails": 3}, run.folder), "did you mean 'trials'"),
        (lambda run: mn.search("tyni", run.folder), "did you mean 'tiny'"),
        (lambda run: mn.search("tiny", run.folder), "already contains a run"),
        (lambda run: mn.build("a9"), "did you mean"),
        (lambda run: mn.build(run.family().models[0].network, 3), "classes: 3 must be that of the network"),
        (lambda run: mn.stream(mn.build(run.architecture(0), 12)), "is not causal"),
        (lambda run: mn.export(mn.build("a0", input_shape=(None, None, None)), "x.tflite"), "pass a square one as"),
        (lambda run: mn.train("digits_strem", "x"), "did you mean 'digits_stream'"),
        (lambda run: mn.load_model("digits_stream", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_line(run: mn.Run, wrong: object, message: str) -> None:
    with pytest.raises(mn.InputError, match=message) as caught:
        wrong(run)  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_a_search_that_was_interrupted_resumes(tmp_path: Path) -> None:
    config = search_config.from_plain({"extends": "tiny", "simulation": {}}, "search")
    first = mn.search(config, tmp_path / "run", executor="serial")
    log = tmp_path / "run" / "ledger.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:6]))
    again = mn.resume(tmp_path / "run", executor="serial")
    assert list(again.trials()["fingerprint"]) == list(first.trials()["fingerprint"])
    assert list(again.front()["index"]) == list(first.front()["index"])
