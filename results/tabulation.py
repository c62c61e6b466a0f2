"""A run's ledger as a benchmark table, with a word on what it lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas import table
from nas.ledger import Ledger


def tabulate(ledger: Ledger, path: Path) -> str:
    """Writes the table of a run, finished or not; the text says what it holds and what is missing.

    Raises:
      InputError: no search trial was completed, or the file cannot be written.
    """
    made = table.from_ledger(ledger)
    table.write(made, path)
    rows, seeds = made.accuracy.shape
    measured = int((~np.isnan(made.accuracy)).sum())
    searched = [proposal for proposal in ledger.proposals.values() if proposal.kind == "search"]
    without = len({proposal.fingerprint for proposal in searched} - set(made.fingerprints))
    lines = [f"{path}: {rows} architectures, {seeds} seeds, {measured} trainings"]
    if rows * seeds > measured:
        lines.append(f"missing: {rows * seeds - measured} of the {rows * seeds} trainings of these architectures")
    if without:
        lines.append(f"left out: {without} architectures proposed without a training to the full budget")
    # A run's configuration says how many trials it is to have, not what they would be.
    unasked = int(ledger.header.config.get("trials", 0)) - len(searched)
    if unasked > 0:
        lines.append(f"not yet begun: {unasked} trainings of the run; `run_search.py search --resume` carries it on")
    return "\n".join(lines)
