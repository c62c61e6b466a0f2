"""Rate of the vectorised cost function of a space in architectures per second, compared with one call per architecture.

    python tests/benchmarks/counting.py [--write]

Process CPU time on one core, medians; numpy only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import section

from nas.config import search_config
from search_space.cost.counting import count
from search_space.space.movinet import movinet_space

ARCHITECTURES = 100_000
SINGLES = 1_000
REPEATS = 7


def median_seconds(run: Callable[[], object]) -> float:
    """Return the median CPU seconds of a call."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


def report(preset: str) -> str:
    """Return a table of the rates."""
    space_config = search_config.load(preset).space
    space = movinet_space(space_config)
    rng = np.random.default_rng(0)
    genotypes = space.sample(rng, ARCHITECTURES)
    singles = [tuple(genotype) for genotype in genotypes[:SINGLES].tolist()]
    networks = [space.decode(genotype) for genotype in singles]
    measured = [
        ("genotypes to costs, vectorised", ARCHITECTURES, lambda: space.count(genotypes)),
        ("genotypes drawn and counted", ARCHITECTURES, lambda: space.count(space.sample(rng, ARCHITECTURES))),
        ("one architecture to its cost", SINGLES, lambda: [count(each, space_config.classes) for each in networks]),
        ("one genotype to its architecture", SINGLES, lambda: [space.decode(each) for each in singles]),
    ]
    rows = []
    for name, amount, run in measured:
        each = median_seconds(run) / amount
        rows.append((name, f"{1 / each:,.0f}", f"{each * 1e6:.3g} us"))
    return section.table((f"space `{space.name}`", "a second", "each"), rows)


def main() -> None:
    """Measure and print the table; with --write, put it into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="default", help="search whose space is counted")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reference/benchmarks.md")
    asked = parser.parse_args()
    os.sched_setaffinity(0, {asked.core})
    text = f"{section.machine()}\n\n{report(asked.preset)}"
    print(text)
    if asked.write:
        section.write("counting", text)


if __name__ == "__main__":
    main()
