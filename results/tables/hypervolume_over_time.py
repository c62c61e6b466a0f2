"""Hypervolume of a search over its running time; `nas.record.hypervolume` has the definition."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from nas.record.events import Completed, Resumed, Stopped
from nas.record.hypervolume import CostRange, GrowingFront, Ranges, ranges_of_space
from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY
from search_space.base.errors import InputError
from search_space.cost.counting import COST_NAMES
from search_space.space import movinet
from search_space.space.sampling import Limit


def ranges_of_run(ledger: Ledger) -> Ranges:
    """Return the range of each cost objective that the run's space and limits allow, as in the live display.

    For a user's cost function, and for a network family of a user, it is the range over the trials, because reading a
    run executes no code of its configuration.

    Raises:
      InputError: the configuration in the event log has no valid space or limits.
    """
    config, place = ledger.header.config, f"{ledger.path}:1: config"
    limits = config.get("limits", {})
    if not isinstance(limits, Mapping):
        raise InputError(f"{place}.limits", limits, "must be a mapping")
    if ledger.own_task:
        return tuple(_measured_range(ledger, name) for name in ledger.costs)
    space = movinet.movinet_space(movinet.from_dict(config.get("space"), f"{place}.space"))
    caps = [Limit(name, at_most) for name, at_most in limits.items() if name in COST_NAMES]
    return tuple(
        ranges_of_space(space, caps, [name])[0] if name in COST_NAMES else _measured_range(ledger, name)
        for name in ledger.costs
    )


def _measured_range(ledger: Ledger, cost: str) -> CostRange:
    """Return the range of a cost over the trials, for a cost that needs a user's code."""
    values = [float(proposal.cost[cost]) for proposal in ledger.proposals.values()]
    return CostRange(min(values, default=1.0), max(values, default=1.0) + 1.0)


def hypervolume_over_time(ledger: Ledger, within: Ranges | None = None) -> pd.DataFrame:
    """Return seconds, finished, hypervolume: a row per search trial that completed or was stopped, in that order.

    Seconds are since the first entry, minus the pauses before the run was resumed. `finished` counts such trials; only
    completed ones add to the hypervolume, each with the accuracy of its single training. `within` is by default
    `ranges_of_run`.
    """
    rows: list[tuple[float, int, float]] = []
    front = GrowingFront(within or ranges_of_run(ledger))
    for seconds, event in _running_time(ledger):
        proposal = ledger.proposals[event.index]
        if proposal.kind != "search":
            continue
        if isinstance(event, Completed) and ACCURACY.name in event.metrics:
            front.add([proposal.cost[name] for name in ledger.costs], event.metrics[ACCURACY.name])
        rows.append((seconds, len(rows) + 1, front.volume))
    return pd.DataFrame(rows, columns=["seconds", "finished", "hypervolume"])


def _running_time(ledger: Ledger) -> list[tuple[float, Completed | Stopped]]:
    """Return results, each with the running time of the run in seconds."""
    rows, running = [], 0.0
    last = ledger.entries[0].time if ledger.entries else 0.0
    for entry in ledger.entries:
        if not isinstance(entry.record, Resumed):
            running += max(0.0, entry.time - last)
        last = entry.time
        if isinstance(entry.record, Completed | Stopped):
            rows.append((running, entry.record))
    return rows
