"""Contract of a search algorithm: limits, no repeats, repeatability, resuming from events, exhaustion of a space."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from nas.algorithms.base import Algorithm, Exhausted
from nas.record.events import Completed, Event, Failed, Proposal, Rung, Stopped
from nas.record.objective import Objective
from search_space.base.errors import InputError
from search_space.space.choices import Choice, Condition, Genotype, SearchSpace
from search_space.space.sampling import Limit

Make = Callable[..., Algorithm]  # arguments of `Algorithm` by name -> an algorithm
LIMITS = (Limit("macs", 12_000), Limit("state_bytes", 500))


def chain_space(widths: int, layers: int, kernels: int) -> SearchSpace[Any]:
    """Return a chain of 1 to `layers` layers of one width; the kernel of an absent layer is a gene without effect."""
    choices = (
        Choice("width", tuple(8 * (i + 1) for i in range(widths))),
        Choice("depth", tuple(range(1, layers + 1))),
        *(Choice(f"kernel{i}", tuple(range(1, kernels + 1)), Condition("depth", i)) for i in range(1, layers + 1)),
    )

    def count(genotypes: np.ndarray) -> dict[str, np.ndarray]:
        width, depth = 8 * (genotypes[:, 0] + 1), genotypes[:, 1] + 1
        present = np.arange(layers) < depth[:, None]
        kernel = np.where(present, genotypes[:, 2:] + 1, 0).sum(axis=1)
        return {"macs": width * width * (depth + kernel), "state_bytes": width * kernel}

    return SearchSpace("toy", choices, assemble=dict, disassemble=dict, count=count)


SPACE = chain_space(widths=6, layers=5, kernels=5)


def costs(space: SearchSpace[Any], genotype: Genotype) -> dict[str, int]:
    """Return the exact costs of one genotype."""
    return {name: int(values[0]) for name, values in space.count(np.array([genotype])).items()}


def quality(space: SearchSpace[Any], genotype: Genotype) -> float:
    """Return an accuracy from 0 to 1 that grows with log cost and with the quality of each option."""
    weights = np.random.default_rng(99).normal(size=(len(space.choices), space.options.max()))
    chosen = weights[np.arange(len(genotype)), genotype].sum() / math.sqrt(len(genotype))
    return 0.5 + 0.1 * math.tanh(math.log(costs(space, genotype)["macs"] / 1e4) / 8) + 0.1 * math.tanh(chosen)


def proposal(space: SearchSpace[Any], index: int, genotype: Genotype, kind: str = "search") -> Proposal:
    """Return the event of a proposal."""
    return Proposal(index, kind, genotype, {}, f"f{index}", 0, index, costs(space, genotype))


def simulate_run(algorithm: Algorithm, proposals: int, pending: int = 1, seed: int = 0) -> list[Event]:
    """Simulate a run with up to `pending` parallel trials, which end in any order; return its events.

    One trial in seven fails, one in seven is stopped early.
    """
    order = np.random.default_rng(seed + 1)
    events: list[Event] = []
    waiting: list[Proposal] = []

    def tell(event: Event) -> None:
        events.append(event)
        algorithm.tell(event)

    def finish() -> None:
        done = waiting.pop(order.integers(len(waiting)))
        assert done.genotype is not None
        value = quality(algorithm.space, done.genotype)
        tell(Rung(done.index, 5, {"accuracy": value / 2, "loss": -value / 2}, 1.0))
        if done.index % 7 == 5:
            tell(Failed(done.index, "out of memory", 1))
        elif done.index % 7 == 6:
            tell(Stopped(done.index, 5, {"accuracy": value / 2, "loss": -value / 2}, 1.0))
        else:
            tell(Completed(done.index, 10, {"accuracy": value, "loss": -value}, 2.0))

    for index in range(proposals):
        if len(waiting) == pending:
            finish()
        waiting.append(proposal(algorithm.space, index, algorithm.ask(np.random.default_rng([seed, index]))))
        tell(waiting[-1])
    while waiting:
        finish()
    return events


def genotypes(events: Sequence[Event]) -> list[Genotype]:
    """Return the genotypes proposed, in order."""
    return [event.genotype for event in events if isinstance(event, Proposal) and event.genotype is not None]


def _require(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _refused(call: Callable[[], object], kinds: type[Exception], message: str) -> None:
    try:
        call()
    except kinds:
        return
    raise AssertionError(message)


def check_keeps_limits_and_never_repeats(make: Make, proposals: int = 100) -> None:
    """Check that all proposals are canonical, within the limits and different."""
    proposed = genotypes(simulate_run(make(SPACE, LIMITS), proposals, pending=2))
    for genotype in proposed:
        plain = isinstance(genotype, tuple) and all(type(gene) is int for gene in genotype)
        _require(plain, f"{genotype!r} is not a tuple of int")
        _require(genotype == SPACE.canonical(genotype), f"{genotype} is not canonical; return space.canonical of it")
        cost = costs(SPACE, genotype)
        for limit in LIMITS:
            _require(
                cost[limit.name] <= limit.at_most, f"{genotype} has {limit.name} {cost[limit.name]}, above its limit"
            )
    _require(len(set(proposed)) == len(proposed), "a genotype was proposed twice; see Algorithm.is_new")


def check_same_seed_repeats(make: Make) -> None:
    """Check that the same generators and events give the same proposals."""
    first, again = (genotypes(simulate_run(make(SPACE, LIMITS), 25, pending=3, seed=4)) for _ in range(2))
    _require(first == again, "two runs with the same seed differ; draw only from the generator that ask is given")


def check_asking_changes_nothing(make: Make) -> None:
    """Check that `ask` does not change the state, and depends only on the state and its generator."""
    algorithm = make(SPACE, LIMITS)
    simulate_run(algorithm, 20)
    before = json.dumps(algorithm.state())
    asked = [algorithm.ask(np.random.default_rng(seed)) for seed in (1, 2, 1)]
    _require(asked[0] == asked[2], "two calls of ask with equal state and generator return different proposals")
    _require(json.dumps(algorithm.state()) == before, "ask changed the state; change it in tell only")


def check_events_restore_the_search(make: Make) -> None:
    """Check that replaying events in a new algorithm restores it, at every point, as in a resumed run."""
    for pending in (1, 3):
        resumed = make(SPACE, LIMITS)
        for event in simulate_run(make(SPACE, LIMITS), 30, pending):
            if isinstance(event, Proposal):
                same = resumed.ask(np.random.default_rng([0, event.index])) == event.genotype
                _require(same, f"after the same events, proposal {event.index} differs: state outside of tell?")
            resumed.tell(event)


def check_state_survives_json(make: Make) -> None:
    """Check that `state` is plain data, from which `restore` creates an equal algorithm; other data is rejected."""
    algorithm, restored = make(SPACE, LIMITS), make(SPACE, LIMITS)
    simulate_run(algorithm, 25, pending=3)
    algorithm.tell(proposal(SPACE, 25, algorithm.ask(np.random.default_rng(25))))
    algorithm.tell(proposal(SPACE, 100, (0,) * len(SPACE.choices), kind="reference"))
    restored.restore(json.loads(json.dumps(algorithm.state())))
    _require(restored.state() == algorithm.state(), "state differs after restore")
    for seed in range(5):
        same = restored.ask(np.random.default_rng(seed)) == algorithm.ask(np.random.default_rng(seed))
        _require(same, "a restored algorithm proposes differently: is part of the state missing in state()?")
    for each in (algorithm, restored):
        each.tell(Completed(25, 10, {"accuracy": 0.9}, 1.0))
    _require(restored.state() == algorithm.state(), "states differ after the next event")
    empty = dict.fromkeys(("seen", "proposed", "results", "early", "stopped", "failed"), ())
    wrong: Any
    for wrong in ({}, [], {**empty, "more": 1}):
        _refused(lambda wrong=wrong: make(SPACE).restore(wrong), InputError, f"restore accepts {wrong!r}")  # type: ignore[misc]


def check_only_full_budget_results_count(make: Make) -> None:
    """Check that rungs, stopped and failed trials do not count as results."""
    algorithm = make(SPACE, LIMITS)
    simulate_run(algorithm, 12)
    algorithm.tell(proposal(SPACE, 12, algorithm.ask(np.random.default_rng(0))))
    before = algorithm.state()["results"]
    algorithm.tell(Rung(12, 5, {"accuracy": 1.0}, 1.0))
    algorithm.tell(Stopped(12, 5, {"accuracy": 1.0}, 1.0))
    algorithm.tell(Failed(12, "killed", 1))
    _require(algorithm.state()["results"] == before, "a trial without a full budget counts as a result")
    algorithm.tell(Completed(12, 10, {"accuracy": 1.0}, 1.0))
    _require(algorithm.state()["results"] == [*before, [12, -1.0]], "a completed trial does not count as a result")


def check_follows_the_direction_of_the_objective(make: Make) -> None:
    """Check that minimising the loss, here the negative accuracy, is the same search as maximising the accuracy."""
    down = genotypes(simulate_run(make(SPACE, LIMITS, objective=Objective("loss", "min")), 30))
    up = genotypes(simulate_run(make(SPACE, LIMITS), 30))
    _require(
        down == up, "another direction of the objective gives another search; use self.results, which are minimised"
    )


def check_references_and_reevaluations(make: Make) -> None:
    """Check that references are never proposed and re-evaluations change nothing."""
    small = chain_space(widths=2, layers=1, kernels=2)
    algorithm = make(small, ())
    algorithm.tell(proposal(small, 0, (1, 0, 1), kind="reference"))
    algorithm.tell(Completed(0, 10, {"accuracy": 0.9}, 1.0))
    for index in (1, 2, 3):
        algorithm.tell(proposal(small, index, algorithm.ask(np.random.default_rng(index))))
    message = "of four architectures, three were proposed and one is a reference: ask must raise Exhausted"
    _refused(lambda: algorithm.ask(np.random.default_rng(4)), Exhausted, message)
    algorithm = make(SPACE, LIMITS)
    before = algorithm.state()
    algorithm.tell(proposal(SPACE, 5, (0,) * len(SPACE.choices), kind="finalist"))
    algorithm.tell(Completed(5, 10, {"accuracy": 0.9}, 1.0))
    _require(algorithm.state() == before, "a re-evaluation changed the state")


def check_proposes_a_small_space_whole(make: Make) -> None:
    """Check that a small space is proposed to its last architecture, then `Exhausted` is raised."""
    small = chain_space(widths=3, layers=2, kernels=3)
    everything = {small.canonical(genotype) for genotype in itertools.product(*(range(k) for k in small.options))}
    for limits in ((), (Limit("macs", 1000), Limit("state_bytes", 60))):
        allowed = {g for g in everything if all(costs(small, g)[limit.name] <= limit.at_most for limit in limits)}
        _proposed_whole(make(small, limits), allowed)
    _proposed_whole(make(chain_space(widths=1, layers=1, kernels=1), ()), {(0, 0, 0)})


def _proposed_whole(algorithm: Algorithm, members: set[Genotype]) -> None:
    try:
        proposed = set(genotypes(simulate_run(algorithm, len(members))))
    except Exhausted:
        raise AssertionError(f"Exhausted before all {len(members)} architectures of a space were proposed") from None
    _require(proposed == members, f"{len(proposed)} of {len(members)} architectures of a small space were proposed")
    _refused(lambda: algorithm.ask(np.random.default_rng(0)), Exhausted, "none is left: ask must raise Exhausted")


def check_finds_the_last_architectures(make: Make) -> None:
    """Check that three unseen architectures of 8019 are found; a uniform draw hits each once in 160 000 times."""
    depth = Choice("depth", tuple(range(20)))
    rare = (Choice(f"kernel{i}", tuple(range(20)), Condition("depth", 19)) for i in range(3))
    space: SearchSpace[Any] = SearchSpace("rare", (depth, *rare), dict, dict, lambda g: {"macs": 1 + g.sum(axis=1)})
    unseen: set[Genotype] = {(19, 3, 3, 3), (19, 10, 0, 5), (19, 19, 19, 19)}
    deep: Iterable[Genotype] = ((19, *kernels) for kernels in itertools.product(range(20), repeat=3))
    algorithm = make(space, ())
    for index, genotype in enumerate([*((i, 0, 0, 0) for i in range(19)), *deep]):
        if genotype not in unseen:
            algorithm.tell(Proposal(index, "reference", genotype, {}, "f", 0, 0, {"macs": 1}))
    _proposed_whole(algorithm, unseen)


def check_refuses_bad_settings_and_events(make: Make) -> None:
    """Check that impossible limits and events of another space raise `InputError`."""
    tight = (Limit("macs", 1),)
    message = "no architecture has 1 MAC: __init__ or ask must raise InputError"
    _refused(lambda: make(SPACE, tight).ask(np.random.default_rng(0)), InputError, message)
    _refused(lambda: make(SPACE, planned=0), InputError, "planned=0 must raise InputError")
    algorithm, zeros = make(SPACE, LIMITS), (0,) * len(SPACE.choices)
    without_cost = Proposal(0, "search", zeros, {}, "f", 0, 0, {})
    _refused(lambda: algorithm.tell(without_cost), InputError, "a proposal without its cost must raise InputError")
    foreign = Proposal(0, "search", (0, 0), {}, "f", 0, 0, {"macs": 1})
    _refused(lambda: algorithm.tell(foreign), InputError, "a proposal of another space must raise InputError")
    algorithm.tell(proposal(SPACE, 0, zeros))
    without_metric = Completed(0, 10, {"loss": 1.0}, 1.0)
    _refused(lambda: algorithm.tell(without_metric), InputError, "a result without the metric must raise InputError")


ALGORITHM_CHECKS: tuple[Callable[[Make], None], ...] = (
    check_keeps_limits_and_never_repeats,
    check_same_seed_repeats,
    check_asking_changes_nothing,
    check_events_restore_the_search,
    check_state_survives_json,
    check_only_full_budget_results_count,
    check_follows_the_direction_of_the_objective,
    check_references_and_reevaluations,
    check_proposes_a_small_space_whole,
    check_finds_the_last_architectures,
    check_refuses_bad_settings_and_events,
)


def check_algorithm(kind: type[Algorithm], **options: Any) -> None:
    """Run all contract tests of a search algorithm; built-in algorithms pass the same ones.

    Args:
      kind: class derived from `Algorithm`.
      options: arguments of the class.

    Raises:
      AssertionError: the first test that fails, with an explanation.
    """

    def make(space: SearchSpace[Any], limits: Sequence[Limit] = (), planned: int = 30, **given: Any) -> Algorithm:
        return kind(space, limits, planned=planned, **given, **options)

    for check in ALGORITHM_CHECKS:
        check(make)
