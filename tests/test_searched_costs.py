"""Searches by other costs than multiply-adds: all files of a run against arithmetic on its event log."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_search import ledger_of

from nas.algorithms.stratified_random import cost_strata
from nas.config import search_config
from nas.loop.search import Search
from nas.monitor.progress import Progress
from nas.record.ledger import Ledger
from results.comparison.runs import compare
from results.family import parents
from results.figures import run as plots
from results.outcome import write_outcome
from results.tables import frame
from run_search import main
from search_space.base.errors import InputError
from search_space.cost.labels import label_of

COSTS = (("macs_per_frame",), ("macs", "trainable_parameters"))
GRID = 400  # points of each cost at which a step function is compared


class Run:
    """A finished run, and its trainings as plain data of the event log."""

    def __init__(self, folder: Path, costs: tuple[str, ...]) -> None:
        self.folder, self.costs = folder, costs
        lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()[1:]]
        self.proposals = {each["index"]: each for each in lines if each["event"] == "proposal"}
        self.metrics = {each["index"]: each["metrics"] for each in lines if each["event"] == "completed"}

    def means(self, kind: str, metric: str = "accuracy") -> dict[str, float]:
        """Return the mean of a metric by fingerprint, over the trainings of a kind."""
        values = defaultdict(list)
        for index, metrics in self.metrics.items():
            if self.proposals[index]["kind"] == kind:
                values[self.proposals[index]["fingerprint"]].append(metrics[metric])
        return {name: float(np.mean(each)) for name, each in values.items()}

    def cost(self, fingerprint: str) -> tuple[float, ...]:
        found = next(each["cost"] for each in self.proposals.values() if each["fingerprint"] == fingerprint)
        return tuple(found[name] for name in self.costs)


@pytest.fixture(scope="module", params=COSTS, ids=["one cost", "two costs"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    (folder / "search.yaml").write_text(f"""
        extends: tiny
        trials: 24
        costs: [{", ".join(request.param)}]
        algorithm: {{name: frontier_search}}
        early_stopping: {{rungs: []}}
        finals: {{repeats: 2, most: 9, references: [a0, a2, a5]}}
    """)
    options = ["--serial", "--simulate", "--out", str(folder / "out"), "--json"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["search", str(folder / "search.yaml"), *options]) == 0
    found = Run(folder / "out", request.param)
    names = [row["fingerprint"] for row in json.loads(printed.getvalue())["front"]]
    assert names == [row["fingerprint"] for row in rows(found)]
    return found


def rows(run: Run) -> list[dict[str, str]]:
    with (run.folder / "front.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def front_of(accuracy: Mapping[str, float], run: Run) -> list[str]:
    """Return the names that no other equals or beats in all values, by their costs."""

    def beaten(name: str, by: str) -> bool:
        no_worse = all(a <= b for a, b in zip(run.cost(by), run.cost(name), strict=True))
        return by != name and no_worse and accuracy[by] >= accuracy[name]

    return sorted((a for a in accuracy if not any(beaten(a, b) for b in accuracy)), key=run.cost)


def test_the_front_is_that_of_the_costs_searched_by(run: Run) -> None:
    accuracy = run.means("finalist")
    found = rows(run)
    assert [row["fingerprint"] for row in found] == front_of(accuracy, run) and len(found) > 2
    for row in found:
        assert float(row["accuracy"]) == pytest.approx(accuracy[row["fingerprint"]])
        assert tuple(float(row[name]) for name in run.costs) == run.cost(row["fingerprint"])


def test_the_comparison_is_at_equal_costs_of_the_kind_searched_by(run: Run) -> None:
    compared = json.loads((run.folder / "comparison.json").read_text())
    sets = [(run.means(kind), run.means(kind, "test_accuracy")) for kind in ("finalist", "reference")]
    costs = [np.array([run.cost(name) for name in validation]) for validation, _ in sets]
    low, high = (
        np.max([each.min(axis=0) for each in costs], axis=0),
        np.min([each.max(axis=0) for each in costs], axis=0),
    )
    assert compared["within"] == {name: {"low": low[i], "high": high[i]} for i, name in enumerate(run.costs)}
    axes = [np.geomspace(a, b, GRID, endpoint=False) for a, b in zip(low, high, strict=True)]
    places = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, len(run.costs))
    for name, (validation, test), own in zip(("searched", "references"), sets, costs, strict=True):
        known, tested = np.array([*validation.values()]), np.array([*test.values()])
        there = (own <= places[:, None]).all(axis=-1)
        best = np.where(there, known, -1).argmax(axis=1)
        volume = np.where(there.any(axis=1), tested[best], 0).mean()
        assert compared[name]["value"] == pytest.approx(volume, abs=5e-3)
    names = {each["fingerprint"]: each["label"] for each in run.proposals.values() if each["kind"] == "reference"}
    assert {each["name"]: tuple(each["costs"].values()) for each in compared["points"]} == {
        label: run.cost(name) for name, label in names.items()
    }
    validation, test = sets[0]
    for point, (name, measured) in zip(compared["points"], by_cost(sets[1][1], run), strict=True):
        assert list(point["costs"]) == list(run.costs)
        assert point["references"]["value"] == pytest.approx(measured)
        at = run.cost(name)
        below = [each for each in validation if all(a <= b for a, b in zip(run.cost(each), at, strict=True))]
        if not below:
            assert point["searched"]["value"] is None
        elif len(run.costs) > 1:
            assert point["searched"]["value"] == pytest.approx(test[max(below, key=lambda each: validation[each])])
        else:
            ladder = [(run.cost(each)[0], test[each]) for each in front_of(validation, run)]
            logs, values = np.log([cost for cost, _ in ladder]), [value for _, value in ladder]
            assert point["searched"]["value"] == pytest.approx(np.interp(math.log(at[0]), logs, values))


def by_cost(measured: Mapping[str, float], run: Run) -> Iterator[tuple[str, float]]:
    yield from sorted(measured.items(), key=lambda each: run.cost(each[0]))


def test_parents_have_their_place_on_the_first_cost_searched_by(run: Run) -> None:
    record = json.loads((run.folder / "configs" / "family.json").read_text())
    candidates: dict[str, Any] = {each["fingerprint"]: each for each in record["candidates"]}
    for name, each in candidates.items():
        assert tuple(each[cost] for cost in run.costs) == run.cost(name)
    above = {
        name: each["posterior_mean"] for name, each in candidates.items() if each["interval"][0] > record["chance"]
    }
    front = front_of(above, run)
    low, high = run.cost(front[0])[0], run.cost(front[-1])[0]
    targets = record["config"]["targets"]
    logs = {name: math.log(target) for name, target in targets.items()}
    for model in record["models"]:
        if "parent" in model:
            share = (logs[model["model"]] - logs["a0"]) / (logs["a5"] - logs["a0"])
            assert model["place"] == {run.costs[0]: pytest.approx(low * (high / low) ** share)}
            assert label_of(run.costs[0]).words in model["why"]
            assert model["macs"] == pytest.approx(targets[model["model"]], rel=0.02)  # targets stay multiply-adds


def test_figures_report_and_closing_words_name_the_costs(run: Run) -> None:
    words = [label_of(name).words for name in run.costs]
    data = json.loads((run.folder / "report.html").read_text().split('id="data">')[1].split("</script>")[0])
    assert data["cost"] == run.costs[0] and all(data["costs"][name] == label_of(name).words for name in run.costs)
    assert f"Accuracy on validation clips over {words[0]}." in (run.folder / "report.html").read_text()
    assert f"front: network  {'  '.join(words)}  accuracy" in write_outcome(ledger_of(run.folder), run.folder)
    plots.save_front(ledger_of(run.folder), None, run.folder / "front.svg")
    assert words[0] in (run.folder / "front.svg").read_text()


def test_the_live_display_bins_and_scores_by_the_costs_searched_by(run: Run) -> None:
    ledger = ledger_of(run.folder)
    config = search_config.from_dict(ledger.header.config)
    search = Search(config, [], ledger.events)  # type: ignore[arg-type]  # nothing is written
    now = Progress(search).snapshot()
    first = run.costs[0]
    searched = [each["cost"][first] for each in run.proposals.values() if each["kind"] == "search"]
    edges = [now.bands[0].low, *(band.high for band in now.bands)]
    assert [band.trained for band in now.bands] == np.histogram(searched, edges)[0].tolist()
    assert now.cost == first and sum(band.trained for band in now.bands) == len(searched)
    ranges = [cost_strata(search.algorithm.space, config.limits, name, 1) for name in run.costs]
    axes = [np.geomspace(each.low, each.high, GRID, endpoint=False) for each in ranges]
    places = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, len(run.costs))
    best = np.zeros(len(places))
    for index, proposal in run.proposals.items():
        if proposal["kind"] == "search":
            there = (np.array([proposal["cost"][name] for name in run.costs]) <= places).all(axis=1)
            best = np.maximum(best, np.where(there, run.metrics[index]["accuracy"], 0))
    assert now.hypervolume == pytest.approx(best.mean(), abs=5e-3)


def rewritten(run: Run, folder: Path, costs: list[str], latency: bool) -> Ledger:
    """Rewrite the run as a search by these costs, with or without a cost named latency."""
    head, *lines = map(json.loads, (run.folder / "ledger.jsonl").read_text().splitlines())
    head["config"]["costs"] = costs
    for line in lines:
        if latency and line["event"] == "proposal":
            line["cost"]["latency"] = line["cost"]["state_bytes"] + 1
    folder.mkdir()
    (folder / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (head, *lines)))
    return ledger_of(folder)


def test_a_cost_of_any_name_is_followed(run: Run, tmp_path: Path) -> None:
    by_state = rewritten(run, tmp_path / "state", ["state_bytes"], latency=False)
    by_latency = rewritten(run, tmp_path / "latency", ["latency"], latency=True)
    fronts = [frame.selected_front(each) for each in (by_state, by_latency)]
    assert fronts[0]["fingerprint"].equals(fronts[1]["fingerprint"])
    assert (fronts[1]["latency"] == fronts[0]["state_bytes"] + 1).all()
    found = compare([by_latency], np.random.default_rng(0), draws=2)
    assert all(list(point.costs) == ["latency"] for point in found.points)
    candidates = parents.of_run(by_latency)
    assert candidates is not None and all([*each.costs] == ["latency"] for each in candidates.networks)
    plots.save_front(by_latency, None, tmp_path / "front.svg")
    assert "latency" in (tmp_path / "front.svg").read_text()


def test_costs_that_do_not_fit_are_refused(run: Run, tmp_path: Path) -> None:
    other = rewritten(run, tmp_path / "other", ["state_bytes"], latency=False)
    with pytest.raises(InputError, match="differs from .* in its costs"):
        compare([ledger_of(run.folder), other], np.random.default_rng(0), draws=2)
    without = rewritten(run, tmp_path / "without", ["latency"], latency=False)
    with pytest.raises(InputError, match="trial 0: cost.latency: None must be a number above 0"):
        _ = without.costs
    with pytest.raises(InputError, match="config.costs: .* must be a list of at least one cost"):
        _ = rewritten(run, tmp_path / "none", [], latency=False).costs
