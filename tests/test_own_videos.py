"""The page for users with videos of their own, as it stands but for paths and for how long things take."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documented import blocks, commands
from small_search import ROOT

from movinet.data.moving_digits import MovingDigitsConfig
from movinet.data.sample_videos import write_class_folders
from nas import run
from nas.trials import Note

PAGE = "docs/own_videos.md"
SHORTER = {
    "steps: 256, batch_size: 16": "steps: 6, batch_size: 4",
    "trials: 48": "trials: 2",
    "repeats: 3, most: 5, references: [a0, a2]": "repeats: 0",
    "decay_steps: 1000": "decay_steps: 4",
    "warmup_steps: 50": "warmup_steps: 1",
    "train_steps: 1000": "train_steps: 4",
    "_loop: 50": "_loop: 2",
    "y_interval: 50": "y_interval: 2",
    "_interval: 250": "_interval: 4",
    "extends: pace": "extends: pace\ntraining: {steps: 2}\ntrials: 1\nfinals: {repeats: 0}",
}


def text(language: str, folder: Path) -> list[str]:
    """The page's blocks of a language, with the paths of this test."""
    found = [block.text for block in blocks() if block.place.startswith(PAGE) and block.language == language]
    return [adapted(each, folder) for each in found]


def adapted(shown: str, folder: Path) -> str:
    for long, short in SHORTER.items():
        shown = shown.replace(long, short)
    shown = re.sub(r"\bmy_(search|training|pace)\.yaml", lambda found: str(folder / found[0]), shown)
    return shown.replace("/data/my_videos", str(folder / "videos")).replace("results/runs", str(folder))


@pytest.mark.slow
def test_the_page_from_the_folder_to_the_stream(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    names = write_class_folders(videos, 48, MovingDigitsConfig(motions=4, ticks=64))
    shutil.rmtree(videos / names[3])
    (videos / names[0] / "text.mp4").write_text("this is no video\n" * 50)
    for name, shown in zip(("search", "training", "pace"), text("yaml", tmp_path), strict=True):
        (tmp_path / f"my_{name}.yaml").write_text(shown)
    for command in (each for each in commands() if each.place.startswith(PAGE)):
        words = [adapted(word, tmp_path) for word in command.words]
        serial = ["--serial", "--quiet"] if "search" in words else []
        done = subprocess.run([sys.executable, *words[1:], *serial], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, (command.line, done.stderr)
    streamed, trained = text("python", tmp_path)
    entries = run.read(tmp_path / "mine").entries
    splits, left_out, few = [entry.record.text for entry in entries if isinstance(entry.record, Note)]
    assert splits.startswith("clips of 3 classes: ") and few.startswith("few validation clips: ")
    assert left_out.startswith(f"1 file was left out: {names[0]}/text.mp4 cannot be decoded")
    some = next((videos / names[0]).glob("0*.mp4"))
    found: dict[str, Any] = {}
    exec(re.sub(r'"[^"]*\.mp4"', repr(str(some)), streamed), found)
    assert np.isfinite(found["logits"]).all() and np.shape(found["logits"]) == (1, 3)
    exec(trained, found)
    height, width = found["height"], found["width"]
    assert found["session"].push(np.zeros((1, height, width, 3), np.uint8)).shape == (3,)
    with pytest.raises(ValueError, match="image: .* must be float32"):
        found["network"].push(np.zeros((1, 1, 1 + height, width, 3), np.float32))
