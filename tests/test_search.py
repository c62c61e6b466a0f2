"""The search loop without training: made-up results in every order, and event logs cut at every line."""

from __future__ import annotations

import contextlib
import itertools
import resource
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_search import small

from nas.config import search_config as configs
from nas.config.search_config import SearchConfig
from nas.loop.retries import Retries
from nas.loop.search import Search, _shared, trial_seed
from nas.record.events import Completed, Event, Failed, Note, Proposal, Rung, Stopped
from nas.record.ledger import Header, Ledger, read
from nas.record.ledger_writer import LedgerWriter
from nas.record.objective import LIKELIHOOD
from search_space.architecture import from_dict
from search_space.base.errors import InputError
from search_space.cost.counting import count
from search_space.space.movinet import nearest
from search_space.space.sampling import Limit

SEED = 22  # seed of a run that has every kind of event
BEGUN = small(
    trials=6,
    early_stopping=configs.EarlyStopping((0.25, 0.5), 2.0, 2, 2),
    finals=configs.Finals(1, 3, ("a0", "a3")),
    faults=configs.FaultsConfig(most_failed=1.0),
    seed=SEED,
)


def four_members(**changes: Any) -> SearchConfig:
    """Return a search of a space with only four architectures."""
    space = BEGUN.space
    blocks = tuple(replace(block, widths=block.widths[:1], depths=(1,), expansions=(1.5,)) for block in space.blocks)
    last = replace(space.blocks[-1], widths=(8, 16), depths=(1, 2), expansions=(1.5,))
    only = replace(space, blocks=(*blocks[:-1], last))
    random = configs.AlgorithmConfig("random")
    return replace(BEGUN, space=only, algorithm=random, finals=configs.Finals(2, 3, ()), **changes)


def opened(folder: Path, config: SearchConfig) -> LedgerWriter:
    header = Header(configs.to_dict(config), {}, config.seed, "abc", "2030-01-01T00:00:00+00:00")
    return LedgerWriter.create(folder / "ledger.jsonl", header)


def outcome(proposal: Proposal, failing: float = 0.15) -> list[Rung | Completed | Failed]:
    """Return made-up events of a training: a function of the proposal alone, as in a real run."""
    rng = np.random.default_rng(proposal.seed)
    accuracies = np.round(np.sort(rng.random(3)), 2)  # rounded, so that some are equal
    events: list[Rung | Completed | Failed] = [
        Rung(proposal.index, steps, {"likelihood": float(accuracies[i])}, 1.0) for i, steps in enumerate((1, 2))
    ]
    if rng.random() < failing:
        return [*events[: rng.integers(3)], Failed(proposal.index, "made up", 1)]
    return [*events, Completed(proposal.index, 4, {"likelihood": float(accuracies[2])}, 2.0)]


class Drive:
    """Runs a search with up to `workers` trials at a time, whose events come in an order drawn from `rng`."""

    def __init__(self, search: Search, workers: int = 1, seed: int = 0, failing: float = 0.15) -> None:
        self.search, self.workers, self.failing = search, workers, failing
        self.rng = np.random.default_rng(seed)
        self.left: dict[int, list[Rung | Completed | Failed]] = {}

    def step(self) -> bool:
        """Process one proposal or one event; return False at the end."""
        search = self.search
        if len(self.left) < self.workers and (not self.left or self.rng.random() < 0.7):
            proposal = search.propose()
            if proposal is not None:
                self.left[proposal.index] = outcome(proposal, self.failing)
            elif not self.left:
                return False
        else:
            index = int(self.rng.choice(list(self.left)))
            goes_on = search.observe(self.left[index].pop(0))
            if not goes_on or not self.left[index]:
                del self.left[index]
        self.check()
        return True

    def check(self) -> None:
        search = self.search
        done = len(search.completed) + len(search.stopped) + len(search.failed)
        assert search.running.keys() == self.left.keys()
        assert done + len(search.running) <= search.planned
        assert search.finished == (done == search.planned)

    def run(self) -> Search:
        while self.step():
            pass
        assert self.search.finished
        return self.search


def begun(folder: Path, config: SearchConfig, **options: Any) -> Ledger:
    """Return the event log of a whole search."""
    with opened(folder, config) as writer:
        Drive(Search(config, writer), **options).run()
    return read(writer.path)


def cut(ledger: Ledger, lines: int, folder: Path, torn: int = 0) -> Path:
    """Write the first lines of an event log, and the first bytes of the next line."""
    content = ledger.path.read_bytes().splitlines(keepends=True)
    path = folder / f"cut{lines}.jsonl"
    path.write_bytes(b"".join(content[:lines]) + b"".join(content[lines : lines + 1])[:torn])
    return path


def resumed(path: Path, config: SearchConfig, **options: Any) -> list[Event]:
    with LedgerWriter.open_for_append(path) as writer:
        Drive(Search(config, writer, read(path).events), **options).run()
    return read(path).events


def check_whole(events: Sequence[Event], config: SearchConfig) -> None:
    """Check the invariants of every finished run."""
    proposals = {event.index: event for event in events if isinstance(event, Proposal)}
    ended = Counter(event.index for event in events if isinstance(event, Completed | Stopped | Failed))
    assert list(proposals) == list(range(len(proposals)))
    assert ended == dict.fromkeys(proposals, 1)
    searched = [proposal for proposal in proposals.values() if proposal.kind == "search"]
    assert len({proposal.genotype for proposal in searched}) == len(searched)
    for proposal in proposals.values():
        assert proposal.cost == vars(count(from_dict(proposal.architecture), config.space.classes))
        assert proposal.seed == trial_seed(config.seed, proposal.fingerprint, proposal.repeat)
    check_finals(events, proposals, config)


def check_finals(events: Sequence[Event], proposals: dict[int, Proposal], config: SearchConfig) -> None:
    """Check that selected networks of the front (all, if few) and references have `repeats` trainings at the end."""
    kinds = [proposal.kind for proposal in proposals.values()]
    assert kinds == sorted(kinds, key=lambda kind: kind != "search")
    completed = {e.index: e.metrics["likelihood"] for e in events if isinstance(e, Completed)}
    points = {i: (p.cost["macs"], -completed[i]) for i, p in proposals.items() if p.kind == "search" and i in completed}
    front = {i for i, p in points.items() if not any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in points.values())}
    repeats = config.finals.repeats
    labels = Counter((p.label, p.repeat) for p in proposals.values() if p.kind != "search")
    finalists = {label for label, _ in labels if label.startswith("trial")}
    assert finalists <= {f"trial {index}" for index in front}
    assert len(finalists) == (min(len(front), config.finals.most) if repeats else 0)
    expected = finalists | set(config.finals.references if repeats else ())
    assert labels == dict.fromkeys(itertools.product(expected, range(1, repeats + 1)), 1)


@settings(max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    workers=st.integers(1, 3),
    failing=st.sampled_from([0.0, 0.3, 1.0]),
    name=st.sampled_from(["random", "stratified_random", "ageing_evolution"]),
    repeats=st.integers(0, 2),
)
def test_a_search_trains_everything_once_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, seed: int, workers: int, failing: float, name: str, repeats: int
) -> None:
    finals = configs.Finals(repeats, 3, ("a0", "a3"))
    config = replace(BEGUN, seed=seed, algorithm=configs.AlgorithmConfig(name), finals=finals)
    ledger = begun(tmp_path_factory.mktemp("run"), config, workers=workers, seed=seed, failing=failing)
    check_whole(ledger.events, config)
    assert len(ledger.completed | ledger.stopped | ledger.failed) == len(ledger.proposals)


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("config", [BEGUN, four_members()], ids=["begun", "exhausted"])
def test_a_ledger_cut_anywhere_goes_on_to_the_same_search(tmp_path: Path, config: SearchConfig, every: int) -> None:
    """One worker gives the same events in the same order for every cut."""
    whole = begun(tmp_path, config)
    assert (whole.stopped and whole.failed) or config is not BEGUN
    for lines in range(1, len(whole.entries) + 2, every):
        path = cut(whole, lines, tmp_path, torn=lines % 50)
        assert resumed(path, config) == whole.events, lines


@settings(max_examples=6)
@given(seed=st.integers(0, 10**6), workers=st.integers(2, 3), data=st.data())
def test_nothing_is_lost_or_repeated_when_several_workers_are_cut_short(
    tmp_path_factory: pytest.TempPathFactory, seed: int, workers: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("run")
    whole = begun(folder, BEGUN, workers=workers, seed=seed)
    lines = data.draw(st.integers(1, len(whole.entries)))
    path = cut(whole, lines, folder)
    before = read(path)
    events = resumed(path, BEGUN, workers=workers, seed=seed + 1)
    check_whole(events, BEGUN)
    assert events[: len(before.events)] == before.events
    again = [proposal.index for proposal in before.pending]
    first = [event.index for event in events[len(before.events) :] if not isinstance(event, Proposal)]
    assert set(again) <= set(first)  # running trials are repeated


def test_what_was_running_is_proposed_again_first(tmp_path: Path) -> None:
    with opened(tmp_path, BEGUN) as writer:
        search = Search(BEGUN, writer)
        running = [search.propose() for _ in range(3)]
        search.observe(Failed(1, "made up", 1))
        again = Search(BEGUN, writer, read(writer.path).events)
        assert (again.running, again.finished) == ({}, False)
        assert [again.propose(), again.propose()] == [running[0], running[2]]
        fresh = again.propose()
        assert fresh is not None
        assert fresh.index == 3


def test_a_rung_that_is_reached_again_keeps_its_decision(tmp_path: Path) -> None:
    """The decision stays even if enough better trials arrived later to stop it."""
    config = replace(BEGUN, early_stopping=configs.EarlyStopping((0.25, 0.5), 2.0, 1, 2))
    with opened(tmp_path, config) as writer:
        search = Search(config, writer)
        for _ in range(3):
            search.propose()
        assert search.observe(Rung(0, 1, {"likelihood": 0.1}, 1.0))
        assert search.observe(Rung(1, 1, {"likelihood": 0.8}, 1.0))
        assert search.observe(Rung(2, 1, {"likelihood": 0.9}, 1.0))
        before = len(read(writer.path).entries)
        for same in (search, Search(config, writer, read(writer.path).events)):
            same.running or [same.propose() for _ in range(3)]
            assert same.observe(Rung(0, 1, {"likelihood": 0.1}, 1.0))
        assert len(read(writer.path).entries) == before


def test_a_run_that_is_over_knows_it_when_it_is_read(tmp_path: Path) -> None:
    for number, config in enumerate((BEGUN, replace(BEGUN, finals=configs.Finals(0)), four_members())):
        folder = tmp_path / str(number)
        folder.mkdir()
        whole = begun(folder, config)
        with LedgerWriter.open_for_append(whole.path) as writer:
            search = Search(config, writer, whole.events)
            assert search.finished
            assert search.planned == len(whole.proposals)
            assert search.propose() is None
        assert read(whole.path).entries == whole.entries


def test_published_networks_fill_the_workers_until_the_last_candidate_ends(tmp_path: Path) -> None:
    finals = configs.Finals(2, 3, ("a0", "a3"))
    config = replace(BEGUN, trials=2, early_stopping=configs.EarlyStopping(()), finals=finals)
    with opened(tmp_path, config) as writer:
        search = Search(config, writer)
        begun = [search.propose() for _ in range(7)]
        assert [proposal and proposal.label for proposal in begun] == ["", "", "a3", "a0", "a3", "a0", None]
        assert search.planned == 2 + 2 * (2 + 2)  # as if both were selected
        search.observe(Failed(0, "made up", 1))
        assert search.propose() is None
        search.observe(Completed(1, 4, {"likelihood": 0.5}, 1.0))
        assert search.planned == 2 + 2 * (1 + 2)
        again = [search.propose() for _ in range(3)]
        assert [proposal and proposal.label for proposal in again] == ["trial 1", "trial 1", None]
        assert not search.finished


def test_a_space_that_is_exhausted_ends_the_search(tmp_path: Path) -> None:
    config = four_members()
    ledger = begun(tmp_path, config)
    assert len([p for p in ledger.proposals.values() if p.kind == "search"]) == 4 < config.trials
    notes = [entry.record for entry in ledger.entries if isinstance(entry.record, Note)]
    assert len(notes) == 1
    assert notes[0].text.startswith(
        "the search ends after 4 candidates: all feasible architectures of the space small were proposed"
    )
    check_whole(ledger.events, config)


def test_references_that_come_to_the_same_network_are_each_trained(tmp_path: Path) -> None:
    config = replace(four_members(), finals=configs.Finals(1, 1, ("a0", "a1", "a2")))
    check_whole(begun(tmp_path, config).events, config)


def test_finalists_are_spread_over_a_front_of_more_than_that(tmp_path: Path) -> None:
    config = replace(BEGUN, trials=12, early_stopping=configs.EarlyStopping(()), finals=configs.Finals(1, 3, ()))
    with opened(tmp_path, config) as writer:
        search = Search(config, writer)
        costs = [search.propose().cost["macs"] for _ in range(12)]  # type: ignore[union-attr]
        for index, macs in enumerate(costs):  # more cost is better: all are on the front; but the cheapest is poor
            accuracy = 0.01 if macs == min(costs) else macs / max(costs)
            search.observe(Completed(index, 4, {"likelihood": accuracy}, 1.0))
        kept = search.front()
    assert len(kept) == 3 and kept == sorted(kept, key=costs.__getitem__)
    assert costs.index(min(costs)) not in kept and costs[kept[-1]] > np.median(costs) > costs[kept[0]]


def test_seeds_depend_on_the_run_the_network_and_the_repeat_only() -> None:
    seeds = {trial_seed(run, print_, repeat) for run in range(3) for print_ in ("a", "b") for repeat in range(3)}
    assert len(seeds) == 18
    assert trial_seed(0, "a", 0) == trial_seed(0, "a", 0) < 2**31


def test_a_candidate_keeps_the_limits(tmp_path: Path) -> None:
    config = replace(BEGUN, limits=(Limit("macs", 250_000),))
    proposals = begun(tmp_path, config).proposals.values()
    assert all(p.cost["macs"] <= 250_000 for p in proposals if p.kind != "reference")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limits": (Limit("macs", 10),)}, "small"),
        ({"algorithm": configs.AlgorithmConfig("ageing_evolution", {"start": 1})}, "start"),
    ],
)
def test_a_search_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with opened(tmp_path, BEGUN) as writer, pytest.raises(InputError, match=message):
        Search(replace(BEGUN, **change), writer)


def test_a_trial_is_handed_out_again_until_its_last_attempt(tmp_path: Path) -> None:
    with opened(tmp_path, BEGUN) as writer:
        attempts = Retries(Search(BEGUN, writer))
        first = attempts.propose("x0")
        attempts.hand_back("x0")  # costs no attempt
        for attempt in range(BEGUN.faults.attempts):
            name = f"x{attempt + 1}"
            assert attempts.propose(name) == first
            assert attempts.search.failed == {}
            attempts.fail(name, "its worker\ndied")
        assert attempts.search.failed == {0: Failed(0, "its worker died, 3 times", 3)}
        second = attempts.propose("y")
        assert second is not None
        assert second.index == 1


def test_a_ledger_that_cannot_be_written_ends_the_run_instead_of_a_trial(tmp_path: Path) -> None:
    with opened(tmp_path, BEGUN) as writer:
        attempts = Retries(Search(BEGUN, writer))
        assert attempts.propose("x")
        with files_at_most(writer.path.stat().st_size + 10):
            assert not attempts.observe("x", Completed(0, 4, {"likelihood": 0.5}, 1.0))
        assert attempts.over
        assert "prevented writing a line" in str(attempts.fault)
        assert attempts.search.completed == {}  # an unrecorded event has no effect
        assert len(read(writer.path).completed) == 0


@contextlib.contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Simulate a full disk for this process."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_repeats_get_seeds_of_their_own_and_stand_on_the_front_with_their_mean(tmp_path: Path) -> None:
    given_twice = configs.AlgorithmConfig("given", {"repeats": 2})
    config = replace(four_members(trials=8), algorithm=given_twice, early_stopping=configs.EarlyStopping(()))
    with opened(tmp_path, config) as writer:
        search = Search(config, writer)
        for _ in range(8):
            proposal = search.propose()
            assert proposal is not None
            value = 0.5 if proposal.repeat else 0.1 + 0.01 * proposal.index
            search.observe(Completed(proposal.index, 4, {"likelihood": value}, 1.0))
        tried = Counter((proposal.fingerprint, proposal.repeat) for proposal in search.proposals.values())
        assert len(tried) == 8 and set(tried.values()) == {1}
        front = search.front()
        assert all(search.proposals[index].repeat == 0 for index in front)
        final = search.propose()
        assert final is not None
        assert final.kind == "finalist" and final.repeat == 2
        seeds = [proposal.seed for proposal in search.proposals.values()]
        assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("statistic", ["likelihood", "accuracy"])
def test_the_configured_statistic_is_modelled_compared_and_selects(statistic: str, tmp_path: Path) -> None:
    """Accuracy and likelihood order the networks in opposite ways."""
    stopping = configs.EarlyStopping((0.5,), bands=1, minimum=4)
    config = replace(BEGUN, statistic=statistic, early_stopping=stopping, finals=configs.Finals(1, 99, ()))
    with opened(tmp_path, config) as writer:
        search = Search(config, writer)
        goes_on = []
        for _ in range(4):
            proposal = search.propose()
            assert proposal is not None
            value = 0.1 + 0.2 * proposal.index
            metrics = {"accuracy": value, "likelihood": 1 - value}
            goes_on.append(search.observe(Rung(proposal.index, 2, metrics, 1.0)))
            if goes_on[-1]:
                search.observe(Completed(proposal.index, 4, metrics, 2.0))
        assert goes_on[-1] == (statistic == "accuracy")
        measured = {i: each.metrics[statistic] for i, each in search.completed.items()}
        assert search.algorithm.results == {i: -value for i, value in measured.items()}
        assert max(measured, key=measured.__getitem__) in search.front()


def test_a_second_cost_widens_the_front(tmp_path: Path) -> None:
    """An expensive, bad network with little state between frames is on the front of three."""
    config = replace(BEGUN, algorithm=configs.AlgorithmConfig("random"), early_stopping=configs.EarlyStopping(()))
    with opened(tmp_path, config) as writer:
        search = Search(config, writer)
        for _ in range(config.trials):
            proposal = search.propose()
            assert proposal is not None
            search.observe(Completed(proposal.index, 4, {"likelihood": 1e-7 * proposal.cost["macs"]}, 1.0))
        search.config = replace(config, costs=("macs", "state_bytes"), finals=configs.Finals(1, 99, ()))
        assert len(search.minimised(0, LIKELIHOOD)) == 3
        both = search.front()
        search.config = replace(config, finals=configs.Finals(1, 99, ()))
        assert set(search.front()) <= set(both)


def test_an_algorithm_that_trades_one_cost_refuses_two(tmp_path: Path) -> None:
    config = replace(BEGUN, algorithm=configs.AlgorithmConfig("random"), costs=("macs", "state_bytes"))
    with opened(tmp_path, config) as writer, pytest.raises(InputError, match="costs"):
        Search(config, writer)


def test_the_frontier_search_starts_from_the_published_networks(tmp_path: Path) -> None:
    frontier = configs.AlgorithmConfig("frontier_search")
    config = small(trials=6, algorithm=frontier, finals=configs.Finals(1, 3, ("a0", "a3", "a5")), seed=SEED)
    with opened(tmp_path, config) as writer:
        search = Search(config, writer)
        proposed = [search.propose() for _ in range(3)]
        genotypes = {proposal.genotype for proposal in proposed if proposal}
        nearest_ones = {nearest(search.algorithm.space, network) for network in search.task.references().values()}
        assert genotypes & nearest_ones


def test_architectures_share_their_equal_parts() -> None:
    """Each is equal to its proposal, but ten thousand of them need a third of the memory."""
    parts: dict[str, Any] = {}
    data = [{"layers": [{"kernel": [1, 3, 3], "expand": width}], "long": "x" * 200} for width in (8, 16, 8)]
    found = [_shared(each, parts) for each in data]
    assert found == data
    assert found[0]["layers"][0] is found[2]["layers"][0] is not found[1]["layers"][0]
    assert found[0] is not found[2]  # too large to be shared
