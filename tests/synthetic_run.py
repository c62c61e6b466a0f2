"""A run without training: a real event log of real architectures, whose accuracies are drawn from a formula."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas.record.events import Completed, Failed, Proposal, Record, Rung, Stopped
from nas.record.ledger import Header, Ledger, read
from nas.record.ledger_writer import LedgerWriter
from nas.record.pareto import pareto_front
from search_space.architecture import Architecture, to_dict
from search_space.cost.counting import count
from search_space.published import PUBLISHED
from search_space.scaling.compound import scale_to_macs
from search_space.space.movinet import BLOCK_STRIDES, BlockConfig, SpaceConfig, movinet_space
from search_space.space.movinet import to_dict as space_to_dict

CLASSES = 36
STEPS = 400
SPACE_CONFIG = SpaceConfig(
    name="synthetic",
    classes=CLASSES,
    frames=32,
    frame_strides=(4, 2, 1),
    resolutions=(16, 24),
    stem_widths=(8, 16),
    blocks=tuple(
        BlockConfig(width, (width, width + 8, width + 16), stride, (1, 2, 3, 4), expansions=(1.5, 2.5, 4))
        for width, stride in zip((8, 16, 24, 24, 48), BLOCK_STRIDES, strict=True)
    ),
    project=(96, 160, 240),
    dense=256,
)
SPACE = movinet_space(SPACE_CONFIG)


def sampled(rng: np.random.Generator, n: int) -> list[Architecture]:
    tilts = np.linspace(-6, 6, n)
    return [SPACE.decode(tuple(map(int, row))) for row in SPACE.sample(rng, n, tilts)]


def published_at_this_scale() -> dict[str, Architecture]:
    targets = zip(("a0", "a1", "a2", "a3", "a4", "a5"), np.geomspace(1.5e6, 36e6, 6), strict=True)
    return {
        name: scale_to_macs(PUBLISHED[name], target, CLASSES, tolerance=0.1).architecture for name, target in targets
    }


def proposal(
    index: int, architecture: Architecture, kind: str = "search", repeat: int = 0, label: str = ""
) -> Proposal:
    return Proposal(
        index=index,
        kind=kind,
        genotype=None if kind == "reference" else SPACE.encode(architecture),
        architecture=to_dict(architecture),
        fingerprint=architecture.fingerprint,
        repeat=repeat,
        seed=index,
        cost=vars(count(architecture, CLASSES)),
        label=label,
    )


def ledger_of(folder: Path, records: Sequence[Record], times: Sequence[float] | None = None) -> Ledger:
    """Write the records, one second apart or at `times`, and return the event log read from the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ledger.jsonl"
    clock = iter(times or range(1000, 1000 + len(records)))
    header = Header({"space": space_to_dict(SPACE_CONFIG)}, {}, 7, "abc", "2030-01-01T00:00:00+00:00")
    with LedgerWriter.create(path, header, clock=lambda: float(next(clock))) as writer:
        for record in records:
            writer.append(record)
    return read(path)


def story(rng: np.random.Generator, searched: int = 60, repeats: int = 3, references: bool = True) -> list[Record]:
    """Return a search, a re-evaluation of its Pareto front, and the published networks at the same scale."""
    numbers, records = itertools.count(), []

    def true_accuracy(architecture: Architecture) -> float:
        decades = np.log10(count(architecture, CLASSES).macs) - 5.5
        own = int(architecture.fingerprint[:4], 16) / 0xFFFF - 0.5
        return float(np.clip(0.25 + 0.22 * decades + 0.22 * own, 0.03, 0.97))

    def trained(architecture: Architecture, kind: str, repeat: int = 0, label: str = "") -> float:
        index = next(numbers)
        records.append(proposal(index, architecture, kind, repeat, label))
        accuracy = float(np.clip(true_accuracy(architecture) + rng.normal(0, 0.025), 0, 1))
        metrics = {"accuracy": accuracy, "loss": 1 - accuracy, "likelihood": float(np.exp(accuracy - 1))}
        early = {name: 0.55 * metrics[name] for name in ("accuracy", "likelihood")}
        records.append(Rung(index, STEPS // 4, early, 3.0))
        if kind == "search" and index % 4 == 3:
            records.append(Stopped(index, STEPS // 4, early, 3.0))
            return 0.0
        if kind == "search" and index % 13 == 5:
            records.append(Failed(index, "out of memory", 2))
            return 0.0
        records.append(Completed(index, STEPS, metrics, 12.0))
        return accuracy

    architectures = sampled(rng, searched)
    if references:
        for (name, architecture), repeat in itertools.product(published_at_this_scale().items(), range(repeats)):
            trained(architecture, "reference", repeat, name)
    order = [architectures[position] for position in rng.permutation(searched)]
    results = [(architecture, trained(architecture, "search")) for architecture in order]
    points = np.array([(count(each, CLASSES).macs, -accuracy) for each, accuracy in results])
    for position, repeat in itertools.product(pareto_front(points), range(repeats)):
        trained(results[position][0], "finalist", repeat)
    return records


def run(folder: Path, seed: int = 0, **options: int | bool) -> Ledger:
    """Return the event log of `story`."""
    return ledger_of(folder, story(np.random.default_rng(seed), **options))
