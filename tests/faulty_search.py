"""Searches that train nothing, to be disturbed; and small file systems to fill up or to make read-only."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from small_search import finished, ledger_of, small, started, written

from nas.config.search_config import SearchConfig
from nas.config.sections import FaultsConfig, SimulationConfig
from nas.loop import run_folder


def simulated(faults: FaultsConfig | None = None, changes: Mapping[str, Any] | None = None, **settings: Any) -> Any:
    """The small search, simulated with these settings."""
    return small(simulation=SimulationConfig(**settings), faults=faults or FaultsConfig(), **(changes or {}))


def alone(folder: Path, chosen: SearchConfig) -> list[object]:
    """Arguments of the command line for a search without workers, in the folder `out` of an own one."""
    folder.mkdir(exist_ok=True)
    return [written(folder, chosen), "--out", folder / "out", "--serial", "--quiet"]


def ran(*arguments: object) -> tuple[int, str, str]:
    """Exit code, output and errors of `run_search.py search`."""
    process = started(*arguments)
    output, errors = finished(process)
    return process.returncode, output, errors


def begun(out: Path, chosen: SearchConfig) -> Path:
    """A search in this process, without a display or what is made of it; returns its folder."""
    run_folder.start(chosen, out, "serial", contextlib.nullcontext)
    return out


def resumed(out: Path) -> None:
    """Resumes such a run."""
    run_folder.resume(out, "serial", contextlib.nullcontext)


def resumed_to_the_end(out: Path) -> None:
    """Resumes a run and sees to it that it comes to its end, with nothing lost of what was there."""
    before = ledger_of(out)
    resumed(out)
    after = ledger_of(out)
    assert after.entries[: len(before.entries)] == before.entries and not after.torn and not after.pending
    kinds = [proposal.kind for proposal in after.proposals.values()]
    assert kinds.count("search") == run_folder.config_of(after).trials


@contextlib.contextmanager
def file_system(folder: Path, size: str) -> Iterator[Path]:
    """A tmpfs of so many bytes; skips the test where that is not allowed."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def fill(folder: Path, left: int) -> Path:
    """A file that takes all but so many bytes of a file system."""
    file = folder / "filler"
    state = os.statvfs(folder)
    file.write_bytes(b"x" * max(0, state.f_bfree * state.f_bsize - left))
    return file
