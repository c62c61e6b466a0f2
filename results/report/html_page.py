"""A run as one self-contained HTML page: figures, tables, record, and the script that draws.

The page's Content Security Policy allows no network access and no scripts except its two own, identified by their
hashes. Everything from the run's folder is escaped text or JSON.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd

from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY, STATISTICS
from results.analysis.importance import Importance, importance
from results.comparison.runs import Comparison
from results.family.growth import Family
from results.report import data, record, reliability, sections
from results.report import family as report_family
from results.report.markup import Html, script_data, text
from results.tables import frame
from results.tables.measures import Chosen, Measure, chosen_options, dimensions, measures
from search_space.architecture import Architecture
from search_space.base.atomic_files import replaced
from search_space.base.errors import InputError
from search_space.cost.labels import label_of

SCRIPTS = ("networks.js", "filter.js", "plots.js", "drawing.js", "table.js", "report.js")
PLOTLY = "plotly/package_data/plotly.min.js"


@dataclass(frozen=True)
class Run:
    """Input of a report; `without_family` is the reason if there is no family."""

    ledger: Ledger
    family: Family | None
    without_family: str
    compared: Comparison | None


def write(run: Run, path: Path) -> None:
    """Write the page of a run that passes `report_data.check`, completely or not at all.

    The run may be unfinished; the same event log gives the same bytes.

    Raises:
      InputError: a proposal has no valid architecture, Plotly's script is missing, or the file cannot be written.
    """
    page = html(run)
    with replaced(path) as new:
        new.write_text(page, encoding="utf-8")


def html(run: Run) -> str:
    """Return the page."""
    ledger = run.ledger
    trials, front = frame.trials(ledger), frame.selected_front(ledger)
    parents = run.family.parents()["fingerprint"] if run.family else ()
    shown = data.drawn(trials, {*front["fingerprint"], *parents})
    networks = data.networks(ledger, set(shown["fingerprint"]))
    measured = {fingerprint: measures(network) for fingerprint, network in networks.items()}
    found = _importance(ledger, shown, networks, measured, np.random.default_rng(ledger.header.seed))
    cost = label_of(ledger.costs[0])
    plotly, script = _plotly(), "\n".join(map(_page_file, SCRIPTS))
    return Template(_page_file("page.html")).substitute(
        _sections(run, sections.with_measured(front, ledger), len(shown), found),
        cost=text(cost.words),
        cost_heading=text(cost.heading),
        title=text(ledger.path.absolute().parent.name),
        policy=_policy(plotly, script),
        style=_page_file("report.css"),
        data=script_data(data.data(ledger, shown, front, run.family, networks, measured, found)),
        plotly=plotly,
        script=script,
    )


def _sections(run: Run, front: pd.DataFrame, shown: int, found: Importance) -> dict[str, Html]:
    ledger = run.ledger
    return {
        "state": sections.state(ledger, shown),
        "summary": sections.summary(ledger, front, run.compared),
        "front": sections.front_table(front, ledger.cost_names),
        "importance": sections.importance(found),
        "hypervolume": sections.hypervolume(run.compared),
        "reliability": reliability.reliability(ledger),
        "family": report_family.family(run.family, run.without_family),
        "failures": record.failures(ledger),
        "reproduce": record.reproduce(ledger),
    }


def _importance(
    ledger: Ledger,
    shown: pd.DataFrame,
    found: Mapping[str, Architecture | Chosen],
    measured: Mapping[str, Mapping[Measure, float]],
    rng: np.random.Generator,
) -> Importance:
    """Return the importance for the search trials that were trained to the full budget and are shown."""
    among = set(shown["index"])
    done = {
        index: each.metrics
        for index, each in ledger.completed.items()
        if index in among and ledger.proposals[index].kind == "search"
    }
    statistic = next((name for name in STATISTICS if all(name in metrics for metrics in done.values())), ACCURACY.name)
    done = {index: metrics for index, metrics in done.items() if statistic in metrics}
    networks = [ledger.proposals[index].fingerprint for index in done]
    return importance(
        statistic,
        [measured[network] for network in networks],
        _dimensions([found[network] for network in networks]),
        np.array([math.log(ledger.proposals[index].cost[ledger.costs[0]]) for index in done]),
        np.array([metrics[statistic] for metrics in done.values()]),
        rng,
    )


def _dimensions(networks: Sequence[Architecture | Chosen]) -> list[dict[str, tuple[float, ...]]]:
    movinets = [network for network in networks if isinstance(network, Architecture)]
    others = [network for network in networks if not isinstance(network, Architecture)]
    return [dimensions(network) for network in movinets] or chosen_options(others)


def _page_file(name: str) -> str:
    return (resources.files("results.report") / "page" / name).read_text(encoding="utf-8")


def _plotly() -> str:
    """Return the script of the plotly package, whose slow Python code is not imported."""
    try:
        script = metadata.distribution("plotly").locate_file(PLOTLY)
        return Path(str(script)).read_text(encoding="utf-8").replace("</script", "<\\/script")
    except (metadata.PackageNotFoundError, OSError):
        raise InputError("plotly", PLOTLY, "is not installed, but the report requires it: pip install plotly") from None


def _policy(*scripts: str) -> str:
    """Return a policy that allows no source but these scripts. Plotly also creates styles, and images to save."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
