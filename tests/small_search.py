"""A real search of seconds: real clips, real training, next to nothing to train; and `run_search.py` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas import config
from nas.config import SearchConfig
from nas.ledger import Ledger, read

ROOT = Path(__file__).parents[1]

# The clips of the tiny preset, so that both share what is cached. One kernel a block: every other one is a second of
# tracing.
SMALL: Mapping[str, Any] = {
    "schema": "movinet-nas/search/1",
    "data": {"level": "tiny", "train": 360, "validation": 180, "test": 180},
    "training": {"steps": 4, "batch_size": 8},
    "trials": 6,
    "workers": 1,
    "algorithm": {"name": "ageing_evolution", "options": {"start": 3}},
    "early_stopping": {"rungs": [0.25, 0.5], "bands": 1, "minimum": 2},
    "finals": {"repeats": 1, "most": 2, "references": ["a0"]},
    "space": {
        "schema": "movinet-nas/space/1",
        "name": "small",
        "classes": 12,
        "frames": 16,
        "frame_strides": [4],
        "resolutions": [16],
        "stem_widths": [8],
        "blocks": [
            {"base_width": 8, "widths": [8, 16], "stride": stride, "depths": [1, 2], "kernels": [[3, 3, 3]],
             "squeeze_excite": [True], "expansions": [1.5, 2.0]}
            for stride in (2, 2, 2, 1, 2)
        ],
        "project": [16],
        "dense": 32,
    },
}  # fmt: skip


def small(**changes: Any) -> SearchConfig:
    """The small search with some fields of its configuration changed."""
    return replace(config.from_dict(SMALL), **changes)


def written(folder: Path, settings: SearchConfig) -> Path:
    """The search as a YAML file."""
    path = folder / "search.yaml"
    path.write_text(json.dumps(config.to_dict(settings)))  # which is YAML too
    return path


def started(*arguments: object) -> subprocess.Popen[str]:
    """`run_search.py search ...` in a process group of its own."""
    command = [sys.executable, "run_search.py", "search", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload]


def finished(process: subprocess.Popen[str], seconds: float = 300) -> tuple[str, str]:
    """What a process wrote to its output and its errors; it is killed if it takes too long."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def of_session(leader: int) -> dict[int, str]:
    """Living processes of the session that `leader` began, and their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(session) == leader and state != "Z":
                found[int(folder.name)] = command
    return found


def ledger_of(folder: Path) -> Ledger:
    return read(folder / "ledger.jsonl")


def story(ledger: Ledger) -> list[dict[str, Any]]:
    """Everything that happened, in order, without how long it took."""
    from nas.trials import to_dict

    return [{k: v for k, v in to_dict(event).items() if k != "seconds"} for event in ledger.events]
