"""Family section of a report: its models, their costs, and the record of the decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from results.family.growth import Family, Member
from results.report.markup import Html, definitions, details, element, interval, join, table
from search_space.architecture import Clip
from search_space.cost.counting import in_unit
from search_space.cost.labels import label_of


def family(made: Family | None, without: str) -> Html:
    """Return the models, and the record of the decisions."""
    if made is None:
        return element("p", f"No family yet: {without}", class_="verdict")
    warning = element("p", made.candidates.warning, class_="verdict") if made.candidates.warning else ""
    head = [
        "model",
        label_of("macs").words,
        "target",
        "off by",
        "parameters, M",
        "stream state, KiB",
        "activations, MiB",
    ]
    rows = [_member(member) for member in made.models]
    return join(
        [
            warning,
            table("The family and its costs", [*head, "clip", "layers", "from"], rows, texts=(0, 7, 9)),
            details("Record of every decision", *(_decision(member, made.candidates.costs) for member in made.models)),
            details("The whole record as JSON", element("pre", json.dumps(made.record(), indent=1), tabindex=0)),
        ]
    )


def _member(member: Member) -> list[object]:
    network, cost = member.network, member.network.cost
    target, parent = network.target_macs, member.decision.get("parent")
    show = element("button", member.name.upper(), type="button", data_member=member.name, class_="pin")
    return [
        show,
        in_unit(cost["macs"]),
        "–" if target is None else in_unit(target),
        "–" if target is None else f"{100 * (cost['macs'] / target - 1):+.2f} %",
        f"{cost['trainable_parameters'] / 1e6:.2f}",
        f"{cost['state_bytes'] / 1024:,.0f}",
        f"{cost['activation_bytes'] / 2**20:,.1f}",
        " + ".join(_clip(one.clip) for one in network.members),
        " + ".join(str(one.depth) for one in network.members),
        _parent(parent) if parent else " + ".join(member.decision["members"]),
    ]


def _clip(clip: Clip) -> str:
    return f"{clip.frames} × {clip.resolution}², 1 in {clip.frame_stride}"


def _parent(parent: Mapping[str, Any]) -> str:
    return str(parent["fingerprint"]) if parent["index"] is None else f"trial {parent['index']}"


def _decision(member: Member, costs: Sequence[str]) -> Html:
    plain = {name: value for name, value in member.decision.items() if name not in ("model", "comparison")}
    pairs = [(name.replace("_", " "), _brief(value)) for name, value in plain.items()]
    compared = _comparison(member, costs) if "comparison" in member.decision else ""
    return join([element("h4", member.name.upper()), definitions(pairs, class_="record"), compared])


def _comparison(member: Member, costs: Sequence[str]) -> Html:
    """Return a table of the candidates for a model's parent, the best first."""

    def number(mean: float, ends: Sequence[float]) -> str:
        low, high = ends
        return interval(mean, low, high, ".3f")

    labels = [label_of(name) for name in costs]
    rows = [
        [
            _parent(row),
            *(f"{row[name] / label.size:,.4g}" for name, label in zip(costs, labels, strict=True)),
            f"{row['accuracy']:.3f}",
            row["trainings"],
            number(row["posterior_mean"], row["interval"]),
            number(row["expected"], row["expected_interval"]),
            _verdict(row),
        ]
        for row in member.decision["comparison"]
    ]
    head = [
        "network",
        *(label.heading for label in labels),
        "accuracy",
        "trainings",
        "posterior mean, 95 %",
        "expected at the target's cost",
    ]
    return table(f"Candidates for the parent of {member.name.upper()}", [*head, "verdict"], rows, texts=(0, len(head)))


def _verdict(row: Mapping[str, Any]) -> str:
    variant = row.get("scaled_variant")
    return f"{row['verdict']} (scaled and trained: {variant['accuracy']:.3f})" if variant else str(row["verdict"])


def _brief(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_brief(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(_brief, value)) or "none"
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
