"""A run as a benchmark table, with a note on missing trainings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas.benchmark import table
from nas.record.ledger import Ledger


def tabulate(ledger: Ledger, path: Path) -> str:
    """Write the table of a run, finished or not; return a text about its content and missing trainings.

    Raises:
      InputError: no search trial was completed, or the file cannot be written.
    """
    return text(tabulated(ledger, path))


def tabulated(ledger: Ledger, path: Path) -> dict[str, Any]:
    """Write the table; return the numbers of architectures, seeds and trainings, also of missing ones.

    Raises:
      InputError: see `tabulate`.
    """
    made = table.from_ledger(ledger)
    table.write(made, path)
    rows, seeds = made.accuracy.shape
    measured = int((~np.isnan(made.accuracy)).sum())
    searched = [proposal for proposal in ledger.proposals.values() if proposal.kind == "search"]
    return {
        "file": str(path),
        "architectures": rows,
        "seeds": seeds,
        "trainings": measured,
        "missing": rows * seeds - measured,
        "left_out": len({proposal.fingerprint for proposal in searched} - set(made.fingerprints)),
        # A run's configuration has the number of trials, but not their architectures.
        "not_begun": max(0, int(ledger.header.config.get("trials", 0)) - len(searched)),
    }


def text(found: Mapping[str, Any]) -> str:
    """Return the result of `tabulated` as text."""
    lines = ["{file}: {architectures} architectures, {seeds} seeds, {trainings} trainings".format(**found)]
    if found["missing"]:
        whole = found["missing"] + found["trainings"]
        lines.append(f"missing: {found['missing']} of the {whole} trainings of these architectures")
    if found["left_out"]:
        lines.append(f"left out: {found['left_out']} architectures proposed without a training to the full budget")
    if found["not_begun"]:
        more = "`run_search.py search --resume` continues it"
        lines.append(f"not yet started: {found['not_begun']} trainings of the run; {more}")
    return "\n".join(lines)
