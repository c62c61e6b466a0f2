"""Ratio of trained candidates per hour with two workers to one, for the same candidates, in turns.

    python tests/benchmarks/worker_efficiency.py [PRESET] [--trials N] [--turns N] [--workers N]

Needs as many idle cores as workers; takes about half an hour with the defaults. The search uses a stratified draw that
results do not change, without early stopping and re-evaluation. It counts the candidates that complete while every
worker is busy. This interval starts when each worker has trained its first candidate, with its start-up and its first
tracing, and ends when the first worker has no candidate left.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import section

from nas.config import search_config
from nas.config.sections import AlgorithmConfig, EarlyStopping, Finals
from nas.record import ledger
from nas.record.events import Completed

ROOT = Path(__file__).resolve().parents[2]


def completions(preset: str, trials: int, workers: int, seed: int) -> list[float]:
    """Return the times, in seconds, at which the candidates of a search were trained."""
    settings = dataclasses.replace(
        search_config.load(preset),
        trials=trials,
        workers=workers,
        seed=seed,
        algorithm=AlgorithmConfig("stratified_random"),
        early_stopping=EarlyStopping(()),
        finals=Finals(0),
    )
    with tempfile.TemporaryDirectory() as folder:
        search, out = Path(folder, "search.yaml"), Path(folder, "out")
        search.write_text(json.dumps(search_config.to_dict(settings)))  # JSON is YAML
        command = [sys.executable, "run_search.py", "search", str(search), "--out", str(out), "--quiet"]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        entries = ledger.read(out / "ledger.jsonl").entries
    times = [entry.time for entry in entries if isinstance(entry.record, Completed)]
    if len(times) != trials:
        raise SystemExit(f"{len(times)} of {trials} trials completed")
    return times


def per_hour(times: list[float], workers: int) -> float:
    """Return the rate of candidates while all workers are busy."""
    busy = times[workers - 1 : len(times) - workers + 1]
    return 3600 * (len(busy) - 1) / (busy[-1] - busy[0])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("preset", nargs="?", default="default")
    arguments.add_argument("--trials", type=int, default=32)
    arguments.add_argument("--turns", type=int, default=4)
    arguments.add_argument("--workers", type=int, default=2)
    options = arguments.parse_args()
    if options.trials < 2 * options.workers + 1:
        arguments.error("--trials must be more than twice the workers")
    print(section.machine())
    ratios = []
    for turn in range(options.turns):
        rates = {}
        for workers in (1, options.workers) if turn % 2 == 0 else (options.workers, 1):
            rates[workers] = per_hour(completions(options.preset, options.trials, workers, turn), workers)
        ratios.append(rates[options.workers] / rates[1])
        both = f"{rates[1]:.0f} and {rates[options.workers]:.0f}"
        print(f"turn {turn}: {both} candidates an hour with 1 and {options.workers}: {ratios[-1]:.2f}", flush=True)
    print(f"{options.workers} workers over 1: median {statistics.median(ratios):.2f} of {sorted(ratios)}")


if __name__ == "__main__":
    main()
