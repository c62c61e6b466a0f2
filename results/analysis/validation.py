"""Validation of a search on long trainings and larger networks: its ranking, and its lead over published networks.

It compares a run with its validation (`nas.studies.validation`), in two parts: the networks themselves, and the same
networks scaled. Each part has Kendall's rank correlation between the objective of the run (mean over its
re-evaluations) and the test accuracy of the long trainings, over all networks and over pairs within cost bins. It also
compares searched with published networks (`results.comparison.runs`). Intervals are of 95 % and of the basic kind, over
seeds (of both runs) and test clips.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.loop.early_stopping import CostBins
from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY
from results.comparison import runs_text
from results.comparison.runs import Comparison, Estimate, compare
from results.figures import run as plots
from results.tables import frame
from results.tables.resampling import TEST_ACCURACY, draw, tested
from search_space.base.atomic_files import replaced
from search_space.base.errors import InputError

DRAWS = 2000
BINS = 4  # of the logarithm of the first cost searched by
RECORD = "validation.json"
NOTHING = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Correlation:
    """Kendall's rank correlation over `networks`, and over the `pairs` of networks that share one of `bins` bins."""

    statistic: str
    networks: int
    overall: Estimate
    bins: int
    pairs: int
    within: Estimate


@dataclass(frozen=True)
class Part:
    """The networks of a validation at one scale.

    Attributes:
      scale: multiply-adds, in those of the run's networks.
      networks: a row per network: of (its name in the run), kind, costs, n, test accuracy with its interval.
      missing: names of the networks that could not be scaled, or have no completed training.
      correlation: the run's statistic beside test accuracy.
      comparison: searched networks beside published ones; None if either kind is missing.
      ledger: event log with the trainings of these networks only.
    """

    scale: float
    networks: pd.DataFrame
    missing: tuple[str, ...]
    correlation: Correlation
    comparison: Comparison | None
    ledger: Ledger


@dataclass(frozen=True)
class Validation:
    """A run beside its long trainings; `parts` are ordered by scale."""

    steps: int
    run_steps: int
    repeats: int
    parts: tuple[Part, ...]


def validation(run: Ledger, long: Ledger) -> Validation:
    """Compare a run with its validation.

    Raises:
      InputError: `long` is not the event log of a validation, or has no completed training.
    """
    listed = long.header.config.get("networks")
    if not listed or not long.completed:
        raise InputError(str(long.path), len(long.completed), "trainings of fixed networks; a validation needs some")
    rng = np.random.default_rng(long.header.seed)
    names = [each["of"] for each in listed if each["scale"] == 1]
    parts = [_part(run, long, listed, scale, names, rng) for scale in sorted({each["scale"] for each in listed})]
    config = long.header.config
    steps, before = (each["training"]["steps"] for each in (config, run.header.config))
    return Validation(steps, before, config["finals"]["repeats"], tuple(parts))


def _part(
    run: Ledger,
    long: Ledger,
    listed: Sequence[Mapping[str, Any]],
    scale: float,
    names: Sequence[str],
    rng: np.random.Generator,
) -> Part:
    labels = {_label(each["of"], scale): each["of"] for each in listed if each["scale"] == scale}
    some = _restricted(long, labels.keys())
    networks = frame.networks(some, objective=TEST_ACCURACY).sort_values(long.costs[0], ignore_index=True)
    networks.insert(0, "of", networks["label"].str.partition(", ")[0].map(labels))  # the first of equal networks
    kinds = set(networks["kinds"])
    return Part(
        scale=scale,
        networks=networks,
        missing=tuple(name for name in names if name not in set(networks["of"])),
        correlation=_correlation(run, some, labels, rng),
        comparison=compare([some], rng) if kinds >= {"finalist", "reference"} else None,
        ledger=some,
    )


def _label(name: str, scale: float) -> str:
    """Return the label of the trainings of a network at a scale, as in `nas.loop.fixed_networks`."""
    return name if scale == 1 else f"{name} x{scale:g}"


def _restricted(ledger: Ledger, labels: Any) -> Ledger:
    """Return the event log with the trainings of these labels only."""
    kept = {index for index, proposal in ledger.proposals.items() if proposal.label in labels}
    entries = tuple(entry for entry in ledger.entries if getattr(entry.record, "index", None) in kept)
    return replace(ledger, entries=entries)


def _correlation(run: Ledger, long: Ledger, labels: Mapping[str, str], rng: np.random.Generator) -> Correlation:
    statistic = run.header.config.get("statistic", ACCURACY.name)
    sets = [each for each in (tested(long, kind) for kind in ("finalist", "reference")) if len(each.costs)]
    if not sets:
        return Correlation(statistic, 0, NOTHING, BINS, 0, NOTHING)
    drawn = draw(sets, DRAWS, rng)
    y = np.concatenate([each.test for each in drawn.sets])
    drawn_y = np.concatenate([each.drawn_test for each in drawn.sets], axis=1)
    costs = np.concatenate([each.costs[:, 0] for each in sets])
    searched = _statistics(run, statistic)
    names = [labels[label] for each in sets for label in each.labels]
    known = [i for i, name in enumerate(names) if name in searched]
    if len(known) < 2:
        return Correlation(statistic, len(known), NOTHING, BINS, 0, NOTHING)
    x, drawn_x = _drawn([searched[names[i]] for i in known], rng)
    first, second = np.triu_indices(len(known), 1)
    bins = CostBins(costs[known].min(), costs[known].max(), BINS)
    place = np.array([bins.of(cost) for cost in costs[known]])
    same = place[first] == place[second]
    noisy = bool(drawn.levels) or bool(drawn_x.std(axis=0).max() > 0)

    def tau(pairs: np.ndarray) -> Estimate:
        i, j = first[pairs], second[pairs]
        value = float(_tau(x[None], y[None, known], i, j)[0])
        return _estimate(value, _tau(drawn_x, drawn_y[:, known], i, j)) if noisy else Estimate(value, *[math.nan] * 2)

    return Correlation(statistic, len(known), tau(np.full(len(same), True)), BINS, int(same.sum()), tau(same))


def _statistics(run: Ledger, statistic: str) -> dict[str, np.ndarray]:
    """Return the statistic of every re-evaluation of a run by the network's name."""
    table = frame.trainings(run, ("finalist", "reference"), statistic)
    return {str(name): group.to_numpy(float) for name, group in table.groupby("label")[statistic]}


def _drawn(values: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return means [N] of repeated values, and with resampled seeds [D, N], as in `results.tables.resampling`."""
    means = np.array([each.mean() for each in values])
    several = [each for each in values if len(each) > 1]
    if not several:
        return means, np.broadcast_to(means, (DRAWS, len(means)))
    pool = np.concatenate([(each - each.mean()) * math.sqrt(len(each) / (len(each) - 1)) for each in several])
    noise = [rng.choice(pool, (DRAWS, len(each))).mean(axis=1) for each in values]
    return means, means + np.stack(noise, axis=1)


def _tau(x: np.ndarray, y: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return τ-b over the pairs (i, j) of the networks [..., N]: [...]; NaN where a ranking ties all pairs."""
    by_x, by_y = np.sign(x[..., i] - x[..., j]), np.sign(y[..., i] - y[..., j])
    told = np.abs(by_x).sum(axis=-1) * np.abs(by_y).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(told > 0, (by_x * by_y).sum(axis=-1) / np.sqrt(told), math.nan)


def _estimate(value: float, sample: np.ndarray) -> Estimate:
    """Return the basic interval of a correlation, within -1..1."""
    if math.isnan(value) or np.isnan(sample).mean() > 0.5:
        return Estimate(value, math.nan, math.nan)
    low, high = np.nanquantile(sample, (0.025, 0.975))
    return Estimate(value, max(-1.0, float(2 * value - high)), min(1.0, float(2 * value - low)))


def plain(found: Validation) -> dict[str, Any]:
    """Return a validation as data for JSON."""
    parts = [
        {
            "scale": part.scale,
            "networks": part.networks.drop(columns=["architecture", "standard_error"]).to_dict("records"),
            "missing": part.missing,
            "correlation": asdict(part.correlation),
            "comparison": part.comparison and asdict(part.comparison),
        }
        for part in found.parts
    ]
    return {"steps": found.steps, "run_steps": found.run_steps, "repeats": found.repeats, "parts": parts}


def write(found: Validation, data: str, folder: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write `data`, the validation as JSON text, and a figure of each part; return the paths."""
    paths = [folder / RECORD]
    with replaced(paths[0]) as new:
        new.write_text(data + "\n", encoding="utf-8")
    for part in found.parts:
        name = "front" if part.scale == 1 else f"front_x{part.scale:g}"
        figures = [folder / f"{name}.{kind}" for kind in formats]
        plots.save_front(part.ledger, None, *figures)
        paths += figures
    return paths


def text(found: Validation) -> str:
    """Return the validation in words."""
    lines = [f"trained for {found.steps} steps in place of {found.run_steps}, {found.repeats} seeds each"]
    for part in found.parts:
        lines += ["", *_part_text(part)]
    return "\n".join(lines)


def _part_text(part: Part) -> Iterator[str]:
    correlation, compared = part.correlation, part.comparison
    yield "networks of the run:" if part.scale == 1 else f"networks scaled to {part.scale:g} times their FLOPs:"
    if part.missing:
        yield f"  without {', '.join(part.missing)}: not scaled or not trained"
    yield f"  rank correlation of the search's {correlation.statistic} with test accuracy (Kendall's tau)"
    yield f"    all {correlation.networks} networks      {_words(correlation.overall)}"
    yield f"    {correlation.pairs} pairs within {correlation.bins} cost bins  {_words(correlation.within)}"
    if compared is None:
        yield "  no comparison: searched or published networks are missing"
    else:
        yield from (f"  {line}" for line in runs_text.text(compared).splitlines())


def _words(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "-"
    if math.isnan(estimate.low):
        return f"{estimate.value:+.2f} (no interval)"
    return f"{estimate.value:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"
