"""Every command that writes, with an unwritable target: one line, exit code 2, and no half-written file."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_search import file_system, fill, remount
from small_experiment import written as experiment
from small_search import ROOT

from movinet.data.proxy.moving_digits import MovingDigitsConfig
from movinet.data.proxy.sample_videos import write_class_folders

pytestmark = pytest.mark.slow

TABLE = ROOT / "results/published/movinet_bench/movinet_bench.csv"
TRAIN = "-m movinet.train --experiment=movinet_kinetics600 --config_file={inputs}/small.yaml --mode=train --model_dir="
EXPORT = "-m movinet.export --config={inputs}/small.yaml --num_frames=4 --export_path={place}"
SEARCH = "run_search.py search tiny --simulate --serial --quiet --out"
# {place} is the unwritable target, {run} a finished search, {inputs} a folder with videos, an experiment and weights.
COMMANDS = {
    "search": f"{SEARCH} {{place}}",
    "report": "run_search.py report {run} --out {place}.html",
    "scale": "run_search.py scale {run} --out {place}",
    "tabulate": "run_search.py tabulate {run} --out {place}.csv",
    "compare": f"run_search.py compare {TABLE} --algorithms random --seeds 1 --evaluations 3 --out {{place}}",
    "compare-runs": "run_search.py compare-runs {run} --figure {place}.png",
    "reliability": f"run_search.py reliability {TABLE} --out {{place}}",
    "plot": "run_search.py plot {place}",
    "convert": "-m movinet.convert {inputs}/videos {place}",
    "train": f"{TRAIN}{{place}}",
    "evaluate": "-m movinet.evaluate --config_file={inputs}/small.yaml --checkpoint={inputs}/trained --out {place}",
    "saved model": EXPORT,
    "tflite": f"{EXPORT}.tflite --format=tflite",
}
PLACES = ("below a file", "read-only", "full", "without inodes", "not permitted", "too long", "vanished")


# Complete files: the same command resumes from them, or they are the first of several.
KEPT = {
    "compare": {b"runs.jsonl", b"run.lock"},
    "convert": {b"new.lock", b"conversion.sha256"},
    "reliability": {b"reliability.csv"},
    "train": {b"classes.txt"},
}
# Two of three pairs: each command with at least four targets, each target with at least eight commands.
CASES = [(kind, name) for i, kind in enumerate(PLACES) for j, name in enumerate(COMMANDS) if (i + j) % 3]
CASES.append(("not UTF-8", "plot"))  # a folder that does not exist; elsewhere such a name can be written


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    subprocess.run([sys.executable, *SEARCH.split(), folder], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    experiment(folder)
    write_class_folders(folder / "videos", 2, MovingDigitsConfig(motions=2, ticks=8))
    training = f"{TRAIN}{{inputs}}/trained".replace("{inputs}", str(folder)).split()
    cache = os.environ | {"MOVINET_NAS_CACHE": str(folder / "cache")}
    subprocess.run([sys.executable, *training], cwd=ROOT, check=True, capture_output=True, env=cache)
    os.chmod(folder, 0o777)
    return folder


@contextlib.contextmanager
def unusable(kind: str, folder: Path, left: int) -> Iterator[bytes]:
    """Yield a target of this kind; a full disk has `left` bytes left."""
    name = b"x" * 300 if kind == "too long" else b"\xff" if kind == "not UTF-8" else b"new"
    if kind == "below a file":
        (folder / "file").touch()
        yield os.fsencode(folder / "file" / "new")
    elif kind in ("read-only", "full", "without inodes"):
        size = "64k,nr_inodes=2" if kind == "without inodes" else "64k"
        with file_system(folder / "disk", size) as disk:
            if kind == "full":
                fill(disk, left)
            elif kind == "without inodes":
                (disk / "last").touch()
            else:
                remount(disk, "ro")
            yield os.fsencode(disk / "new")
            if kind == "read-only":
                remount(disk, "rw")
    elif kind == "not permitted":
        (folder / "locked").mkdir(mode=0o555)
        yield os.fsencode(folder / "locked" / "new")
    elif kind == "vanished":
        yield b"new"  # in a working directory that is deleted
    else:
        yield os.fsencode(folder) + b"/" + name


def files(folder: Path) -> set[bytes]:
    return {os.path.join(root, name) for root, _, names in os.walk(os.fsencode(folder)) for name in names}


@pytest.mark.parametrize(("kind", "command"), CASES)
def test_a_place_that_cannot_be_written(kind: str, command: str, run: Path, inputs: Path, tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    left = 0 if command == "tabulate" else 4096  # its table of three rows would fit
    with unusable(kind, tmp_path, left) as place:
        before = files(tmp_path)
        words = [
            part.encode()
            .replace(b"{run}", os.fsencode(run))
            .replace(b"{inputs}", os.fsencode(inputs))
            .replace(b"{place}", place)
            for part in COMMANDS[command].split()
        ]
        if words[0] == b"run_search.py":
            words[0] = os.fsencode(ROOT / "run_search.py")
        gone = tmp_path / "gone"
        gone.mkdir()
        program = [sys.executable, *words]
        if kind == "vanished":
            program = ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *program]
        if kind == "not permitted" and os.getuid() == 0:
            program = ["setpriv", "--reuid=65534", "--clear-groups", *program]
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "HOME": str(inputs),
            "MOVINET_NAS_CACHE": str(inputs / "cache"),
        }
        done = subprocess.run(program, cwd=gone, capture_output=True, env=environment)
        lines = done.stderr.decode(errors="replace").splitlines()
        said = [line for line in lines if line.startswith("error: ")]
        assert done.returncode == 2 and lines[-1:] == said and b"Traceback" not in done.stderr, done.stderr
        assert {os.path.basename(file) for file in files(tmp_path) - before} <= KEPT.get(command, set())
