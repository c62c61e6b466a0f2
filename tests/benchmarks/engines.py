"""Training step of the fused engine and of TensorFlow, alternating on one core, over networks of the default search.

    python tests/benchmarks/engines.py [--write]

CPU time without imports; medians over turns. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import section

from movinet.proxy.engine import Engine, FusedEngine, TensorFlowEngine
from movinet.proxy.recipe import Recipe
from nas.config import search_config
from search_space.architecture import Architecture
from search_space.cost.counting import count
from search_space.space.movinet import movinet_space

NETWORKS, TURNS, STEPS = 8, 5, 3


def networks(search: search_config.SearchConfig) -> list[Architecture]:
    """Return random networks, one from each of `NETWORKS` equal parts of the range of log cost below the limit."""
    space, rng = movinet_space(search.space), np.random.default_rng(0)
    pool = np.concatenate([space.sample(rng, 500, tilt) for tilt in np.linspace(-6, 2, 21)])
    macs = space.count(pool)["macs"]
    edges = np.geomspace(macs.min() * 1.1, search.limits[0].at_most, NETWORKS + 1)
    found = (pool[(macs >= low) & (macs < high)] for low, high in zip(edges, edges[1:], strict=False))
    return [space.decode(tuple(rng.choice(part).tolist())) for part in found]


class Turn:
    """One engine that trains on the same clips repeatedly."""

    def __init__(self, engine: Engine, network: Architecture, classes: int, clips: np.ndarray, recipe: Recipe) -> None:
        start = time.process_time()
        self._candidate: Any = engine.candidate(network, classes, recipe, 0)
        self._frames = engine.frames(clips, network.clip.resolution)
        self._labels = engine.labels(np.arange(clips.shape[1]) % classes)
        float(self._candidate.step(self._frames, self._labels))
        self.first = time.process_time() - start

    def seconds(self) -> float:
        """Return the CPU seconds of a step, mean of a few."""
        start = time.process_time()
        for _ in range(STEPS):
            float(self._candidate.step(self._frames, self._labels))
        return (time.process_time() - start) / STEPS


def main() -> None:
    """Measure, print and, if requested, write into docs/reference/benchmarks.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    search = search_config.load("default")
    engines: tuple[Engine, Engine] = FusedEngine(), TensorFlowEngine(1)
    recipe = Recipe(steps=1000, batch_size=search.training.batch_size)
    rng, rows = np.random.default_rng(1), []
    for network in networks(search):
        side = network.clip.resolution
        clips = rng.integers(0, 256, (network.clip.frames, recipe.batch_size, side, side, 3)).astype(np.uint8)
        fused, tensorflow = (Turn(engine, network, search.space.classes, clips, recipe) for engine in engines)
        pairs = [(fused.seconds(), tensorflow.seconds()) for _ in range(TURNS)]
        a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
        macs = count(network, search.space.classes).macs
        rows.append(
            [
                f"{macs / 1e6:.2f} M, {network.depth} layers, {network.clip.frames} x {side}²",
                f"{1e3 * a:.0f} ms",
                f"{1e3 * b:.0f} ms",
                f"{b / a:.1f}",
                f"{3 * macs * recipe.batch_size / a / 1e9:.1f} G",
                f"{fused.first:.1f} s",
                f"{tensorflow.first:.1f} s",
            ]
        )
        print(rows[-1], flush=True)
    header = ["network", "fused", "TensorFlow", "ratio", "multiply-adds/s", "first step, fused", "TensorFlow"]
    if arguments.write:
        section.write("engines", f"{section.machine()}\n\n{section.table(header, rows)}")


if __name__ == "__main__":
    main()
