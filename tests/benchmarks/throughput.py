"""Trained candidates per hour on two cores, compared with plain use of Keras Tuner and of Ray Tune.

    python tests/benchmarks/throughput.py [--write]

Takes about an hour. Three programs train architectures in the search's space, drawn by Keras Tuner's random search:

- Keras Tuner's `RandomSearch`: `model.fit` of our Keras model in one process, with TensorFlow's default threads;
- a plain Ray Tune function with the same `model.fit`, two trials at a time, one core each;
- this project's search with Ray and two workers, without early stopping or re-evaluation.

Steps, training clips and validation clips are the same. The programs alternate, so other load on the machine affects
all three. Times are from the start of the first trial to the end of the last. They exclude the start-up of Ray and
imports, except that the Ray Tune function imports TensorFlow in every trial.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import section

from nas.config import search_config, sections
from nas.evaluation.proxy_trainer import open_data
from search_space import architecture as schema
from search_space.cost.counting import count

HERE = Path(__file__).resolve().parent
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.1
KERAS_TUNER, RAY_TUNE, OURS = "Keras Tuner `RandomSearch`", "Ray Tune function", "this project"
SCRIPTS = {KERAS_TUNER: "keras_tuner_search.py", RAY_TUNE: "ray_tune_search.py", OURS: "own_search.py"}
SEED_STEP = 1_000_003  # Keras Tuner seeds its n-th draw with seed + n, so near seeds share draws


@dataclasses.dataclass(frozen=True)
class Turn:
    """Seconds and CPU seconds of one process with its children: of its trials, and including start-up."""

    members: list[Any]
    seconds: float
    cpu: float
    whole_seconds: float
    whole_cpu: float

    @property
    def candidates(self) -> int:
        """Return the number of trained candidates."""
        return len(self.members)


class ProcessTree:
    """CPU time of a process and its descendants over time, including ended ones; sampled in a thread (Linux)."""

    def __init__(self, root: int) -> None:
        self.times: list[float] = []
        self.totals: list[float] = []
        self.first_trial: float | None = None  # time at which a Ray worker was first seen training
        self._cpu = {root: 0.0}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """End the sampling."""
        self._ended.set()
        self._thread.join()

    def cpu(self, start: float, end: float) -> float:
        """Return the CPU seconds between two times of the monotonic clock."""
        before, after = np.interp([start, end], self.times, self.totals)
        return float(after - before)

    def _run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            for pid, parent, seconds in _processes():
                if pid in self._cpu or parent in self._cpu:
                    self._cpu[pid] = seconds
                    self._look_for_trial(pid)
            self.times.append(time.monotonic())
            self.totals.append(sum(self._cpu.values()))

    def _look_for_trial(self, pid: int) -> None:
        # Ray names a worker after the method that it runs; `train` is that of its trainables.
        if self.first_trial is None and b".train\0" in _read(f"/proc/{pid}/cmdline") + b"\0":
            self.first_trial = time.monotonic()


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
        return b""


def _processes() -> list[tuple[int, int, float]]:
    """List process, parent and CPU seconds of all running processes."""
    found = []
    for folder in os.listdir("/proc"):
        stat = _read(f"/proc/{folder}/stat").rpartition(b")")[2].split() if folder.isdigit() else []
        if stat:
            found.append((int(folder), int(stat[1]), (int(stat[11]) + int(stat[12])) / TICKS))
    return sorted(found)  # parents mostly first; a child missed now is found in the next sample


def ask(name: str, request: Mapping[str, Any]) -> Turn:
    """Run one of the three with a request."""
    started = time.monotonic()
    pipe = subprocess.PIPE
    command = [sys.executable, str(HERE / SCRIPTS[name]), json.dumps(request)]
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    tree = ProcessTree(process.pid)
    out, err = process.communicate()
    tree.close()
    if process.returncode:
        sys.exit(f"{name} failed:\n{err[-3000:]}")
    answer = {"members": request.get("members"), "started": tree.first_trial} | json.loads(out.splitlines()[-1])
    begun, ended, now = answer["started"], answer["ended"], time.monotonic()
    turn = Turn(answer["members"], ended - begun, tree.cpu(begun, ended), now - started, tree.cpu(started, now))
    print(f"{name}: {turn.candidates} in {turn.seconds:.0f} s, {turn.cpu:.0f} s of CPU", file=sys.stderr, flush=True)
    return turn


def measured(asked: argparse.Namespace, search: search_config.SearchConfig) -> dict[str, list[Turn]]:
    """Return the turns of all three."""
    request = {"search": search_config.to_dict(search), "data": str(open_data(search.data, search.space).path)}
    draws = [request | {"candidates": asked.candidates, "seed": i * SEED_STEP} for i in range(1, asked.rounds + 1)]
    more = request | {"candidates": asked.more, "seed": (asked.rounds + 1) * SEED_STEP}
    lists = [drawn(draw) for draw in draws]
    ours = sum(lists, drawn(more) if asked.more else [])
    whole = search_config.to_dict(dataclasses.replace(search, trials=len(ours)))
    turns: dict[str, list[Turn]] = {name: [] for name in SCRIPTS}
    for draw, members in zip(draws, lists, strict=True):
        turns[KERAS_TUNER].append(ask(KERAS_TUNER, draw | {"train": True}))
        turns[RAY_TUNE].append(ask(RAY_TUNE, request | {"members": members}))
        turns[OURS].append(ask(OURS, request | {"search": whole, "members": ours}))
        if turns[KERAS_TUNER][-1].members != members:
            sys.exit("Keras Tuner trained other members than those drawn with its seed")
    return turns


def drawn(request: Mapping[str, Any]) -> list[Any]:
    """Return the architectures that Keras Tuner's random search draws for a request."""
    command = [sys.executable, str(HERE / SCRIPTS[KERAS_TUNER]), json.dumps({**request, "train": False})]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])["members"]


def rate(turns: Sequence[Turn]) -> float:
    """Return candidates per hour."""
    return 3600 * sum(turn.candidates for turn in turns) / sum(turn.seconds for turn in turns)


def cpu(turns: Sequence[Turn]) -> float:
    """Return CPU seconds per candidate."""
    return sum(turn.cpu for turn in turns) / sum(turn.candidates for turn in turns)


def macs(turns: Sequence[Turn], classes: int) -> float:
    """Return the mean multiply-adds of the distinct architectures."""
    members = [member for turn in turns for member in turn.members]
    return statistics.mean({m.fingerprint: count(m, classes).macs for m in map(schema.from_dict, members)}.values())


def row(name: str, turns: Sequence[Turn], ours: Sequence[Turn], classes: int) -> tuple[str, ...]:
    """Return the table row of one of the three."""
    candidates = sum(turn.candidates for turn in turns)
    ratios = sorted(rate([a]) / rate([b]) for a, b in zip(ours, turns, strict=True))
    return (
        name,
        str(candidates),
        f"{macs(turns, classes) / 1e6:.1f} M",
        f"{rate(turns):.0f}",
        f"{rate(ours) / rate(turns):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})",
        f"{cpu(turns):.1f} s",
        f"{cpu(turns) / cpu(ours):.1f}",
        f"{3600 * candidates / sum(turn.whole_seconds for turn in turns):.0f}",
    )


def report(asked: argparse.Namespace, search: search_config.SearchConfig, turns: Mapping[str, list[Turn]]) -> str:
    """Return the table and a description of the trainings."""
    header = (
        "two cores", "trainings", "mean multiply-adds", "an hour", "ours to it (rounds)", "CPU each", "it to ours",
        "an hour with start-up",
    )  # fmt: skip
    training, classes = search.training, search.space.classes
    also = f" and {asked.more} more" if asked.more else ""
    return "\n\n".join([
        section.table(header, [row(name, found, turns[OURS], classes) for name, found in turns.items()]),
        f"Members of the space of the preset `{asked.preset}`, drawn uniformly over its options within its limits. A "
        f"training is {training.steps} steps of {training.batch_size} clips, then {search.data.validation} "
        f"validation clips. In each of {asked.rounds} rounds Keras Tuner and Ray Tune train the same "
        f"{asked.candidates} members, in another round others; ours in each round all of these{also}.",
    ])  # fmt: skip


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="default", help="search whose space, data and training are used")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=4, help="of Keras Tuner and of Ray Tune in a round")
    parser.add_argument("--more", type=int, default=0, help="candidates that only this project trains")
    parser.add_argument("--steps", type=int, help="of a training, for a quick try")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reference/benchmarks.md")
    return parser.parse_args()


def main() -> None:
    """Measure and print the table; with --write, put it into the documentation."""
    asked = arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # inherited by every process started below
    search = search_config.load(asked.preset)
    search = dataclasses.replace(
        search,
        training=dataclasses.replace(search.training, steps=asked.steps or search.training.steps),
        early_stopping=dataclasses.replace(search.early_stopping, rungs=()),
        finals=dataclasses.replace(search.finals, repeats=0),
        algorithm=sections.AlgorithmConfig("random"),
        workers=2,
    )
    text = "\n\n".join([section.machine(), report(asked, search, measured(asked, search))])
    print(text)
    if asked.write:
        section.write("throughput", text)


if __name__ == "__main__":
    main()
