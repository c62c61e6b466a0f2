"""One-shot search against stratified random at equal compute, over seeds.

    python tests/benchmarks/one_shot_comparison.py [--seeds 3] [--steps 3000] [--out FILE.json] [--write]

For each seed the one-shot search of the preset finds a network for every cost target, and each is trained from scratch
REPEATS times. Then random architectures, equally many within 5 % of every target, are trained one after another until
they have used the same process CPU time, including retraining: the best at each target is retrained REPEATS times with
the other seeds. The comparison uses the accuracy of those retrainings on the test clips, which no choice depended on.
One core; CPU time, so other load on the machine affects neither side. Results are stored seed by seed in FILE.json, by
default in results/runs/, and stored results are reused. With --write the tables go into
results/published/one_shot/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import section

from nas.config import search_config as configs
from nas.config.search_config import SearchConfig
from nas.config.sections import OneShot
from nas.evaluation.proxy_trainer import Trainer, open_data
from nas.loop.search import trial_seed
from nas.one_shot.tunas import OneShotSearch, targets_of
from nas.record.events import Completed, Proposal
from search_space import architecture as architectures
from search_space.space.choices import Genotype
from search_space.space.sampling import sample_stratum

REPEATS = 3
ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "results" / "published" / "one_shot" / "README.md"


class Training:
    """Trains architectures from scratch; functions compiled for earlier trainings of the process are reused."""

    def __init__(self, search: OneShotSearch) -> None:
        self.search, self.trainer = search, search.trainer

    def accuracies(self, genotype: Genotype, repeat: int) -> dict[str, float]:
        """Return validation and test metrics of one training."""
        architecture = self.search.space.decode(genotype)
        seed = trial_seed(self.search.config.seed, architecture.fingerprint, repeat)
        plain = architectures.to_dict(architecture)
        proposal = Proposal(0, "finalist", genotype, plain, architecture.fingerprint, repeat, seed, {})
        (done,) = (event for event in self.trainer.train(proposal) if isinstance(event, Completed))
        return dict(done.metrics)

    def test_accuracies(self, genotype: Genotype) -> list[float]:
        """Return the test accuracies of the repeats that no choice depended on."""
        return [self.accuracies(genotype, repeat)["test_accuracy"] for repeat in range(1, REPEATS + 1)]


def one_shot(search: OneShotSearch, training: Training) -> list[dict[str, Any]]:
    """Return the network of every target and its test accuracies."""
    while not search.finished:
        search.step()
        if search.supernet.steps_done % 500 == 0:
            print(f"  supernet: step {search.supernet.steps_done}", flush=True)
    return [
        {**vars(found), "test": training.test_accuracies(found.genotype)} for found in search.found()
    ]  # fmt: skip


def random_search(search: OneShotSearch, training: Training, budget: float) -> list[dict[str, Any]]:
    """Return the best random architecture near every target and its test accuracies; `budget` in seconds of CPU."""
    targets, tolerance = targets_of(search.config), search.settings.tolerance
    rng, start, slowest = np.random.default_rng([search.config.seed, 1]), time.process_time(), 0.0
    tried: dict[float, dict[Genotype, float]] = {target: {} for target in targets}
    turn = 0
    # The rest of the budget must suffice for retraining the best of each target.
    while time.process_time() - start + (1 + REPEATS * len(targets)) * slowest < budget:
        target, before = targets[turn % len(targets)], time.process_time()
        low, high = target * (1 - tolerance), target * (1 + tolerance)
        member = sample_stratum(search.space, rng, low, high, search.config.limits, tried[target])
        assert member is not None  # the range has very many
        tried[target][member] = training.accuracies(member, 0)["accuracy"]
        turn += 1
        slowest = (slowest * (turn - 1) + time.process_time() - before) / turn  # the mean so far
    found = []
    for target, results in tried.items():
        best = max(results, key=lambda member: results[member])
        macs = int(search.space.count(np.array([best]))["macs"][0])
        test = training.test_accuracies(best)
        found.append({"target": target, "genotype": best, "macs": macs, "tried": len(results), "test": test})
    return found


def compared(config: SearchConfig, data: Any) -> dict[str, Any]:
    """Run both searches with one seed."""
    search = OneShotSearch(config, Trainer(config, data, 1))
    training, start = Training(search), time.process_time()
    ours = one_shot(search, training)
    used = time.process_time() - start
    print(f"seed {config.seed}: one-shot {used:.0f} s, {[each['test'] for each in ours]}", flush=True)
    other = Training(OneShotSearch(config, Trainer(config, data, 1)))  # without compiled functions, as the first
    start = time.process_time()
    random = random_search(other.search, other, used)
    spent = time.process_time() - start
    print(f"seed {config.seed}: random {spent:.0f} s, {[each['test'] for each in random]}", flush=True)
    return {"seed": config.seed, "one_shot": ours, "one_shot_seconds": used, "random": random, "random_seconds": spent}


def interval(values: Sequence[float]) -> str:
    """Return the mean and its 95 % interval in percent: bootstrap over seeds."""
    drawn = np.random.default_rng(0).choice(np.asarray(values), (10_000, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{100 * np.mean(values):.1f} ({100 * low:.1f} to {100 * high:.1f})"


def report(found: Sequence[dict[str, Any]]) -> str:
    """Return the text of the section."""
    rows, gains = [], []
    for i, first in enumerate(found[0]["one_shot"]):
        ours, random = ([statistics.mean(each[name][i]["test"]) for each in found] for name in ("one_shot", "random"))
        gains.append([a - b for a, b in zip(ours, random, strict=True)])
        off = max(abs(each["one_shot"][i]["macs"] / first["target"] - 1) for each in found)
        argmax = sum(each["one_shot"][i]["how"] == "argmax" for each in found)
        cells = [interval(values) for values in (ours, random, gains[-1])]
        rows.append([f"{first['target'] / 1e6:.2f} M", *cells, f"{100 * off:.1f} %", f"{argmax} of {len(found)}"])
    overall = [statistics.mean(each) for each in zip(*gains, strict=True)]
    rows.append(["all", "", "", interval(overall), "", ""])
    tried = statistics.mean(sum(member["tried"] for member in each["random"]) for each in found)
    times = [statistics.mean(each[f"{name}_seconds"] for each in found) for name in ("one_shot", "random")]
    header = ["target", "one-shot, test top-1 %", "random", "difference", "cost off by at most", "plain argmax"]
    return "\n\n".join([
        section.machine(),
        section.table(header, rows),
        f"{len(found)} seeds, each the mean of {REPEATS} trainings; 95 % intervals, bootstrap over seeds. CPU seconds "
        f"a seed: one-shot {times[0]:.0f}, random {times[1]:.0f} with {tried:.0f} networks tried.",
    ])  # fmt: skip


def main() -> None:
    """Compare and print the tables; with --write, put them into the documentation."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--preset", default="one_shot")
    options.add_argument("--steps", type=int, help="of the supernet (default: the preset's)")
    options.add_argument("--out", type=Path, default=ROOT / "results/runs/one_shot_comparison.json")
    options.add_argument("--write", action="store_true")
    asked = options.parse_args()
    config = configs.load(asked.preset)
    settings = config.one_shot or OneShot()
    settings = dataclasses.replace(settings, steps=asked.steps or settings.steps)
    data = open_data(config.data, config.space, config.seed)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(asked.out.read_text()) if asked.out.exists() else []
    for seed in range(len(found), asked.seeds):
        found.append(compared(dataclasses.replace(config, seed=seed, one_shot=settings), data))
        asked.out.write_text(json.dumps(found))
    print(report(found))
    if asked.write:
        section.write("comparison", report(found), DOCUMENT)


if __name__ == "__main__":
    main()
