"""Checks whether a search could run on this machine: a line for each part, with the remedy where there is a problem."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nas.planning import gpus
from search_space.base import machine

MEMORY_MB = 2000  # for a worker, Ray and the driver
DISK_BYTES = 2_000_000_000  # for clips and Ray's files
SECONDS = 120
CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4")
RAY = """
import logging, ray
ray.init(address="local", num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False,
         logging_level=logging.CRITICAL, configure_logging=False, _temp_dir={folder!r})
print(ray.get(ray.remote(lambda: 42).remote()))
"""
ENGINE = "from movinet.proxy.engine import FusedEngine\nFusedEngine()\nprint('ok')"


@dataclass(frozen=True)
class Check:
    """A part of the machine.

    Attributes:
      name: part.
      problem: whether something is wrong.
      text: state of the part.
      remedy: action that solves a problem.
      needed: whether a search cannot run with this problem.
    """

    name: str
    problem: bool
    text: str
    remedy: str = ""
    needed: bool = False

    def line(self) -> str:
        """One line: ok or problem, the part, what was found and the remedy."""
        remedy = f"; {self.remedy}" if self.problem else ""
        return f"{'problem' if self.problem else 'ok':8} {self.name:11} {self.text}{remedy}"


def checks(runs: Path) -> Iterator[Check]:
    """Yield the checks as they are made; `runs` is the folder of the runs."""
    from movinet.data.store import cache_root

    yield _memory()
    for name, folder, remedy in (
        ("cache", cache_root(), "set MOVINET_NAS_CACHE to a folder with more space"),
        ("runs", runs, "name another folder with --out"),
    ):
        yield _disk(name, folder, remedy)
    yield _codecs()
    yield _started("engine", ENGINE, "the fused engine trains on CPU cores", "make setup installs numba")
    yield from _tensorflow(gpus.tensorflow())
    with tempfile.TemporaryDirectory(prefix="ray") as scratch:
        remedy = "run searches with --serial, or install it by make setup"
        yield _started("Ray", RAY.format(folder=scratch), "starts and runs a task", remedy)
    yield _browser()


def _memory() -> Check:
    free, text = machine.memory_mb(), f"{machine.memory_mb()} MB available, {machine.cores()} cores"
    if free >= MEMORY_MB:
        return Check("memory", False, text)
    return Check("memory", True, text, f"end other programs: a search takes {MEMORY_MB} MB or more", needed=True)


def _disk(name: str, folder: Path, remedy: str) -> Check:
    above = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        return Check(name, True, f"{folder} cannot be written: {error.strerror}", remedy, needed=True)
    free = machine.free_bytes(folder)
    text = f"{free / 1e9:.1f} GB free in {folder}"
    return Check(name, free < DISK_BYTES, text, remedy)


def _codecs() -> Check:
    from movinet.data.video.decoding import missing_codecs

    if lacking := missing_codecs(CODECS):
        remedy = "videos in these formats are left out; install PyAV from its wheel: pip install --force-reinstall av"
        return Check("codecs", True, f"FFmpeg cannot decode {', '.join(lacking)}", remedy)
    return Check("codecs", False, f"FFmpeg decodes {', '.join(CODECS)}")


def _started(name: str, program: str, text: str, remedy: str) -> Check:
    """A check by a process of its own, which prints something if all is well."""
    try:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return Check(name, True, f"did not start within {SECONDS} s", "try again when the machine is less busy", True)
    if done.returncode == 0 and done.stdout.strip():
        return Check(name, False, text)
    why = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
    return Check(name, True, why, remedy, needed=True)


def _tensorflow(found: gpus.TensorFlow, driver: Path = gpus.DRIVER) -> Iterator[Check]:
    if found.fault:
        yield Check("TensorFlow", True, found.fault, "make setup installs it; searches on CPU cores run without")
        return
    yield Check("TensorFlow", False, f"version {found.version}, built {'with' if found.cuda else 'without'} CUDA")
    count = gpus.installed(driver)
    install = f"pip install 'tensorflow[and-cuda]=={found.version}'"
    if found.gpus:
        yield Check("GPU", False, f"TensorFlow sees {len(found.gpus)}; resources.gpus: 1 trains a trial on one")
    elif not count:
        yield Check("GPU", False, "NVIDIA's driver lists none here; searches train on CPU cores")
    elif not found.cuda:
        yield Check("GPU", True, f"{count} here, and this TensorFlow cannot use it", install)
    elif found.missing:
        yield Check("GPU", True, f"{count} here, and TensorFlow lacks {', '.join(found.missing)}", install)
    else:
        remedy = "check nvidia-smi, CUDA_VISIBLE_DEVICES and that the driver supports this CUDA version"
        yield Check("GPU", True, f"{count} here, all CUDA libraries load, and TensorFlow sees none", remedy)


def _browser() -> Check:
    try:
        return Check("browser", False, f"{webbrowser.get().name} opens reports")  # type: ignore[attr-defined]
    except webbrowser.Error:
        return Check("browser", True, "none here", "copy report.html of a run to a machine that has one")
