"""A real search of seconds with real clips and real, minimal training; and `run_search.py` as a process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from movinet.proxy.recipe import Recipe
from nas.config import search_config, sections
from nas.config.search_config import SearchConfig
from nas.record.ledger import Ledger, read

ROOT = Path(__file__).parents[1]
TRAINABLE = "ResourceTrainable."  # Ray Tune's class for our trainable; Ray names a worker after the method that it runs

T = TypeVar("T")

# The clips are those of the tiny preset, so that both share a cache. Each block has one kernel, because every further
# one costs a second of tracing.
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
    """Return the small search with some fields of its configuration changed."""
    return replace(search_config.from_dict(SMALL), **changes)


def breeding() -> SearchConfig:
    """Return a search for tests of faults.

    Its networks are smaller still, because every process that trains traces them anew. Its trainings are longer. Four
    trials are measured at the rung before any is stopped, so that the last candidates have parents.
    """
    stopping, finals = sections.EarlyStopping((0.5,), 2.0, 1, 4), sections.Finals(1, 2, ())
    whole = small(early_stopping=stopping, finals=finals, training=Recipe(steps=120, batch_size=8))
    return replace(whole, space=replace(whole.space, blocks=whole.space.blocks[:3]))


@dataclass(frozen=True)
class Unbroken:
    """An undisturbed search: its configuration, its event log, and the folder of its cached clips."""

    settings: SearchConfig
    ledger: Ledger
    cache: Path


def unbroken_run(folder: Path) -> Unbroken:
    """Run `breeding` with the serial executor."""
    settings, cache = breeding(), folder / "cache"
    output = finished(searching(folder / "out", "serial", written(folder, settings), MOVINET_NAS_CACHE=cache))
    assert output == ("", "")
    return Unbroken(settings, ledger_of(folder / "out"), cache)


def written(folder: Path, settings: SearchConfig) -> Path:
    """Write the search to a YAML file."""
    path = folder / "search.yaml"
    path.write_text(json.dumps(search_config.to_dict(settings)))  # JSON is also YAML
    return path


def started(*arguments: object, command: str = "search", **environment: object) -> subprocess.Popen[str]:
    """Start `run_search.py COMMAND ...` in a new session."""
    return _begun("run_search.py", command, *arguments, **environment)


SEARCHING = """
import contextlib, pathlib, sys
from nas.config import search_config as config
from nas.loop import run_folder as run

folder, executor, *file = sys.argv[1:]
if file:
    run.start(config.load(*file), pathlib.Path(folder), executor, contextlib.nullcontext)
else:
    run.resume(pathlib.Path(folder), executor, contextlib.nullcontext)
"""


def searching(folder: Path, executor: str, file: Path | None = None, **environment: object) -> subprocess.Popen[str]:
    """Start the search alone, without display and final report; resume it if `file` is None."""
    return _begun("-c", SEARCHING, folder, executor, *([file] if file else []), **environment)


def _begun(*arguments: object, **environment: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {name: str(value) for name, value in environment.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and its process group with kill -9, and collect it, so that no zombie remains."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def finished(process: subprocess.Popen[str], seconds: float = 300) -> tuple[str, str]:
    """Return output and errors of a process; kill it after `seconds`."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        raise


def of_session(leader: int) -> dict[int, str]:
    """Return the living processes of the session of `leader`, and their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == leader and state != "Z":
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = command.decode(errors="replace").strip()
    return found


def workers_of(leader: int, doing: str = "") -> set[int]:
    """Return Ray's workers in the session of `leader`; with `doing`, only those in this method."""
    return {pid for pid, command in of_session(leader).items() if command.startswith(f"ray::{TRAINABLE}{doing}")}


def wait_for(condition: Callable[[], T], process: subprocess.Popen[str], seconds: float = 240) -> T:
    """Return the first true result of `condition`; the process must stay alive until then."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
    return found


def ledger_of(folder: Path) -> Ledger:
    return read(folder / "ledger.jsonl")


def story(ledger: Ledger) -> list[dict[str, Any]]:
    """Return all events in order, without their durations."""
    from nas.record.events import to_dict

    return [{k: v for k, v in to_dict(event).items() if k != "seconds"} for event in ledger.events]
