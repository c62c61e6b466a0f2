"""This project's search over given members; prints JSON. Used by `throughput.py`, in a process of its own.

Reads a request from the first argument: {search, data, members}. Everything is as in a search with Ray and two
workers, except that the members are given. Prints {ended}.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas import config
from nas.algorithms.algorithm import Algorithm
from nas.cluster import ALONE
from nas.ledger import Header, LedgerWriter
from nas.node_data import Clips
from nas.search import Search
from nas.trial import open_made
from nas.trials import Completed, Event
from search_space import architecture as schema
from search_space.movinet_space import movinet_space
from search_space.space import Genotype


class Listed(Algorithm):
    """Proposes given members in order."""

    members: Sequence[Genotype] = ()

    def ask(self, rng: np.random.Generator) -> Genotype:
        """The next one."""
        return self.members[len(self.proposed)]


def main() -> None:
    """Trains the members of the request."""
    request = json.loads(sys.argv[1])
    chosen = config.from_dict(request["search"])
    space = movinet_space(chosen.space)
    ended = []

    def watch(event: Event) -> None:
        if isinstance(event, Completed):
            ended.append(time.monotonic())

    with tempfile.TemporaryDirectory() as folder:
        header = Header(config.to_dict(chosen), {}, chosen.seed, "benchmark")
        with LedgerWriter.create(Path(folder) / "ledger.jsonl", header) as writer:
            search = Search(chosen, writer)
            search.algorithm = Listed(space, chosen.limits, planned=chosen.trials)
            search.algorithm.members = [space.encode(schema.from_dict(member)) for member in request["members"]]
            search.watchers.append(watch)
            ALONE.prepared()
            from nas import ray_executor

            data = open_made(request["data"])
            ray_executor.run(search, Clips(request["data"], data.content_hash))
    if len(ended) != chosen.trials:
        sys.exit(f"{len(ended)} of {chosen.trials} trials completed")
    print(json.dumps({"ended": ended[-1]}))


if __name__ == "__main__":
    main()
