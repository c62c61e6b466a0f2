"""Resident memory of one worker that trains candidate after candidate.

    python tests/benchmarks/memory.py [--write]

Takes five to ten minutes of one core. The worker is the one of a search with Ray, but without Ray and without its
memory limit. It trains random architectures in the preset's space for a few steps and validates them as in a search.
A worker keeps the functions of the layer signatures it has met, so their number is shown with its memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import section

from nas.config import search_config, sections
from nas.config.search_config import SearchConfig
from nas.evaluation.proxy_trainer import open_data, open_made
from nas.execution import node_data
from nas.execution.ray_tune import EVENT, TrainProposal
from nas.loop.search import Search
from nas.record.events import Completed, from_dict, to_dict
from nas.record.ledger import Header
from nas.record.ledger_writer import LedgerWriter
from search_space.base.machine import resident_mb

SETTLED = 10
MOMENTS = (1, SETTLED, 20, 50)  # and after the last one
FLAT = 1.15
PICTURE = section.DOCUMENT.parents[1] / "images" / "memory.png"


@dataclasses.dataclass(frozen=True)
class Moment:
    """State after a candidate: resident memory, and the number of layer signatures traced so far."""

    mb: float
    forms: int


def measured(search: Search, data: Path) -> list[Moment]:
    """Return one moment for each candidate."""
    content = open_made(str(data)).content_hash
    shared = {
        "search": json.dumps(search_config.to_dict(search.config)),
        "data": node_data.to_dict(node_data.Clips(str(data), content)),
        "attempt": 0,
    }
    worker, found = None, []
    while proposal := search.propose():
        settings = {**shared, "proposal": json.dumps(to_dict(proposal))}
        if worker is None:
            worker = TrainProposal(settings)
        else:
            worker.reset(settings)
        event = from_dict(json.loads(worker.train()[EVENT]))
        assert isinstance(event, Completed), event
        search.observe(event)
        found.append(Moment(resident_mb(), len(worker.trainer.compiler)))
    return found


def measure(settings: SearchConfig) -> list[Moment]:
    """Return the moments of a search with a temporary event log."""
    data = open_data(settings.data, settings.space)
    with tempfile.TemporaryDirectory() as folder:
        header = Header(search_config.to_dict(settings), {}, settings.seed, data.content_hash)
        with LedgerWriter.create(Path(folder) / "ledger.jsonl", header) as writer:
            return measured(Search(settings, writer), data.path)


def flat_after(found: Sequence[Moment]) -> int:
    """Return the first candidate after which memory stays within a factor `FLAT` of its value then."""
    most = max(moment.mb for moment in found)
    return next(i for i, moment in enumerate(found, 1) if most <= FLAT * moment.mb)


def report(found: Sequence[Moment], settings: SearchConfig, preset: str) -> str:
    """Return a table and the source of the growth."""
    rows = [
        (f"after {i}", f"{moment.mb:.0f} MB", f"{moment.mb / found[SETTLED - 1].mb:.2f}", str(moment.forms))
        for i, moment in enumerate(found, 1)
        if i in (*MOMENTS, len(found))
    ]
    steps = list(itertools.pairwise(found))
    idle = [after.mb - before.mb for before, after in steps if after.forms == before.forms]
    grown, forms = found[-1].mb - found[SETTLED - 1].mb, found[-1].forms - found[SETTLED - 1].forms
    header = (f"{len(found)} candidates in one worker", "resident", f"to the {SETTLED}th", "forms traced")
    return "\n\n".join([
        section.table(header, rows),
        f"Within {FLAT - 1:.0%} from candidate {flat_after(found)} on. From the {SETTLED}th to the last it grows by "
        f"{grown:.0f} MB, in which {forms} forms of layer are new; a candidate that brings none adds "
        f"{statistics.median(idle):.1f} MB (median of {len(idle)}). A worker above `worker_memory_mb` "
        f"({settings.worker_memory_mb}) is replaced.",
        f"Random members of the space of the preset `{preset}` within its limits, {settings.training.steps} steps of "
        f"{settings.training.batch_size} clips and {settings.data.validation} validation clips each. The pages of the "
        f"memory-mapped clips, which all workers share, count as resident too.",
        f"![Resident memory of a worker after each candidate](../images/{PICTURE.name})",
    ])  # fmt: skip


def draw(found: Sequence[Moment]) -> None:
    """Plot memory and layer signatures over candidates."""
    from results.figures import style
    from results.figures.style import BLUE, VERMILION

    figure, axes = style.new(columns=2, height=3.2)
    candidates = range(1, len(found) + 1)
    axes.plot(candidates, [moment.mb for moment in found], color=BLUE)
    axes.set(xlabel="candidates trained", xlim=(0, len(found)), ylim=(0, 1.2 * max(moment.mb for moment in found)))
    axes.set_ylabel("resident memory, MB", color=BLUE)
    style.dress(axes)
    forms = axes.twinx()
    forms.plot(candidates, [moment.forms for moment in found], color=VERMILION, linestyle="--")
    forms.set_ylim(0, 1.2 * found[-1].forms)
    forms.set_ylabel("forms of layer traced", color=VERMILION, fontsize=style.TEXT)
    forms.tick_params(labelsize=style.TEXT)
    style.save(figure, PICTURE)


def main() -> None:
    """Measure and print the table; with --write, put it and the plot into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="default", help="search whose space, data and recipe are used")
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20, help="of each training")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--write", action="store_true", help="put table and picture into docs")
    asked = parser.parse_args()
    os.sched_setaffinity(0, {asked.core})
    search = search_config.load(asked.preset)
    search = dataclasses.replace(
        search,
        trials=asked.candidates,
        training=dataclasses.replace(search.training, steps=asked.steps),
        early_stopping=dataclasses.replace(search.early_stopping, rungs=()),
        finals=dataclasses.replace(search.finals, repeats=0),
        algorithm=sections.AlgorithmConfig("random"),
    )
    found = measure(search)
    text = f"{section.machine()}\n\n{report(found, search, asked.preset)}"
    print(text)
    if asked.write:
        draw(found)
        section.write("memory", text)


if __name__ == "__main__":
    main()
