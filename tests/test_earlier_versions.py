"""Files of earlier versions, as they were written then, are read as ever; those of later ones are refused as such.

tests/recorded/earlier holds the files by kind and date, taken from the history of this repository; the ledger is the
first 60 lines of a run's, the table the first 30 of one. docs/reliability.md says what is promised.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from movinet.config import experiment_file
from nas import config, run, table
from nas.ledger import LedgerWriter, read
from results import coefficients, emit, frame, outcome
from search_space import architecture, movinet_space, network
from search_space.cost import count
from search_space.errors import InputError

EARLIER = Path(__file__).parent / "recorded" / "earlier"
SEARCHES = sorted(EARLIER.glob("search_*.yaml"))


def only(kind: str) -> Path:
    (found,) = EARLIER.glob(f"{kind}_*")
    return found


def changed(path: Path, folder: Path, **values: Any) -> Path:
    """A copy of a YAML file with other values at its top."""
    copy = folder / path.name
    copy.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))
    return copy


def test_every_kind_of_file_is_here() -> None:
    kinds = {path.name.partition("_")[0] for path in EARLIER.iterdir()}
    named = "architecture space search ledger network ensemble table experiment family coefficients"
    assert kinds == set(named.split())


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_searches(path: Path) -> None:
    """Keys that came later have the values that were meant without them."""
    chosen = config.load(str(path))
    written = yaml.safe_load(path.read_text())
    assert "costs" not in written and "simulation" not in written
    assert (chosen.costs, chosen.one_shot, chosen.simulation) == (("macs",), None, None)
    assert chosen.algorithm.name == written["algorithm"]["name"] == "ageing_evolution"
    assert config.from_dict(config.to_dict(chosen)) == chosen


def test_architectures_and_spaces() -> None:
    member = architecture.from_dict(yaml.safe_load(only("architecture").read_text()))
    assert member.fingerprint == network.load(only("network")).members[0].fingerprint == "7a0ea275546f9a7f"
    space = movinet_space.movinet_space(movinet_space.from_dict(yaml.safe_load(only("space").read_text())))
    assert space.size == 42977336639700872554536843518976


def test_what_a_ledger_calls_a_network_means_the_same() -> None:
    """Genotypes, fingerprints and exact costs as they were recorded."""
    ledger = read(only("ledger"))
    space = movinet_space.movinet_space(run.config_of(ledger).space)
    for proposal in ledger.proposals.values():
        member = architecture.from_dict(proposal.architecture)
        assert member.fingerprint == proposal.fingerprint
        assert vars(count(member, run.config_of(ledger).space.classes)) == dict(proposal.cost)
        assert proposal.genotype is None or space.decode(proposal.genotype) == member


def test_networks_with_the_costs_they_say() -> None:
    single, ensemble = network.load(only("network")), network.load(only("ensemble"))
    assert (len(single.members), len(ensemble.members)) == (1, 2)


def test_a_ledger_is_read_and_carried_on(tmp_path: Path) -> None:
    shutil.copy(only("ledger"), tmp_path / "ledger.jsonl")
    ledger = run.read(tmp_path)
    assert (len(ledger.proposals), len(ledger.completed), len(ledger.stopped), len(ledger.pending)) == (20, 15, 4, 1)
    assert len(frame.selected_front(ledger)) > 2
    outcome.write_tables(ledger, tmp_path)
    with LedgerWriter.open_for_append(tmp_path / "ledger.jsonl") as writer:
        search = run._carried_on(run.config_of(ledger), writer, ledger)
        assert search.propose() == ledger.pending[0]  # what was being trained is trained again, then what comes next
        while (fresh := search.propose()) is not None and fresh.index in ledger.proposals:
            pass
    assert fresh is not None and fresh.index == max(ledger.proposals) + 1
    assert len(read(tmp_path / "ledger.jsonl").proposals) == len(ledger.proposals) + 1


def test_tables_experiments_and_records(tmp_path: Path) -> None:
    assert len(table.read(only("table")).accuracy) == 29
    experiment, _ = experiment_file.load("movinet_kinetics600", [only("experiment")])
    assert experiment.task.model.num_classes == 600
    shutil.copy(only("family"), tmp_path / emit.RECORD)
    assert "movinet_a6.yaml" in emit._recorded(tmp_path / emit.RECORD)
    (tmp_path / coefficients.FOLDER).mkdir()
    shutil.copy(only("coefficients"), tmp_path / coefficients.FOLDER / coefficients.RECORD)
    assert coefficients.chosen(tmp_path) is not None


READERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "architecture": (network.load, "movinet-nas/network/2"),
    "network": (network.load, "movinet-nas/network/2"),
    "search": (lambda path: config.load(str(path)), "movinet-nas/search/2"),
    "space": (lambda path: movinet_space.from_dict(yaml.safe_load(path.read_text())), "movinet-nas/space/17"),
}


@pytest.mark.parametrize("kind", READERS)
def test_later_versions_are_refused_as_such(kind: str, tmp_path: Path) -> None:
    """Also where they have keys that are not known yet: the schema is looked at first."""
    reader, schema = READERS[kind]
    path = changed(next(EARLIER.glob(f"{kind}_*")), tmp_path, schema=schema, novelty=1)
    with pytest.raises(InputError, match=rf"schema: '{schema}' must be .*; it is of a newer version of movinet-nas"):
        reader(path)


def test_a_member_of_a_later_version(tmp_path: Path) -> None:
    data = yaml.safe_load(only("network").read_text())
    data["members"][0] |= {"schema": "movinet-nas/architecture/2", "novelty": 1}
    with pytest.raises(InputError, match=r"members\[0\].schema: .*newer version"):
        network.from_dict(data)


def test_ledgers_of_later_versions(tmp_path: Path) -> None:
    first, *rest = only("ledger").read_text().splitlines(keepends=True)
    for change, said in (
        ({"schema": "movinet-nas/ledger/2", "novelty": 1}, "'movinet-nas/ledger/2' is a ledger of another version"),
        ({"config": json.loads(first)["config"] | {"schema": "movinet-nas/search/2"}}, "newer version of movinet-nas"),
    ):
        (tmp_path / "ledger.jsonl").write_text("".join([json.dumps(json.loads(first) | change) + "\n", *rest]))
        with pytest.raises(InputError, match=said):
            run.config_of(run.read(tmp_path))
