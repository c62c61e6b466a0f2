"""The documented trainings run as they stand: each ends above chance by a confidence interval."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_search import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["digits_base", "digits_stream"])
def test_a_preset_learns(preset: str, tmp_path: Path) -> None:
    """The commands are those of the README and of docs/how_to/networks/train.md."""
    train = ["--experiment=movinet_kinetics600", "--mode=train", f"--model_dir={tmp_path}/run"]
    evaluate = [f"--checkpoint={tmp_path}/run", f"--out={tmp_path}/seen"]
    for name, flags in (("train", train), ("evaluate", evaluate)):
        command = [sys.executable, "-m", f"movinet.{name}", f"--config_file={preset}", *flags]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    seen = json.loads((tmp_path / "seen" / "evaluation.json").read_text())
    assert seen["top1_interval"][0] > seen["chance"] + 0.2, seen
