"""All results of a finished run: tables, figures, family, comparison, and the closing summary."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY
from results.analysis import coefficients
from results.comparison import runs_text
from results.comparison.runs import Comparison, compare
from results.family import growth as families
from results.family import parent_variants, parents
from results.family.emit import emit
from results.family.growth import Family, FamilyConfig, scale_family
from results.report import data as report_data
from results.report import html_page
from results.tables import frame
from results.tables.ranking_support import ranking, searched_by
from results.tables.resampling import TEST_ACCURACY
from search_space.base.atomic_files import replaced
from search_space.base.errors import InputError
from search_space.cost.counting import in_unit
from search_space.cost.labels import label_of

REPORT = "report.html"


def family_config(ledger: Ledger) -> FamilyConfig:
    """Return the family that the run's configuration defines.

    For a run on your own videos, missing classes and clip length are those of the search. Missing coefficients are
    those selected by a search for coefficients, if the run's folder has one.

    Raises:
      InputError: the family is invalid, or the run is not of MoViNets.
    """
    if ledger.own_task:
        rule = "is the task of the run; only MoViNets are scaled to a family"
        raise InputError(str(ledger.path), ledger.own_task, rule)
    given = ledger.header.config.get("family", {})
    if isinstance(given, Mapping):  # invalid values are rejected below
        given = {**_of_own_videos(ledger.header.config), **given}
    config = families.from_dict(given, f"{ledger.path}:1: config.family")
    chosen = coefficients.chosen(ledger.path.parent) if config.coefficients_from == "default" else None
    return replace(config, coefficients=chosen[0], coefficients_from=chosen[1]) if chosen else config


def _of_own_videos(config: Mapping[str, Any]) -> dict[str, int]:
    """Return classes and clip length from the header; nothing if they are not integers, as headers are untrusted."""
    data, space = config.get("data"), config.get("space")
    if not (isinstance(data, Mapping) and isinstance(space, Mapping)):
        return {}
    if data.get("source", "moving_digits") == "moving_digits":
        return {}
    classes, frames, stride = space.get("classes"), space.get("frames"), data.get("frame_stride", 1)
    if not all(isinstance(each, int) for each in (classes, frames, stride)):
        return {}
    return {"classes": classes, "clip_ticks": frames * stride}


def with_targets(ledger: Ledger, targets: Sequence[str] | None) -> FamilyConfig:
    """Return `family_config` with the targets `name=macs` instead.

    An ensemble is kept if all its members are among the targets. Raises `InputError` for a target of another form.
    """
    config = family_config(ledger)
    if not targets:
        return config
    wanted: dict[str, float] = {}
    for name, macs in map(_target, targets):
        if name in wanted:
            raise InputError("--target", f"{name}={macs:g}", f"is the second target of {name}")
        wanted[name] = macs
    kept = {name: members for name, members in config.ensemble.items() if set(members) <= wanted.keys()}
    try:
        return replace(config, targets=wanted, ensemble=kept, settle=None)
    except InputError as error:
        raise InputError(f"--target: {error.place.removeprefix('targets.')}", error.value, error.rule) from None


def _target(text: str) -> tuple[str, float]:
    name, equals, number = text.partition("=")
    try:
        macs = float(number)
    except ValueError:
        macs = math.nan
    if not (name and equals and math.isfinite(macs)):
        raise InputError("--target", text, "must be NAME=MACS, as in a0=2.7e9")
    return name, macs


def family_of(ledger: Ledger, config: FamilyConfig) -> Family:
    """Return the family scaled from the networks of the run."""
    settled = parent_variants.settled(ledger.path.parent) if config.settle else {}
    return scale_family(parents.of_run(ledger), config, settled)


def comparison(ledger: Ledger) -> Comparison | None:
    """Compare the front with the published networks at proxy scale, on test clips; None if either was not trained."""
    tested = {ledger.proposals[i].kind for i, done in ledger.completed.items() if TEST_ACCURACY in done.metrics}
    if not {"finalist", "reference"} <= tested:
        return None
    return compare([ledger], np.random.default_rng(ledger.header.seed))


def write_tables(ledger: Ledger, folder: Path, compared: Comparison | None) -> list[Path]:
    """Write trials.csv, front.csv and, with a comparison, comparison.json; return their paths."""
    paths = [folder / "trials.csv", folder / "front.csv"]
    frame.write_trials(ledger, paths[0])
    frame.write_front(ledger, paths[1])
    if compared:
        paths.append(folder / "comparison.json")
        write_json(compared, paths[-1])
    return paths


def write_json(compared: Comparison, path: Path) -> None:
    """Write a comparison as JSON; unknown values are null. Raises `InputError` if it cannot be written."""
    with replaced(path) as new:
        new.write_text(json.dumps(_without_nan(asdict(compared)), indent=2) + "\n", encoding="utf-8")


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_figures(
    ledger: Ledger, folder: Path, family: Family | None = None, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Write front.png, with the parents of a given family marked, and hypervolume.png; return their paths."""
    from results.figures import run  # imports matplotlib, a second that a report does not need

    fronts, volumes = ([folder / f"{name}.{kind}" for kind in formats] for name in ("front", "hypervolume"))
    run.save_front(ledger, family, *fronts)
    run.save_hypervolume(ledger, *volumes)
    return [*fronts, *volumes]


def write_plots(ledger: Ledger, folder: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write tables and figures of a run, finished or not, to its folder; return their paths.

    Parents are marked if the run has a family; `family_of` reports why there is none.

    Raises:
      InputError: no trial has finished yet, or the folder cannot be written.
    """
    if not (ledger.completed or ledger.stopped):
        raise InputError(str(ledger.path), 0, "trials have finished; there is nothing to show yet")
    tables = write_tables(ledger, folder, comparison(ledger))
    family = None
    with contextlib.suppress(InputError):
        family = family_of(ledger, family_config(ledger))
    return [*tables, *write_figures(ledger, folder, family, formats)]


def write_report(ledger: Ledger, path: Path, family: Family | None = None, compared: Comparison | None = None) -> Path:
    """Write a run, finished or not, as one HTML page; family and comparison are by default the run's. Return the path.

    Raises:
      InputError: no trial has finished yet, a trial of the event log cannot be drawn, or the file cannot be written.
    """
    report_data.check(ledger)
    without = ""
    try:
        family = family or family_of(ledger, family_config(ledger))
    except InputError as error:
        without = str(error)
    html_page.write(html_page.Run(ledger, family, without, compared or comparison(ledger)), path)
    return path


def write_outcome(ledger: Ledger, folder: Path) -> str:
    """Write tables, figures and family of a finished run to its folder; return the text to print.

    Raises:
      InputError: no trial was trained to the full budget, no network can be scaled to a target of the family, or the
        folder cannot be written. Tables and figures are written also without a family.
    """
    compared = comparison(ledger)
    write_tables(ledger, folder, compared)
    try:
        family = None if ledger.own_task else family_of(ledger, family_config(ledger))
    except InputError:
        write_figures(ledger, folder)
        if ledger.completed or ledger.stopped:
            write_report(ledger, folder / REPORT, compared=compared)
        raise
    if family is not None:
        emit(family, folder / "configs")
    write_figures(ledger, folder, family)
    write_report(ledger, folder / REPORT, family, compared)
    parts = [_counts(ledger), _front_table(ledger), *([family_table(family)] if family else [])]
    if compared:
        parts.append(runs_text.text(compared))
    parts.append(ranking(ledger).text())
    places = {
        "front": folder / "front.png",
        "report": folder / REPORT,
        **({"configs": folder / "configs"} if family else {}),
        "record": ledger.path,
    }
    parts.append("\n".join(f"{name:<11}{path}" for name, path in places.items()))
    return "\n\n".join(parts)


def _counts(ledger: Ledger) -> str:
    kinds = [ledger.proposals[index].kind for index in ledger.completed]
    text = "simulated: " if ledger.header.config.get("simulation") else ""
    text += f"{kinds.count('search')} candidates trained to the full budget, {len(ledger.stopped)} stopped early"
    text += f", {len(ledger.failed)} failed" if ledger.failed else ""
    again = len(kinds) - kinds.count("search")
    text += f"; {again} re-evaluations and trainings of published networks" if again else ""
    statistic = searched_by(ledger)
    return f"{text}; search objective {statistic}, reported accuracy" if statistic else text


def _front_table(ledger: Ledger) -> str:
    """Return the front as text; accuracy is on validation clips, with the half-width of its 95 % interval."""
    costs = {name: label_of(name) for name in ledger.costs}
    rows = [("front: network", *(each.words for each in costs.values()), "accuracy", "trainings")]
    for row in frame.selected_front(ledger).to_dict("records"):
        name = f"trial {int(row['index'])}" if row["index"] == row["index"] else str(row["fingerprint"])
        reach = (row["high"] - row["low"]) / 2
        spread = f" ± {reach:.3f}" if math.isfinite(reach) else ""
        cells = [label.quantity(row[cost]) for cost, label in costs.items()]
        rows.append((name, *cells, f"{row[ACCURACY.name]:.3f}{spread}", str(row["n"])))
    return _aligned(rows)


def family_table(family: Family) -> str:
    """Return the family as text."""
    rows = [("model", "multiply-adds", "target", "parameters", "clip", "layers", "from")]
    for model in family.models:
        network = model.network
        target = "-" if network.target_macs is None else in_unit(network.target_macs)
        clips = [f"{m.clip.frames}x{m.clip.resolution}²/{m.clip.frame_stride}" for m in network.members]
        depth = "+".join(str(member.depth) for member in network.members)
        parent = model.decision.get("parent")
        origin = f"trial {parent['index']}" if parent else "+".join(model.decision["members"])
        rows.append((
            model.name,
            in_unit(network.cost["macs"]),
            target,
            f"{network.cost['trainable_parameters'] / 1e6:.2f} M",
            "+".join(clips),
            depth,
            origin,
        ))  # fmt: skip
    warning = family.candidates.warning
    return _aligned(rows) + (f"\nwarning: {warning}" if warning else "")


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
