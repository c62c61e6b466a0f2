"""This project's search over listed architectures; prints JSON. `throughput.py` runs it in a separate process.

The first argument is a request: `{search, data, members}`. Everything is as in a search with Ray and two workers,
except that the architectures come from the request. Prints `{ended}`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas.algorithms.base import Algorithm
from nas.config import search_config
from nas.evaluation.proxy_trainer import open_made
from nas.execution.node_data import Clips
from nas.execution.ray_cluster import ALONE
from nas.loop.search import Search
from nas.record.events import Completed, Event
from nas.record.ledger import Header
from nas.record.ledger_writer import LedgerWriter
from search_space import architecture as schema
from search_space.space.choices import Genotype
from search_space.space.movinet import movinet_space


class Listed(Algorithm):
    """Proposes listed architectures in order."""

    members: Sequence[Genotype] = ()

    def ask(self, rng: np.random.Generator) -> Genotype:
        """Return the next one."""
        return self.members[len(self.proposed)]


def main() -> None:
    """Train the architectures of the request."""
    request = json.loads(sys.argv[1])
    chosen = search_config.from_dict(request["search"])
    space = movinet_space(chosen.space)
    ended = []

    def watch(event: Event) -> None:
        if isinstance(event, Completed):
            ended.append(time.monotonic())

    with tempfile.TemporaryDirectory() as folder:
        header = Header(search_config.to_dict(chosen), {}, chosen.seed, "benchmark")
        with LedgerWriter.create(Path(folder) / "ledger.jsonl", header) as writer:
            search = Search(chosen, writer)
            search.algorithm = Listed(space, chosen.limits, planned=chosen.trials)
            search.algorithm.members = [space.encode(schema.from_dict(member)) for member in request["members"]]
            search.watchers.append(watch)
            ALONE.prepared()
            from nas.execution import ray_tune

            data = open_made(request["data"])
            ray_tune.run(search, Clips(request["data"], data.content_hash))
    if len(ended) != chosen.trials:
        sys.exit(f"{len(ended)} of {chosen.trials} trials completed")
    print(json.dumps({"ended": ended[-1]}))


if __name__ == "__main__":
    main()
