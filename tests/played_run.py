"""A run without training: the real search on real data, with measurements from a formula."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from nas.config import search_config
from nas.config.search_config import SearchConfig
from nas.config.sections import DataConfig, Finals
from nas.evaluation.proxy_trainer import open_data
from nas.loop import run_folder
from nas.loop.search import Search
from nas.record.events import Completed, Failed, Proposal, Rung
from nas.record.ledger import Header
from nas.record.ledger_writer import LedgerWriter

DATA = DataConfig(level="tiny", train=36, validation=36, test=36)


def settings(**changes: object) -> SearchConfig:
    """Return the preset tiny on very little data, with two published networks for comparison."""
    finals = Finals(repeats=2, most=2, references=("a0", "a5"))
    return dataclasses.replace(search_config.load("tiny"), **{"data": DATA, "finals": finals, **changes})


def accuracy(proposal: Proposal) -> float:
    """Return an accuracy that grows with cost and differs between networks and between trainings of one network."""
    size = proposal.cost["macs"] / 2e6
    return 0.2 + 0.5 * min(size, 1) + int(proposal.fingerprint[:2], 16) / 2560 + 0.01 * proposal.repeat


def report(search: Search, proposal: Proposal) -> None:
    """Report the events of a training of `proposal`, up to an early stop."""
    metrics = {"accuracy": accuracy(proposal), "loss": 1.0, "likelihood": 0.8 * accuracy(proposal)}
    for steps in search.config.early_stopping.steps(search.config.training.steps):
        early = {name: metrics[name] / 2 for name in ("accuracy", "likelihood")}
        if not search.observe(Rung(proposal.index, steps, early, 1.0)):
            return
    if proposal.kind != "search":
        metrics |= {f"test_{name}": value - 0.01 for name, value in metrics.items()}
    search.observe(Completed(proposal.index, search.config.training.steps, metrics, 2.0))


def play(search: Search, trials: int | None = None, failing: int | None = None) -> None:
    """Propose and report as an executor does: the whole run, or `trials` of it; trial `failing` fails."""
    while trials is None or trials > 0:
        proposal = search.propose()
        if proposal is None:
            return
        if proposal.index == failing:
            search.observe(Failed(proposal.index, "loss nan after 3 steps; try a lower learning rate", 1))
        else:
            report(search, proposal)
        trials = None if trials is None else trials - 1


def begin(folder: Path, chosen: SearchConfig) -> LedgerWriter:
    """Create a run's folder with the header of its event log."""
    folder.mkdir(parents=True)
    data = open_data(chosen.data, chosen.space)
    header = Header(search_config.to_dict(chosen), run_folder.versions(), chosen.seed, data.content_hash)
    return LedgerWriter.create(folder / run_folder.LEDGER, header)


def played(folder: Path, trials: int | None = None, failing: int | None = None) -> Path:
    """Return the folder of a run with simulated trainings."""
    chosen = settings()
    with begin(folder, chosen) as writer:
        play(Search(chosen, writer), trials, failing)
    return folder
