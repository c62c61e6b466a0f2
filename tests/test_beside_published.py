"""Test the comparison of a family with the published networks."""

from __future__ import annotations

from pathlib import Path

from nas.loop import run_folder
from results import outcome
from results.family.beside_published import beside_published
from search_space.cost.counting import count
from search_space.published import published

FRONTIER = Path(__file__).parents[1] / "results" / "published" / "frontier"


def test_every_model_stands_beside_its_namesake() -> None:
    ledger = run_folder.read(FRONTIER)
    config = outcome.family_config(ledger)
    table = beside_published(outcome.family_of(ledger, config))
    assert list(table.index) == ["a0", "a1", "a2", "a3", "a4", "a5"]  # a6 is an ensemble
    assert table.loc["a2", "macs published"] == count(published("a2"), config.classes).macs
    assert (table["macs"] / table["macs published"]).between(0.85, 1.05).all()
    assert table.loc["a0", "clip published"] == "50x172²/5"
    assert all(table.dtypes[name].kind == "i" for name in ("macs", "parameters published", "layers"))


def test_models_of_other_names_have_none() -> None:
    ledger = run_folder.read(FRONTIER)
    family = outcome.family_of(ledger, outcome.with_targets(ledger, ["small=2.7e9", "a1=6e9"]))
    assert list(beside_published(family).index) == ["a1"]
