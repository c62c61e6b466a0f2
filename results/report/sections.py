"""Tables and texts of a report: each function returns the content of a section.

The page's script draws the figures, from `results.report.data`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY
from results.analysis.importance import ENOUGH, Effect, Importance, Share
from results.comparison.runs import Comparison, Estimate, basis
from results.comparison.runs_text import points_of, ranges_text
from results.report.markup import Html, bar, definitions, details, element, interval, join, number, table, text
from results.tables.ranking_support import searched_by
from results.tables.resampling import TEST_ACCURACY
from search_space.cost.labels import label_of


def summary(ledger: Ledger, front: pd.DataFrame, compared: Comparison | None) -> Html:
    """Return the run in a few numbers."""
    kinds = [ledger.proposals[index].kind for index in ledger.completed]
    searched = [proposal for proposal in ledger.proposals.values() if proposal.kind == "search"]
    figures = [
        ("candidates", f"{len(searched)}"),
        ("fully trained", f"{kinds.count('search')}"),
        ("stopped early", f"{len(ledger.stopped)}"),
        ("failed", f"{len(ledger.failed)}"),
        ("re-evaluated, or published", f"{len(kinds) - kinds.count('search')}"),
        ("networks on the front", f"{len(front)}"),
    ]
    if len(front):
        figures.append(("best accuracy on the front", f"{front[ACCURACY.name].max():.3f}"))
    if compared:
        figures.append(("hypervolume of the front", number(compared.searched.value, ".3f")))
        figures.append(("of the published networks", number(compared.references.value, ".3f")))
    return definitions(figures, class_="tiles")


def state(ledger: Ledger, drawn: int) -> Html:
    """Return whether the run is finished, whether it was simulated, and how many trials are drawn."""
    asked = ledger.header.config.get("trials")
    words = [f"Started {ledger.header.created}."]
    if ledger.header.config.get("simulation"):
        words.append("Simulated: accuracies are synthetic, no network was trained.")
    if statistic := searched_by(ledger):
        words.append(f"Search objective: {statistic}. Reported: accuracy.")
    searched = sum(proposal.kind == "search" for proposal in ledger.proposals.values())
    if ledger.pending or (isinstance(asked, int) and searched < asked):
        of = f" of {asked}" if isinstance(asked, int) else ""
        words.append(
            f"Not finished: {searched}{of} candidates proposed, {len(ledger.pending)} trials without a result."
        )
    if drawn < len(ledger.proposals):
        words.append(f"{drawn} of {len(ledger.proposals)} trials are drawn, evenly spaced; front and tables use all.")
    return text(" ".join(words))


def front_table(front: pd.DataFrame, costs: Sequence[str]) -> Html:
    """Return the front with its costs by name, and with measurements other than accuracy."""
    latencies = [name for name in front.columns if "latency" in str(name)]
    tested = [TEST_ACCURACY] if TEST_ACCURACY in front.columns else []
    labels = {name: label_of(name) for name in costs}
    measured = ["network", "accuracy, 95 % interval", "trainings", *("on test clips" for _ in tested)]
    head = [*measured, *(label.heading for label in labels.values()), *latencies]
    rows = [
        [
            named(row),
            interval(row[ACCURACY.name], row["low"], row["high"], ".3f"),
            row["n"],
            *(number(row[name], ".3f") for name in tested),
            *(number(row[name] / label.size, ",.4g") for name, label in labels.items()),
            *(number(row[name], ".4g") for name in latencies),
        ]
        for row in _rows(front)
    ]
    caption = "The Pareto front, cheapest first, with costs"
    return table(caption, head, rows) if rows else element("p", "No network was trained to the full budget yet.")


def _rows(frame: pd.DataFrame) -> Iterator[dict[Any, Any]]:
    yield from frame.to_dict("records")


def named(row: Mapping[Any, Any]) -> str:
    """Return a name of a network: its first search trial, else its label, else its fingerprint."""
    if not pd.isna(row["index"]):
        return f"trial {int(row['index'])}"
    return str(row["label"] or row["fingerprint"])


def importance(found: Importance) -> Html:
    """Return the choices that are related to accuracy at equal cost."""
    if not found.effects:
        words = f"Not enough evidence: {found.trials} trials were trained to the full budget; {ENOUGH} are needed."
        return element("p", words, class_="verdict")
    all_of_it = found.together
    unsure = " The interval contains zero: there is not enough evidence that choices matter."
    by_cost = f"{100 * max(found.by_cost, 0):.0f} %"
    words = (
        f"Log cost predicts {by_cost} of the variance of {found.statistic} in held-out trials. "
        f"All choices together predict {_percent(all_of_it)} of the rest.{'' if all_of_it.low > 0 else unsure}"
    )
    # Multiple comparisons: single intervals count only if all choices together are clear.
    clear = [effect for effect in found.effects if effect.clear and all_of_it.low > 0]
    others = [effect for effect in found.effects if effect not in clear]
    caption = f"Choices against {found.statistic} at equal cost, {found.trials} trials"
    parts = [element("p", words, class_="verdict"), _shares(found)]
    if clear:
        parts.append(_effects(caption, clear, clear=True))
    if others:
        summary = f"Choices without enough evidence: {len(others)} of {len(found.effects)}"
        parts.append(details(summary, _effects("Choices without enough evidence", others, clear=False)))
    return join(parts)


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _shares(found: Importance) -> Html:
    rows = [
        [each.dimension, bar(each.value, each.low, each.high, each.low > 0), _percent(each)]
        for each in (*found.shares, found.together)
    ]
    caption = f"Share of the variance of {found.statistic} beyond cost that each dimension explains"
    return table(caption, ["dimension", "plot", "share, 95 % interval"], rows, texts=(0, 1))


def _effects(caption: str, effects: Sequence[Effect], clear: bool) -> Html:
    rows = [
        [
            ": ".join(effect.measure),
            bar(effect.value, effect.low, effect.high, clear),
            interval(effect.value, effect.low, effect.high),
            f"{100 * effect.value**2:.0f} %",
            ("higher is better" if effect.value > 0 else "lower is better") if clear else "not enough evidence",
        ]
        for effect in effects
    ]
    head = ["choice", "plot", "correlation at equal cost", "of the residual", "verdict"]
    return table(caption, head, rows, texts=(0, 1, 4))


def hypervolume(compared: Comparison | None) -> Html:
    """Compare the front with the published networks: hypervolumes, and accuracies at equal cost."""
    if compared is None:
        words = "No comparison: re-evaluated and published networks measured on test clips are needed."
        return element("p", words, class_="verdict")
    counted = basis(compared.resampled, compared.test_clips)
    parts = [element("p", "No hypervolumes: the cost ranges of both do not overlap.", class_="verdict")]
    if compared.within is not None:
        estimates = {"searched front": compared.searched, "published networks": compared.references}
        rows = [(name, _estimate(each)) for name, each in [*estimates.items(), ("difference", compared.difference)]]
        trainings = f"{compared.searched_trainings} and {compared.reference_trainings} trainings"
        within = f"{ranges_text(compared.within)}, where both have networks"
        parts = [table(f"Hypervolume on test clips, {trainings}, {within}; {counted}", ["", "hypervolume"], rows)]
    points = [
        (
            each.name.upper(),
            *(number(cost, ",.0f") for cost in each.costs.values()),
            *(_estimate(each.searched), _estimate(each.references), points_of(each.difference).replace("-", "−")),
        )
        for each in compared.points
    ]
    costs = [label_of(name).words for name in compared.points[0].costs]
    head = ["at the cost of", *costs, "searched front", "published network", "difference, points"]
    return join([*parts, table(f"Accuracy on test clips at equal {' and '.join(costs)}; {counted}", head, points)])


def _estimate(estimate: Estimate) -> str:
    return interval(estimate.value, estimate.low, estimate.high, ".3f")


def measured_means(ledger: Ledger) -> Mapping[str, Mapping[str, float]]:
    """Return means of latencies and of test accuracies, by fingerprint; empty if the event log has none."""
    seen: dict[str, dict[str, list[float]]] = {}
    for index, done in ledger.completed.items():
        for name, value in done.metrics.items():
            if "latency" in name or name == TEST_ACCURACY:
                seen.setdefault(ledger.proposals[index].fingerprint, {}).setdefault(name, []).append(value)
    return {network: {name: fmean(values) for name, values in each.items()} for network, each in seen.items()}


def with_measured(front: pd.DataFrame, ledger: Ledger) -> pd.DataFrame:
    """Return the front with columns for latencies and for the accuracy on test clips, where measured."""
    means = measured_means(ledger)
    names = dict.fromkeys(name for network in front["fingerprint"] for name in means.get(network, {}))
    columns = {name: [means.get(each, {}).get(name, math.nan) for each in front["fingerprint"]] for name in names}
    return front.assign(**columns)
