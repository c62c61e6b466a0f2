"""The command `reliability`: its output and files for tables and runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from synthetic_table import synthetic_table

import run_search
from nas.benchmark import table as tables
from nas.loop import run_folder
from results.analysis import proxy_correlation, reliability_report
from results.analysis.reliability_report import FILES, Findings
from search_space.base.errors import InputError


@pytest.fixture(scope="module")
def found() -> Findings:
    return Findings.of_table(synthetic_table(1, (4, 4, 3, 3, 2), seeds=3), 4)


def test_text_json_and_files_say_the_same(found: Findings, tmp_path: Path) -> None:
    data = json.loads(json.dumps(reliability_report.as_json(found), allow_nan=False))
    assert data["ranking"]["predictors"][3]["beyond_cost"] is None
    text = reliability_report.text(found)
    assert data["reliability"]["recommended"] == "accuracy" and data["reliability"]["verdict"] in text
    assert all(f"{row['reliability']:.2f} (" in text for row in data["reliability"]["statistics"])
    assert all(f"{row['tau']:.2f} (" in text and row["verdict"] in text for row in data["ranking"]["predictors"])
    shares = data["importance"]["shares"]
    assert [row["dimension"] for row in shares][-1] == "all" and {f"c{i}" for i in range(5)} < {
        row["dimension"] for row in shares
    }
    assert all(f"{100 * row['value']:.1f} % (" in text for row in shares)
    *files, picture, drawn = reliability_report.write(found, tmp_path / "new" / "folder", ("png", "svg"))
    assert [path.name for path in files] == list(FILES)
    pd.testing.assert_frame_equal(pd.read_csv(files[0]), found.reliability.rows)
    pd.testing.assert_frame_equal(pd.read_csv(files[1]), found.ranking.rows)
    assert imread(picture).std() > 0.05
    assert "</svg>" in drawn.read_text()


def test_one_seed_and_few_networks_are_told_in_lines(tmp_path: Path) -> None:
    accuracy = np.random.default_rng(0).uniform(0.2, 0.8, (5, 1))
    statistics = {"accuracy": accuracy, "accuracy@4": accuracy / 2}
    table = tables.make("made", {"n": list(range(5))}, {"macs": np.arange(1000, 1005)}, statistics)
    one = Findings.of_table(table, 4)
    text = reliability_report.text(one)
    assert "nan" not in text and "no two architectures were trained with two seeds" in text
    assert "Left out: 2 measurements of trainings" in text and "not enough evidence: 5 networks of 20" in text
    assert len(reliability_report.write(one, tmp_path)) == 4


def test_a_large_table_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_correlation, "MOST", 100)
    table = synthetic_table(1, (4, 4, 3, 3, 2))
    assert "100 networks, a random sample of 288" in reliability_report.text(Findings.of_table(table, 4))


def test_the_command_on_a_run_tells_dimensions_and_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_search.main(["reliability", "results/published/frontier", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["reliability"]["kind"] == "re-evaluations"
    assert data["importance"]["statistic"] == (data["reliability"]["recommended"] or "likelihood")
    dimensions = {row["dimension"] for row in data["importance"]["shares"]}
    assert dimensions >= {"depth of block 3", "width", "expansion", "spatial kernel", "temporal kernel", "all"}
    assert dimensions >= {"squeeze-excite", "resolution", "frame stride"}


def test_a_run_without_completed_trials_and_a_folder_that_cannot_be_made(found: Findings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out"):
        reliability_report.write(found, tmp_path / "file" / "folder")
    with pytest.raises(InputError, match="--bins"):
        Findings.of_run(run_folder.read(Path("results/published/frontier")), 0)
