"""Searches without training for tests of faults, and small file systems that can be full or read-only."""

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
    """Return the small search, simulated with these settings."""
    return small(simulation=SimulationConfig(**settings), faults=faults or FaultsConfig(), **(changes or {}))


def alone(folder: Path, chosen: SearchConfig) -> list[object]:
    """Return command-line arguments of a search without workers that writes to the folder `out` in `folder`."""
    folder.mkdir(exist_ok=True)
    return [written(folder, chosen), "--out", folder / "out", "--serial", "--quiet"]


def ran(*arguments: object) -> tuple[int, str, str]:
    """Return exit code, output and errors of `run_search.py search`."""
    process = started(*arguments)
    output, errors = finished(process)
    return process.returncode, output, errors


def begun(out: Path, chosen: SearchConfig) -> Path:
    """Run a search in this process, without display and final report; return its folder."""
    run_folder.start(chosen, out, "serial", contextlib.nullcontext)
    return out


def resumed(out: Path) -> None:
    """Resume such a run."""
    run_folder.resume(out, "serial", contextlib.nullcontext)


def resumed_to_the_end(out: Path) -> None:
    """Resume a run and check that it finishes and keeps all recorded events."""
    before = ledger_of(out)
    resumed(out)
    after = ledger_of(out)
    assert after.entries[: len(before.entries)] == before.entries and not after.torn and not after.pending
    kinds = [proposal.kind for proposal in after.proposals.values()]
    assert kinds.count("search") == run_folder.config_of(after).trials


@contextlib.contextmanager
def file_system(folder: Path, size: str) -> Iterator[Path]:
    """Mount a tmpfs of `size`; skip the test where that is not allowed."""
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
    """Write a file that leaves `left` bytes of a file system free."""
    file = folder / "filler"
    state = os.statvfs(folder)
    file.write_bytes(b"x" * max(0, state.f_bfree * state.f_bsize - left))
    return file
