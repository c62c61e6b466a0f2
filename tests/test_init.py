"""Test inspection of videos, the search that `init` proposes, and the checks of `doctor`."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from cli.main import main
from movinet.data.proxy.moving_digits import MovingDigitsConfig, motion_of, rendered
from movinet.data.proxy.sample_videos import write_video
from movinet.data.store import SPLITS
from movinet.data.video.decoding import missing_codecs
from nas.config import search_config
from nas.evaluation.proxy_trainer import clips_of
from nas.loop import run_folder
from nas.planning import doctor
from nas.planning.gpus import TensorFlow, idle
from nas.planning.inspection import inspect
from search_space.base.errors import InputError

RATES = (10, 15, 24, 30)
SCENES = 12


def scene(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a still frame that resembles no other one, uint8 `H W 3`."""
    cells = rng.integers(256, size=(8, 9))
    return np.kron(cells, np.ones((height // 8, width // 9))).astype(np.uint8)[..., None].repeat(3, 2)


def filmed(root: Path, videos: int) -> Path:
    """Write easy moving digits of two directions, of 1 to 4 s at 10 to 30 frames/s, and a file that is not a video."""
    config, rng = (
        MovingDigitsConfig(motions=2, digits=3, ticks=60, resolution=64, difficulty=0),
        np.random.default_rng(0),
    )
    number = 0
    for split in rendered(config, "train", videos):
        for clip, label in zip(split.clips, split.labels.tolist(), strict=True):
            rate = int(rng.choice(RATES))
            shown = np.arange(int(rate * rng.uniform(1, 4))) * 15 // rate
            write_video(root / ("left", "right")[motion_of(label, 3)] / f"{number:04}.mp4", clip[shown], rate)
            number += 1
    (root / "left" / "text.mp4").write_text("this is no video\n" * 50)
    return root


@pytest.fixture
def scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write two classes of six scenes; every second scene is in two videos."""
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for number in range(SCENES):
        still = scene(rng, 64, 72)
        for cut in range(1 + number % 2):
            frames = np.tile(still, (50 + 10 * cut, 1, 1, 1))
            write_video(tmp_path / "v" / "ab"[number // 6] / f"s{number}_{cut}.mp4", frames, RATES[number % 4])
    (tmp_path / "v" / "a" / "text.mp4").write_text("this is no video\n" * 50)
    return tmp_path / "v"


def test_videos_that_look_alike_are_a_group_and_others_are_not(scenes: Path) -> None:
    found = inspect(scenes)
    assert (found.source, found.classes, found.counts) == ("video_folder", ("a", "b"), (10, 9))
    assert [name for name, _ in found.unusable] == ["a/text.mp4"]
    assert {(video.height, video.width) for video in found.videos} == {(64, 72)}
    for video in found.videos:
        number, cut = map(int, video.name[3:-4].split("_"))
        assert video.frames == 50 + 10 * cut and video.fps == pytest.approx(RATES[number % 4])
    shot = [video.name.split("_")[0] for video in found.videos]
    assert {(a == b) for a, b in zip(shot, (shot[group] for group in found.groups), strict=True)} == {True}
    assert len(set(found.groups)) == SCENES
    (scenes / "train").mkdir()
    for name in "ab":
        (scenes / name).rename(scenes / "train" / name)
    assert inspect(scenes).divided and not inspect(scenes).groups
    flat = scenes / "train" / "a"
    assert (inspect(flat).source, inspect(flat).classes) == ("pace", ("video",))
    for file in flat.glob("s*.mp4"):
        file.unlink()
    with pytest.raises(InputError, match="videos cannot be used; the first: text.mp4 cannot be decoded"):
        inspect(flat)


def test_a_proposal_fits_the_videos_and_is_valid(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = scenes.parent / "my.yaml"
    assert main(["init", str(scenes), "--hours", "3", "--target", "5e7", "--out", str(file), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["notes"][0].startswith("1 of 19 videos cannot be used; first: a/text.mp4")
    assert "12 videos look like another one, in 6 groups, which stay in one split" in printed["notes"]
    config = search_config.load(str(file))
    assert (config.space.classes, config.space.frames) == (2, 16)
    assert config.data.target_fps == 10 and config.data.frame_stride == 1 and config.data.source == "video_csv"
    assert config.trials == printed["plan"]["trials"] and config.family["targets"] == {"a0": 5e7}
    assert 0.9 * 3 * 3600 < printed["plan"]["total_seconds"] <= 3 * 3600 or config.trials == 200
    of_split = {
        split: {source.name(i).split("_")[0] for i in range(len(source))}
        for split, source in clips_of(config.data, config.space).sources().items()
    }
    assert all(of_split[split] for split in SPLITS) and sum(map(len, of_split.values())) == SCENES
    rows = list(csv.DictReader((scenes.parent / "my.videos.csv").read_text().splitlines()))
    assert len(rows) == 18 and set(rows[0]) == {"label", "file", "group"}
    assert main(["init", str(scenes), "--out", str(file)]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["nowhere"], "nowhere"),
        (["v", "--target", "b7"], "--target: 'b7' must be multiply-adds per clip from 1e5 to 1e15, or one of a0"),
        (["v", "--hours", "0"], "--hours: 0.0 must be a number from 0.01"),
        (["v", "--out", "my.txt"], "--out: 'my.txt' must be the name of a .yaml file"),
        (["few"], "class a: 2 is the number of its videos; each class needs three"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for root, count in (("v", 3), ("few", 2)):
        for number in range(count):
            write_video(tmp_path / root / "a" / f"{number}.mp4", np.full((8, 16, 16, 3), 50 * number, np.uint8))
    assert main(["init", *words]) == 2
    line = capsys.readouterr().err
    assert printed in line and line.count("\n") == 1 and not (tmp_path / "my_search.yaml").exists()


BROKEN = {
    "TensorFlow": (TensorFlow("", fault="No module named 'tensorflow'"), 0, "make setup"),
    "no CUDA": (TensorFlow("2.19.0"), 1, "this TensorFlow cannot use it; pip install 'tensorflow[and-cuda]==2.19.0'"),
    "libraries": (TensorFlow("2.19.0", True, (), ("libcudnn.so.9",)), 2, "TensorFlow lacks libcudnn.so.9; pip"),
    "driver": (TensorFlow("2.19.0", True), 1, "TensorFlow sees none; check nvidia-smi"),
}  # fmt: skip


@pytest.mark.parametrize("state", BROKEN)
def test_doctor_names_the_remedy_of_each_state_of_a_gpu(state: str, tmp_path: Path) -> None:
    found, gpus, remedy = BROKEN[state]
    for number in range(gpus):
        (tmp_path / "gpus" / str(number)).mkdir(parents=True)
    last = list(doctor._tensorflow(found, tmp_path / "gpus"))[-1]
    assert last.problem and remedy in last.line() and last.line().startswith("problem ")
    assert not last.needed  # the search runs on CPU cores
    assert ("idle" in idle(0, tmp_path / "gpus")) == (gpus > 0) and idle(1, tmp_path / "gpus") == ""
    healthy = list(doctor._tensorflow(TensorFlow("2.19.0", True, ("/GPU:0",)), tmp_path / "gpus"))
    assert not any(check.problem for check in healthy)


def test_doctor_says_what_does_not_start_and_where_nothing_can_be_written(tmp_path: Path) -> None:
    broken = doctor._started("Ray", "import no_such_module", "starts", "install it")
    assert broken.needed and broken.line() == (
        "problem  Ray         ModuleNotFoundError: No module named 'no_such_module'; install it"
    )
    assert doctor._started("x", "import os; os.abort()", "", "").text == "ended with code -6"
    assert not doctor._disk("runs", tmp_path / "deep" / "runs", "").problem
    assert doctor._disk("runs", Path("/proc/none"), "elsewhere").needed
    assert missing_codecs(["h264", "no_such_codec"]) == ("no_such_codec",)


@pytest.mark.slow
def test_doctor_finds_this_machine_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["search_can_run"]
    wanted = {"memory", "cache", "runs", "codecs", "engine", "TensorFlow", "Ray", "browser"}
    assert wanted <= {check["name"] for check in printed["checks"]}


@pytest.mark.slow
def test_from_a_folder_to_a_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No file is edited by hand, and the search takes about as long as planned."""
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / "cache"))
    videos, file, run = filmed(tmp_path / "v", 60), str(tmp_path / "my.yaml"), tmp_path / "run"
    assert main(["init", str(videos), "--hours", "0.03", "--target", "2e7", "--out", file, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["plan"]
    begun = time.monotonic()
    assert main(["search", file, "--out", str(run), "--quiet"]) == 0
    took = time.monotonic() - begun
    assert 0.4 < took / planned["total_seconds"] < 2.5, (took, planned["seconds"])  # measured on a shared machine
    network = yaml.safe_load((run / "configs" / "movinet_a0.yaml").read_text())
    assert network["classes"] == 2 and (run / "report.html").exists()
    ledger = run_folder.read(run)
    assert len([p for p in ledger.proposals.values() if p.kind == "search"]) == planned["trials"]
