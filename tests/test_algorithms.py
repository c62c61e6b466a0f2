"""The contract of every search algorithm in the catalogue; a new one joins by its line there."""

import hashlib
import inspect
import itertools
import json
import math
import time

import numpy as np
import pytest

from nas.algorithms.base import Algorithm, Exhausted
from nas.algorithms.registry import ALGORITHMS
from nas.config.search_config import load
from nas.record.events import Completed, Failed, Proposal, Rung, Stopped
from nas.record.objective import Objective
from nas.record.pareto import crowded_order, hypervolume
from search_space.base.errors import InputError
from search_space.space.choices import Choice, Condition, SearchSpace
from search_space.space.movinet import base_config, movinet_space
from search_space.space.sampling import Limit, cost_range

# Not held to beat random search in thirty proposals: one lists its space, the others are baselines that start with
# random members, most of that number.
NOT_AHEAD = ("random", "given", "nsga2", "optuna_tpe", "keras_tuner_bayesian")
AHEAD = [name for name in ALGORITHMS if name not in NOT_AHEAD]
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def toy_space(widths: int, layers: int, kernels: int) -> SearchSpace:
    """A chain of 1 to `layers` layers of one width; the kernel of a layer that is absent is a dead gene."""
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


SPACE = toy_space(widths=6, layers=5, kernels=5)
LIMITS = (Limit("macs", 12_000), Limit("state_bytes", 500))


def costs(space: SearchSpace, genotype) -> dict[str, int]:
    return {name: int(values[0]) for name, values in space.count(np.array([genotype])).items()}


def quality(space: SearchSpace, genotype) -> float:
    """Between 0 and 1: grows with log cost, and with how well each gene is chosen, whatever that costs."""
    weights = np.random.default_rng(99).normal(size=(len(space.choices), space.options.max()))
    chosen = weights[np.arange(len(genotype)), genotype].sum() / math.sqrt(len(genotype))
    return 0.5 + 0.1 * math.tanh(math.log(costs(space, genotype)["macs"] / 1e4) / 8) + 0.1 * math.tanh(chosen)


def proposal(space: SearchSpace, index: int, genotype, kind: str = "search") -> Proposal:
    return Proposal(index, kind, genotype, {}, f"f{index}", 0, index, costs(space, genotype))


def make(name: str, space: SearchSpace = SPACE, limits=LIMITS, planned: int = 30, **options):
    return ALGORITHMS[name](space, limits, planned=planned, **options)


def run(algorithm, proposals: int, pending: int = 1, seed: int = 0) -> list:
    """Plays a run with up to `pending` trials at once, which end in any order, and returns its events."""
    order = np.random.default_rng(seed + 1)
    events: list = []
    waiting: list[Proposal] = []

    def tell(event) -> None:
        events.append(event)
        algorithm.tell(event)

    def finish() -> None:
        done = waiting.pop(order.integers(len(waiting)))
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


def genotypes(events) -> list:
    return [event.genotype for event in events if isinstance(event, Proposal)]


# Fewer than five hundred of those that take long for each, so that all of this stays quick.
PROPOSALS = {"frontier_search": 250, "optuna_tpe": 100, "keras_tuner_bayesian": 60}


@every_algorithm
def test_hundreds_of_proposals_keep_the_limits_and_never_repeat(name):
    proposals = PROPOSALS.get(name, 500)
    proposed = genotypes(run(make(name), proposals, pending=2))
    assert len(set(proposed)) == proposals
    for genotype in proposed:
        assert genotype == SPACE.canonical(genotype) and all(type(gene) is int for gene in genotype)
        cost = costs(SPACE, genotype)
        assert all(cost[limit.name] <= limit.at_most for limit in LIMITS)


@every_algorithm
def test_the_same_seed_repeats_and_another_differs(name):
    first, again, other = (genotypes(run(make(name), 25, pending=3, seed=seed)) for seed in (4, 4, 5))
    assert first == again != other


@every_algorithm
def test_asking_changes_nothing(name):
    algorithm = make(name)
    run(algorithm, 20)
    before = json.dumps(algorithm.state())
    asked = [algorithm.ask(np.random.default_rng(seed)) for seed in (1, 2, 3, 1)]
    assert asked[0] == asked[3] and len(set(asked)) > 1
    assert json.dumps(algorithm.state()) == before


@every_algorithm
@pytest.mark.parametrize("pending", [1, 3])
def test_telling_the_events_again_restores_the_search_at_every_point(name, pending):
    events = run(make(name), 30, pending)
    resumed = make(name)
    for event in events:
        if isinstance(event, Proposal):
            assert resumed.ask(np.random.default_rng([0, event.index])) == event.genotype
        resumed.tell(event)


@every_algorithm
def test_the_state_survives_json(name):
    algorithm, restored = make(name), make(name)
    run(algorithm, 25, pending=3)
    algorithm.tell(proposal(SPACE, 25, algorithm.ask(np.random.default_rng(25))))
    algorithm.tell(proposal(SPACE, 100, (0,) * len(SPACE.choices), kind="reference"))
    restored.restore(json.loads(json.dumps(algorithm.state())))
    assert restored.state() == algorithm.state()
    for seed in range(5):
        assert restored.ask(np.random.default_rng(seed)) == algorithm.ask(np.random.default_rng(seed))
    for each in (algorithm, restored):
        each.tell(Completed(25, 10, {"accuracy": 0.9}, 1.0))
    assert restored.state() == algorithm.state()


@every_algorithm
@pytest.mark.parametrize(
    "state", [{}, [], {"seen": [], "proposed": [], "results": [], "early": [], "stopped": [], "failed": [], "more": 1}]
)
def test_another_state_is_refused(name, state):
    with pytest.raises(InputError, match="algorithm state"):
        make(name).restore(state)


@every_algorithm
def test_only_full_budget_results_count(name):
    algorithm = make(name)
    run(algorithm, 12)
    algorithm.tell(proposal(SPACE, 12, algorithm.ask(np.random.default_rng(0))))
    before = algorithm.state()["results"]
    algorithm.tell(Rung(12, 5, {"accuracy": 1.0}, 1.0))
    algorithm.tell(Stopped(12, 5, {"accuracy": 1.0}, 1.0))
    algorithm.tell(Failed(12, "killed", 1))
    assert algorithm.state()["results"] == before
    algorithm.tell(Completed(12, 10, {"accuracy": 1.0}, 1.0))
    assert algorithm.state()["results"] == [*before, [12, -1.0]]


@every_algorithm
def test_the_direction_of_the_objective_is_kept(name):
    """Minimising the loss, which is the negative accuracy, is the same search."""
    down = make(name, objective=Objective("loss", "min"))
    assert genotypes(run(down, 30)) == genotypes(run(make(name), 30))


@every_algorithm
def test_references_are_never_proposed(name):
    small = toy_space(widths=2, layers=1, kernels=2)
    algorithm = make(name, small, limits=())
    algorithm.tell(proposal(small, 0, (1, 0, 1), kind="reference"))
    algorithm.tell(Completed(0, 10, {"accuracy": 0.9}, 1.0))
    for index in (1, 2, 3):
        algorithm.tell(proposal(small, index, algorithm.ask(np.random.default_rng(index))))
    with pytest.raises(Exhausted):
        algorithm.ask(np.random.default_rng(4))


@every_algorithm
def test_finalists_change_nothing(name):
    algorithm = make(name)
    before = algorithm.state()
    algorithm.tell(proposal(SPACE, 5, (0,) * len(SPACE.choices), kind="finalist"))
    algorithm.tell(Completed(5, 10, {"accuracy": 0.9}, 1.0))
    assert algorithm.state() == before


@every_algorithm
def test_the_last_unseen_members_are_found_where_draws_would_miss_them(name):
    """Of 8019 members three are unseen, each of which a uniform draw hits once in 160 000 times."""
    depth = Choice("depth", tuple(range(20)))
    rare = (Choice(f"kernel{i}", tuple(range(20)), Condition("depth", 19)) for i in range(3))
    space = SearchSpace("rare", (depth, *rare), dict, dict, lambda g: {"macs": 1 + g.sum(axis=1)})
    unseen = {(19, 3, 3, 3), (19, 10, 0, 5), (19, 19, 19, 19)}
    deep = ((19, *kernels) for kernels in itertools.product(range(20), repeat=3))
    algorithm = make(name, space, limits=())
    for index, genotype in enumerate([*((i, 0, 0, 0) for i in range(19)), *deep]):
        if genotype not in unseen:
            algorithm.tell(Proposal(index, "reference", genotype, {}, "f", 0, 0, {"macs": 1}))
    assert set(genotypes(run(algorithm, 3))) == unseen


@every_algorithm
@pytest.mark.parametrize("limits", [(), (Limit("macs", 1000), Limit("state_bytes", 60))])
def test_a_small_space_is_proposed_whole_and_then_exhausted(name, limits):
    small = toy_space(widths=3, layers=2, kernels=3)
    everything = {small.canonical(g) for g in itertools.product(*(range(k) for k in small.options))}
    allowed = {g for g in everything if all(costs(small, g)[limit.name] <= limit.at_most for limit in limits)}
    assert len(everything) == small.size and 0 < len(allowed) <= small.size
    algorithm = make(name, small, limits)
    assert set(genotypes(run(algorithm, len(allowed)))) == allowed
    with pytest.raises(Exhausted, match="toy"):
        algorithm.ask(np.random.default_rng(0))


@every_algorithm
def test_a_space_of_one_member(name):
    single = toy_space(widths=1, layers=1, kernels=1)
    algorithm = make(name, single, limits=())
    assert genotypes(run(algorithm, 1)) == [(0, 0, 0)]
    with pytest.raises(Exhausted):
        algorithm.ask(np.random.default_rng(0))


@every_algorithm
def test_bad_settings_and_events_are_refused(name):
    with pytest.raises(InputError, match=r"limit\.macs"):
        make(name, limits=(Limit("macs", 1),)).ask(np.random.default_rng(0))
    with pytest.raises(InputError, match="planned"):
        make(name, planned=0)
    algorithm = make(name)
    with pytest.raises(InputError, match="lacks 'macs'"):
        algorithm.tell(Proposal(0, "search", (0,) * len(SPACE.choices), {}, "f", 0, 0, {}))
    with pytest.raises(InputError, match="toy"):
        algorithm.tell(Proposal(0, "search", (0, 0), {}, "f", 0, 0, {"macs": 1}))
    algorithm.tell(proposal(SPACE, 0, (0,) * len(SPACE.choices)))
    with pytest.raises(InputError, match="lacks 'accuracy'"):
        algorithm.tell(Completed(0, 10, {"loss": 1.0}, 1.0))


@pytest.mark.parametrize(
    "options",
    [{"start": 1}, {"population": 1}, {"tournament": 0}, {"tournament": 99}, {"crossover": 1.5}, {"strata": 0}],
)
def test_bad_options_of_ageing_evolution_are_refused(options):
    with pytest.raises(InputError):
        make("ageing_evolution", **options)


@pytest.mark.parametrize("wrong", ["a", -1.5, [3], [["a"]], {"a": 1}, [[[0], "a"]]], ids=str)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_option_of_another_kind_is_refused(name, wrong):
    """As a file of settings may hold it."""
    own = inspect.signature(ALGORITHMS[name]).parameters.keys() - inspect.signature(Algorithm).parameters.keys()
    for option in sorted(own):
        with pytest.raises(InputError):
            ALGORITHMS[name](SPACE, **{option: wrong})


def test_stratified_random_fills_the_strata_evenly():
    algorithm = make("stratified_random", limits=(), strata=4)
    counts = np.bincount([algorithm.strata.of(costs(SPACE, g)["macs"]) for g in genotypes(run(algorithm, 40))])
    assert counts.tolist() == [10] * 4


def test_ageing_evolution_breeds_only_from_the_population_after_the_start():
    """With one parent, no crossover and the youngest only, a child differs from it in one choice that both have."""
    algorithm = make("ageing_evolution", start=6, population=2, tournament=2, crossover=0.0)
    events = run(algorithm, 20)
    completed = [event.index for event in events if isinstance(event, Completed)]
    proposed = genotypes(events)
    for index in range(8, 20):
        both = np.array([proposed[i] for i in [i for i in completed if i < index][-2:]])
        child = np.array([proposed[index]])
        shared = SPACE.active(child) & SPACE.active(both)
        assert ((both != child) & shared).sum(axis=1).min() <= 1


def test_the_best_placed_of_a_tournament_is_the_parent():
    """Where all compete and there is no crossover, every child is one choice away from the winner."""
    algorithm = make("ageing_evolution", start=10, population=10, tournament=10, crossover=0.0)
    run(algorithm, 10)
    told = [(algorithm.proposed[index], value) for index, value in algorithm.results.items()]
    winner = crowded_order([(math.log(cost), value) for (_, cost), value in told]).argmin()
    parent = np.array([told[winner][0][0]])
    for seed in range(10):
        child = np.array([algorithm.ask(np.random.default_rng(seed))])
        assert ((child != parent) & SPACE.active(child) & SPACE.active(parent)).sum() <= 1


# sha256 of the first 20 proposals, so that a change of behaviour is seen. When one changes on purpose (another
# default, another order of draws), put the new value here and say so in the change: runs recorded before it can
# then be read and plotted, but resuming them continues differently from an unbroken run.
FIRST_PROPOSALS = {
    "random": "9dcf7f4c90acb242",
    "stratified_random": "7b0394e93851e7cf",
    "ageing_evolution": "fcb123d00ece8266",
    "nsga2": "f45e3f98cdc7b18a",
    "optuna_tpe": "fe5de4ca4e010365",
    "keras_tuner_bayesian": "00e4c7b6bdaf963a",
    "frontier_search": "55b12fbacc443f19",
    "given": "b0f34cc274e59c68",
}


@every_algorithm
def test_the_first_proposals_are_permanent(name):
    proposed = genotypes(run(make(name, planned=15), 20, pending=2, seed=11))
    assert hashlib.sha256(json.dumps(proposed).encode()).hexdigest()[:16] == FIRST_PROPOSALS[name]


@every_algorithm
@pytest.mark.slow
def test_two_thousand_proposals_in_a_vast_capped_space(name):
    space, limits = movinet_space(base_config()), (Limit("macs", 20e9), Limit("state_bytes", 2_000_000))
    assert space.size > 10**20
    if name == "given":
        pytest.skip("proposes what it is given")
    proposed = genotypes(run(make(name, space, limits, planned=2000), 2000, pending=4))
    assert len(set(proposed)) == 2000
    found = space.count(np.array(proposed))
    assert all((found[limit.name] <= limit.at_most).all() for limit in limits)


@every_algorithm
@pytest.mark.benchmark
def test_a_proposal_after_a_thousand_results_takes_half_a_second(name):
    space, rng = movinet_space(load("default").space), np.random.default_rng(0)
    options = {"members": [[0] * len(space.choices)]} if name == "given" else {}
    algorithm = make(name, space, (), planned=1001, **options)
    for index, row in enumerate(space.sample(rng, 1000).tolist()):
        algorithm.tell(proposal(space, index, tuple(row)))
        algorithm.tell(Completed(index, 10, {"accuracy": quality(space, row) + rng.normal() * 0.03}, 1.0))
    algorithm.ask(np.random.default_rng(0))  # the first one fits, compiles and caches
    seconds = []
    for seed in range(5):
        start = time.process_time()
        algorithm.ask(np.random.default_rng(seed))
        seconds.append(time.process_time() - start)
    print(f"{name}: {np.median(seconds):.3f} s")
    assert np.median(seconds) < 0.5


@pytest.fixture(scope="module")
def hypervolumes() -> dict[str, float]:
    """Mean over seeds of the hypervolume of 30 proposals, in log cost and quality, over the MoViNet space."""
    space = movinet_space(base_config())
    low, high = np.log(cost_range(space, np.random.default_rng(0), ()))

    algorithms = {name: ALGORITHMS[name](space, (), planned=30) for name in ("random", *AHEAD)}
    blank = algorithms["random"].state()

    def one(name: str, seed: int) -> float:
        algorithms[name].restore(blank)
        events = run(algorithms[name], 30, seed=seed)
        points = [(math.log(costs(space, g)["macs"]), -quality(space, g)) for g in genotypes(events)]
        return hypervolume(points, (high, 0.0)) / (high - low)

    return {name: float(np.mean([one(name, seed) for seed in range(3)])) for name in algorithms}


@pytest.mark.parametrize("name", AHEAD)
def test_it_beats_plain_random(hypervolumes, name):
    assert hypervolumes[name] > hypervolumes["random"] + 0.02


def test_given_members_are_all_proposed_before_any_is_again():
    members = [(0, 0, 1, 0, 0, 0, 0), (2, 1, 3, 4, 0, 0, 0), (1, 0, 2, 0, 0, 0, 0)]
    algorithm = make("given", limits=(), members=members, repeats=2)
    proposed = genotypes(run(algorithm, 6, pending=2))
    assert sorted(proposed[:3]) == sorted(proposed[3:]) == sorted(members)
    with pytest.raises(Exhausted, match="given members"):
        algorithm.ask(np.random.default_rng(0))


@pytest.mark.parametrize("members", [[], [(9,) * 7], [(0, 0)], [(5, 4, 4, 4, 4, 4, 4)]])
def test_given_members_outside_the_space_or_its_limits_are_refused(members):
    with pytest.raises(InputError):
        make("given", members=members)
