"""Latency per frame on a stream, and a training step of the Keras model, beside the TF Model Garden implementation.

    python tests/benchmarks/streaming_speed.py --release-python /path/to/release/bin/python [--write]

needs an environment with `pip install tf-models-official`; takes a quarter of an hour on one core. Everything runs in
separate processes on one core; ours and Model Garden's alternate, so other load on the machine affects both. Values are
process CPU time; medians over the rounds and turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import section
from speed import BATCH, CLASSES, NETWORK, Worker, seconds

from search_space import architecture as schema
from search_space.variant import STREAM, released_stream

STREAMS = (("a0", 172), ("a2", 224))
HOWS = {"function": "`tf.function`", "litert": "LiteRT"}
# Stream model or not, its `conv_type`, and Model Garden's steps per turn: those with `Conv3D` take it seconds.
FORMS = ((False, "2plus1d", 8), (False, "3d", 1), (True, "2plus1d", 8), (True, "3d_2plus1d", 1))
FRAMES = 40  # per turn
TURNS = 5


def by_turns(workers: Mapping[str, Worker], requests: Mapping[str, int]) -> dict[str, list[float]]:
    """Return the seconds of every frame or step of each process; `requests` has their number per turn."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(TURNS):
        for name, worker in workers.items():
            found[name] += worker.ask(requests[name])
    for worker in workers.values():
        worker.close()
    return found


def streams(python: str, rounds: int) -> list[tuple[str, float, float]]:
    """Return rows of the case, our seconds per frame, and Model Garden's."""
    rows = []
    for name, size in STREAMS:
        for how, title in HOWS.items():
            request: dict[str, Any] = {"network": name, "size": size, "classes": 600, "how": how}
            request["positions"] = released_stream(name).use_positional_encoding
            found = measure(python, ("own_stream.py", FRAMES), ("release_stream.py", FRAMES), request, rounds)
            rows.append((f"{name.upper()} {size} x {size}, {title}", *found))
            print(rows[-1], flush=True)
    return rows


def training(python: str, rounds: int) -> list[tuple[str, float, float]]:
    """Return the same rows for training steps."""
    rows = []
    stream = asdict(STREAM)
    for name in ("conv_type", "classifier_activation"):
        stream.pop(name)
    for causal, form, steps in FORMS:
        request = {"network": schema.to_dict(NETWORK), "form": form, "batch": BATCH, "classes": CLASSES, "slots": True}
        request["variant"] = stream if causal else {}
        found = measure(python, ("own_training.py", 8), ("release_speed.py", steps), request, rounds)
        rows.append((f"A0 {'stream' if causal else 'base'}, `{form}`", *found))
        print(rows[-1], flush=True)
    return rows


def measure(
    python: str, own: tuple[str, int], released: tuple[str, int], request: Mapping[str, Any], rounds: int
) -> tuple[float, float]:
    """Return medians of our seconds and of Model Garden's; each side is a program and its frames or steps per turn."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        workers = {"ours": Worker(sys.executable, own[0], request), "release": Worker(python, released[0], request)}
        for name, values in by_turns(workers, {"ours": own[1], "release": released[1]}).items():
            found[name] += values
    return statistics.median(found["ours"]), statistics.median(found["release"])


def report(unit: str, rows: list[tuple[str, float, float]]) -> str:
    """Return a table with the ratio of Model Garden's time to ours."""
    lines = [(name, seconds(ours), seconds(release), f"{release / ours:.2f}") for name, ours, release in rows]
    return section.table((unit, "this project", "release", "times ours"), lines)


def main() -> None:
    """Measure and print the tables; with --write, put them into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release-python", required=True, help="Python of an environment with tf-models-official")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/reference/benchmarks.md")
    asked = parser.parse_args()
    os.sched_setaffinity(0, {asked.core})  # inherited by every process started below
    parts = [
        section.machine(),
        report("a frame on a stream, CPU", streams(asked.release_python, asked.rounds)),
        report("a training step of the Keras model, CPU", training(asked.release_python, asked.rounds)),
    ]
    print(*parts, sep="\n\n")
    if asked.write:
        section.write("streaming", "\n\n".join(parts))


if __name__ == "__main__":
    main()
