"""Tests of a search's ability to rank: known spread and noise, from the events of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic_run import CLASSES, STEPS, ledger_of, proposal, sampled

from nas.record.events import Completed, Record
from nas.record.ledger import Ledger
from results.tables.ranking_support import ranking
from search_space.cost.counting import count


def run_with(folder: Path, spread: float, noise: float, repeats: int = 3) -> Ledger:
    """Write a run of 40 candidates whose values grow with log cost; the best of each of eight groups is repeated."""
    rng, records, index = np.random.default_rng(3), list[Record](), 0
    architectures = sorted(sampled(rng, 40), key=lambda each: count(each, CLASSES).macs)
    own = {each: 0.05 * np.log(count(each, CLASSES).macs) - 0.3 + rng.normal(0, spread) for each in architectures}

    def trained(architecture: object, kind: str, repeat: int) -> float:
        nonlocal index
        value = float(own[architecture] + rng.normal(0, noise))
        records.append(proposal(index, architecture, kind, repeat))
        records.append(Completed(index, STEPS, {"accuracy": value, "loss": -np.log(value)}, 1.0))
        index += 1
        return value

    found = {each: trained(each, "search", 0) for each in architectures}
    for group in range(8):
        best = max(architectures[5 * group : 5 * group + 5], key=found.__getitem__)
        for repeat in range(repeats):
            trained(best, "finalist", repeat + 1)
    return ledger_of(folder, records)


def test_spread_and_noise_are_told_apart(tmp_path: Path) -> None:
    found = ranking(run_with(tmp_path, spread=0.05, noise=0.01))
    assert found.spread == pytest.approx(0.05, rel=0.3) and found.noise == pytest.approx(0.01, rel=0.4)
    assert found.supported and found.low > 0.8 and found.repeated == 8
    assert "reliability 0.9" in found.text() and "no ranking" not in found.text()


def test_where_seeds_differ_as_much_as_networks_no_ranking_is_supported(tmp_path: Path) -> None:
    found = ranking(run_with(tmp_path, spread=0.01, noise=0.05))
    assert found.supported is False and found.low <= 0.3
    assert found.text().splitlines()[1].startswith("the measurements cannot rank the candidates")


def test_without_repeats_the_noise_is_unknown(tmp_path: Path) -> None:
    found = ranking(run_with(tmp_path, spread=0.05, noise=0.01, repeats=1))
    assert found.supported is None and "unknown" in found.text() and "0 architectures" in found.text()
