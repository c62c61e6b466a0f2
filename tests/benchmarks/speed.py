"""Time of a training step, and from an architecture to its first step, beside the TF Model Garden implementation.

    python tests/benchmarks/speed.py --release-python /path/to/release/bin/python [--write]

needs an environment with `pip install tf-models-official`; takes about ten minutes on one core. Everything runs in
separate processes on one core; ours and Model Garden's alternate, so other load on the machine affects both. Values are
process CPU time without imports; medians over the rounds and steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import section

from nas.config import search_config
from search_space import architecture as schema
from search_space.architecture import Architecture, Clip
from search_space.cost.counting import count
from search_space.published import A0
from search_space.space.movinet import movinet_space
from search_space.space.sampling import sample_feasible

HERE = Path(__file__).resolve().parent
BATCH, CLASSES = 8, 10
NETWORK = dataclasses.replace(A0, clip=Clip(frames=8, resolution=64, frame_stride=1))
FORMS = ("2plus1d", "3d")
STEPS = {"ours": 8, "2plus1d": 8, "3d": 1}  # per turn
TURNS = 4
CANDIDATES = 40
BESIDE_RELEASE = (10, 20, 30)  # indices of the candidates, from 1


class Worker:
    """A process on this process's core that has trained the first step of its networks; see `own_speed.py`."""

    def __init__(self, python: str, script: str, request: Mapping[str, Any]) -> None:
        command = [python, str(HERE / script), json.dumps(request)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.firsts: list[float] = self._read()

    def _read(self) -> list[float]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a measuring process failed:\n{self._process.communicate()[1][-2000:]}")
        return json.loads(line)

    def ask(self, request: object) -> list[float]:
        """Return the seconds of that many more steps."""
        assert self._process.stdin
        print(request, file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, its clips per step, and the Python of Model Garden's environment."""

    network: Architecture
    batch: int
    classes: int
    release_python: str

    def ours(self, *networks: Architecture) -> Worker:
        """Train each network's first step in turn in one process; by default the network of this case."""
        plain = [schema.to_dict(network) for network in networks or [self.network]]
        request = {"networks": plain, "batch": self.batch, "classes": self.classes}
        return Worker(sys.executable, "own_speed.py", request)

    def release(self, form: str, slots: bool = False) -> Worker:
        """Start the Model Garden implementation; `slots` as in `release_speed.py`."""
        plain = schema.to_dict(self.network)
        request = {"network": plain, "batch": self.batch, "classes": self.classes, "form": form, "slots": slots}
        return Worker(self.release_python, "release_speed.py", request)


@dataclasses.dataclass(frozen=True)
class Measured:
    """Seconds of every first step and of every later one, by implementation."""

    firsts: dict[str, list[float]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    steps: dict[str, list[float]] = dataclasses.field(default_factory=lambda: defaultdict(list))

    def first(self, name: str) -> float:
        """Return the median."""
        return statistics.median(self.firsts[name])

    def step(self, name: str) -> float:
        """Return the median."""
        return statistics.median(self.steps[name])


def measure(case: Case, rounds: int, slots: bool) -> Measured:
    """Time first steps in new processes, then later steps in turns."""
    found = Measured()
    for _ in range(rounds):
        workers = {"ours": case.ours()}
        workers |= {form: case.release(form) for form in FORMS}
        for name, worker in workers.items():
            found.firsts[name] += worker.firsts
        for _ in range(TURNS):
            for name, worker in workers.items():
                found.steps[name] += worker.ask(STEPS[name])
        found.steps["matmul"] += workers["ours"].ask("matmul")
        for worker in workers.values():
            worker.close()
        for form in FORMS if slots else ():
            worker = case.release(form, slots=True)
            found.firsts[f"{form}, slots made before"] += worker.firsts
            worker.close()
    return found


def with_squeeze_excite(network: Architecture) -> Architecture:
    """Return the network with squeeze-excite in every layer, because Model Garden's table requires it."""
    replace = dataclasses.replace
    blocks = tuple(
        replace(block, layers=tuple(replace(layer, squeeze_excite=True) for layer in block.layers))
        for block in network.blocks
    )
    return replace(network, blocks=blocks)


def candidates(search: search_config.SearchConfig) -> list[Architecture]:
    """Draw architectures within the search's limits; those measured beside Model Garden get squeeze-excite."""
    space = movinet_space(search.space)
    drawn = sample_feasible(space, np.random.default_rng(search.seed), CANDIDATES, search.limits)
    networks = [space.decode(tuple(genotype)) for genotype in drawn.tolist()]
    for i in BESIDE_RELEASE:
        networks[i - 1] = with_squeeze_excite(networks[i - 1])
    return networks


def stream(case: Case, networks: Sequence[Architecture], rounds: int) -> list[list[float]]:
    """Return the seconds to each network's first step, all in one process: one list per round."""
    found = []
    for _ in range(rounds):
        worker = case.ours(*networks)
        found.append(worker.firsts)
        worker.close()
    return found


def seconds(value: float) -> str:
    """Format seconds with three significant digits and a unit."""
    return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"


def ratio(value: float, ours: float) -> str:
    """Format the ratio to our time."""
    return f"{value / ours:.1f}"


def a0_report(found: Measured) -> str:
    """Return tables of the training step and of the first one, and the arithmetic per second."""
    ours, first = found.step("ours"), found.first("ours")
    steps = [(f"release, `{form}`", seconds(found.step(form)), ratio(found.step(form), ours)) for form in FORMS]
    names = [name for name in found.firsts if name != "ours"]
    firsts = [(f"release, `{name}`", seconds(found.first(name)), ratio(found.first(name), first)) for name in names]
    rate = 3 * count(NETWORK, CLASSES).macs * BATCH / ours
    product = found.step("matmul")
    return "\n\n".join([
        section.table(("training step", "CPU", "times ours"), [("this project", seconds(ours), "1"), *steps]),
        section.table(
            ("first candidate of a process, to its first step done", "CPU", "times ours"),
            [("this project", seconds(first), "1"), *firsts],
        ),
        f"Our step does {rate / 1e9:.1f} G multiply-adds a second (3 x those of the forward pass x batch / seconds); a "
        f"product of two 2048 x 2048 matrices does {2048**3 / product / 1e9:.0f} G on the same core.",
    ])  # fmt: skip


def stream_report(rounds: list[list[float]], beside: list[Measured]) -> str:
    """Return a table of the 2nd to last candidate of a process."""
    later = statistics.median(statistics.mean(firsts[1:]) for firsts in rounds)
    chosen = statistics.median(statistics.mean(firsts[i - 1] for i in BESIDE_RELEASE) for firsts in rounds)
    last = statistics.median(statistics.mean(firsts[CANDIDATES // 2 :]) for firsts in rounds)
    rows = [
        (f"this project, 2nd to {CANDIDATES}th, mean", seconds(later), "1"),
        ("this project, the later half of them, mean", seconds(last), ratio(last, later)),
        ("this project, the three built beside the release, mean", seconds(chosen), ratio(chosen, later)),
    ]
    for form in FORMS:
        mean = statistics.mean(found.first(form) for found in beside)
        rows.append((f"release, `{form}`, three candidates, mean", seconds(mean), ratio(mean, later)))
    steps = [
        (f"candidate {i}", *(seconds(found.step(name)) for name in ("ours", *FORMS)))
        for i, found in zip(BESIDE_RELEASE, beside, strict=True)
    ]
    return "\n\n".join([
        section.table(("later candidates of a process, to their first step done", "CPU", "times ours"), rows),
        section.table(("training step", "this project", "release, `2plus1d`", "release, `3d`"), steps),
    ])  # fmt: skip


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release-python", required=True, help="Python of an environment with tf-models-official")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preset", default="default", help="search whose space the candidates are drawn from")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/reference/benchmarks.md")
    return parser.parse_args()


def main() -> None:
    """Measure and print the tables; with --write, put them into the documentation."""
    asked = arguments()
    os.sched_setaffinity(0, {asked.core})  # inherited by every process started below
    python = asked.release_python
    found = measure(Case(NETWORK, BATCH, CLASSES, python), asked.rounds, slots=True)
    parts = [section.machine(), a0_report(found)]
    print(*parts, sep="\n\n", flush=True)

    search = search_config.load(asked.preset)
    networks = candidates(search)
    cases = [Case(networks[i - 1], search.training.batch_size, search.space.classes, python) for i in BESIDE_RELEASE]
    rounds = stream(cases[0], networks, asked.rounds)
    parts.append(stream_report(rounds, [measure(case, 1, slots=False) for case in cases]))
    print(parts[-1])
    if asked.write:
        section.write("speed", "\n\n".join(parts))


if __name__ == "__main__":
    main()
