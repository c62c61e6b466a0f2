"""Training step of the supernet and of stand-alone candidates, on the same architectures and clips.

    python tests/benchmarks/supernet_speed.py [--write]

Random architectures of the default search within its limits, one core, batch 32, in turns; process CPU time, medians
over the turns of each architecture, then means over architectures. A step of the supernet includes fetching the
weights and moments of the architecture and putting them back. With --write the table goes into
docs/reference/benchmarks.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import section

from movinet.proxy.engine import Engine, FusedEngine
from movinet.proxy.recipe import Recipe
from movinet.proxy.supernet import Supernet
from nas.config import search_config
from search_space.architecture import Architecture
from search_space.space.movinet import movinet_space
from search_space.space.sampling import sample_feasible


def milliseconds(step: Callable[[], object]) -> float:
    """Return the process CPU time of a call."""
    start = time.process_time()
    step()
    return 1000 * (time.process_time() - start)


def measured(
    network: Architecture, engine: Engine, supernet: Supernet, batch: int, classes: int, turns: int
) -> dict[str, float]:
    """Return the median milliseconds of each kind of step of one architecture."""
    clip, rng = network.clip, np.random.default_rng(0)
    shape = (clip.frames, batch, clip.resolution, clip.resolution, 3)
    frames = engine.frames(rng.integers(0, 256, shape, np.uint8), clip.resolution)
    labels = engine.labels(np.arange(batch) % classes)
    candidate = engine.candidate(network, classes, Recipe(steps=1000, batch_size=batch), 0)
    steps: dict[str, Callable[[], object]] = {
        "candidate": lambda: candidate.step(frames, labels),
        "supernet": lambda: supernet.step(network, frames, labels),
        "reward": lambda: supernet.network(network).batch_logits(frames, batch),
    }
    turns_of_all = [{name: milliseconds(step) for name, step in steps.items()} for _ in range(turns + 1)]
    return {name: statistics.median(turn[name] for turn in turns_of_all[1:]) for name in steps}


def report(found: list[dict[str, float]], members: int) -> str:
    """Return the text of the section."""
    means = {name: statistics.mean(each[name] for each in found) for name in found[0]}
    ratios = sorted(each["supernet"] / each["candidate"] for each in found)
    rows = [
        ("stand-alone candidate, training step", f"{means['candidate']:.1f} ms", "1"),
        ("supernet, training step", f"{means['supernet']:.1f} ms", f"{means['supernet'] / means['candidate']:.2f}"),
        (
            "supernet, reward on as many clips",
            f"{means['reward']:.1f} ms",
            f"{means['reward'] / means['candidate']:.2f}",
        ),
    ]
    text = f"Of {members} members one by one, {ratios[0]:.2f} to {ratios[-1]:.2f} times."
    return "\n\n".join([section.machine(), section.table(("mean of a member", "CPU", "times"), rows), text])


def main() -> None:
    """Measure and print the table; with --write, put it into the documentation."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--members", type=int, default=24)
    options.add_argument("--turns", type=int, default=7)
    options.add_argument("--write", action="store_true")
    asked = options.parse_args()
    search = search_config.load("default")
    space, batch = movinet_space(search.space), search.training.batch_size
    drawn = sample_feasible(space, np.random.default_rng(search.seed), asked.members, search.limits)
    engine = FusedEngine()
    supernet = Supernet(engine, search.space, Recipe(steps=1000, batch_size=batch), seed=0)
    networks = [space.decode(tuple(genes)) for genes in drawn.tolist()]
    found = [measured(each, engine, supernet, batch, search.space.classes, asked.turns) for each in networks]
    text = report(found, asked.members)
    print(text)
    if asked.write:
        section.write("supernet", text)


if __name__ == "__main__":
    main()
