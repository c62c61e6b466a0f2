"""SearchSpace on spaces that are no MoViNets: a table of three choices and spaces made up by Hypothesis."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_space.base.errors import InputError
from search_space.space.choices import Choice, Condition, Genotype, SearchSpace

Row = tuple[tuple[str, Any], ...]


def assemble(values: Mapping[str, Any]) -> Row:
    return tuple(values.items())


def count(genotypes: np.ndarray) -> dict[str, np.ndarray]:
    return {"cost": 1 + genotypes.sum(axis=1)}


def space_of(*choices: Choice) -> SearchSpace[Row]:
    return SearchSpace("table", choices, assemble, dict, count)


TABLE = space_of(
    Choice("operation", ("skip", "pool", "convolve")),
    Choice("layers", (1, 2, 4)),
    Choice("second", (3, 5), Condition("layers", 2)),
)
NESTED = space_of(
    Choice("depth", (1, 2, 3)),
    Choice("kernel", (3, 5, 7), Condition("depth", 2)),
    Choice("dilation", (1, 2), Condition("kernel", 5)),
    Choice("gate", (False, True), Condition("depth", 3)),
)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace[Row]:
    choices: list[Choice] = []
    for i in range(draw(st.integers(1, 5))):
        options = tuple(range(draw(st.integers(1, 4))))
        parent = draw(st.none() | st.sampled_from(choices)) if choices else None
        condition = Condition(parent.name, draw(st.sampled_from(parent.options))) if parent else None
        choices.append(Choice(f"c{i}", options, condition))
    return space_of(*choices)


@st.composite
def spaces_and_genotypes(draw: st.DrawFn, genotypes: int = 1) -> tuple[Any, ...]:
    space = draw(spaces())
    gene = st.tuples(*[st.integers(0, len(choice.options) - 1) for choice in space.choices])
    return (space, *(draw(gene) for _ in range(genotypes)))


def every_genotype(space: SearchSpace[Row]) -> list[Genotype]:
    return list(itertools.product(*[range(len(choice.options)) for choice in space.choices]))


def present(space: SearchSpace[Row], genotype: Genotype) -> list[str]:
    """Names of the active choices, straight from the definition."""
    values: dict[str, Any] = {}
    for choice, gene in zip(space.choices, genotype, strict=True):
        condition = choice.condition
        if condition is None or (condition.parent in values and values[condition.parent] >= condition.at_least):
            values[choice.name] = choice.options[gene]
    return list(values)


def test_table_has_the_members_one_can_count_by_hand() -> None:
    assert TABLE.size == 3 * (1 + 2 + 2)
    assert NESTED.size == 1 + (1 + 2 + 2) + (1 + 2 + 2) * 2
    assert TABLE.decode((2, 1, 1)) == (("operation", "convolve"), ("layers", 2), ("second", 5))
    assert TABLE.decode((0, 0, 1)) == (("operation", "skip"), ("layers", 1))
    assert TABLE.encode((("operation", "pool"), ("layers", 4), ("second", 3))) == (1, 2, 0)


@given(spaces())
def test_size_is_the_number_of_distinct_architectures(space: SearchSpace[Row]) -> None:
    assert space.size == len({space.decode(genotype) for genotype in every_genotype(space)})


@given(spaces_and_genotypes())
def test_values_are_those_of_the_active_choices(case: tuple[Any, ...]) -> None:
    space, genotype = case
    assert list(space.values(genotype)) == present(space, genotype)


@given(spaces_and_genotypes())
def test_encode_inverts_decode_up_to_absent_choices(case: tuple[Any, ...]) -> None:
    space, genotype = case
    canonical = space.canonical(genotype)
    assert space.encode(space.decode(genotype)) == canonical == space.canonical(canonical)
    absent = set(range(len(genotype))) - {i for i, c in enumerate(space.choices) if c.name in present(space, genotype)}
    assert all(canonical[i] == (0 if i in absent else genotype[i]) for i in range(len(genotype)))


@given(spaces_and_genotypes(), st.integers(0, 2**32 - 1))
def test_mutation_stays_inside_and_changes_one_active_choice(case: tuple[Any, ...], seed: int) -> None:
    space, genotype = case
    if space.size == 1:
        with pytest.raises(InputError, match="cannot be mutated"):
            space.mutate(genotype, np.random.default_rng(seed))
        return
    before, after = space.canonical(genotype), space.mutate(genotype, np.random.default_rng(seed))
    assert space.contains(after) and after == space.canonical(after)
    assert space.decode(after) != space.decode(before)
    old, new = space.values(before), space.values(after)
    assert sum(old[name] != new[name] for name in old.keys() & new.keys()) == 1
    changed = [i for i in range(len(before)) if before[i] != after[i]]
    parents = {choice.condition.parent for choice in space.choices if choice.condition}
    if space.choices[changed[0]].name not in parents:
        assert len(changed) == 1


@given(spaces_and_genotypes(genotypes=2), st.integers(0, 2**32 - 1))
def test_crossover_takes_every_value_from_a_parent(case: tuple[Any, ...], seed: int) -> None:
    space, a, b = case
    child = space.crossover(a, b, np.random.default_rng(seed))
    assert space.contains(child) and child == space.canonical(child)
    parents = [space.values(a), space.values(b)]
    for name, value in space.values(child).items():
        assert value in [values[name] for values in parents if name in values]


def test_crossover_mixes_both_parents_evenly() -> None:
    space = space_of(*[Choice(f"c{i}", (0, 1)) for i in range(10)])
    rng = np.random.default_rng(0)
    children = np.array([space.crossover((0,) * 10, (1,) * 10, rng) for _ in range(400)])
    assert np.all(np.abs(children.mean(axis=0) - 0.5) < 0.12)


@given(spaces_and_genotypes())
def test_neighbours_are_all_members_one_choice_away(case: tuple[Any, ...]) -> None:
    space, genotype = case
    center, active = space.canonical(genotype), present(space, genotype)
    expected = set()
    for i, choice in enumerate(space.choices):
        for gene in range(len(choice.options)):
            if choice.name in active and gene != center[i]:
                expected.add(space.canonical((*center[:i], gene, *center[i + 1 :])))
    found = [tuple(row) for row in space.neighbours(genotype).tolist()]
    assert set(found) == expected and len(found) == len(expected)


@given(spaces(), st.floats(-1000, 1000), st.integers(0, 2**32 - 1))
def test_samples_are_canonical_members_at_any_tilt(space: SearchSpace[Row], tilt: float, seed: int) -> None:
    for genotypes in (space.sample(np.random.default_rng(seed), 20, t) for t in (0.0, tilt, np.full(20, tilt))):
        assert genotypes.shape == (20, len(space.choices))
        assert all(space.contains(tuple(row)) for row in genotypes.tolist())
        assert np.array_equal(genotypes, space.canonical_batch(genotypes))


@pytest.mark.parametrize("tilt", [-6.0, -1.0, 0.0, 2.0])
@pytest.mark.parametrize("options", [1, 2, 7])
def test_tilt_weights_options_exponentially(tilt: float, options: int) -> None:
    space = space_of(Choice("c", tuple(range(options))))
    draws = space.sample(np.random.default_rng(1), 40_000, tilt)[:, 0]
    weights = np.exp(tilt * (np.arange(options) / max(options - 1, 1) - 0.5))
    assert np.abs(np.bincount(draws, minlength=options) / 40_000 - weights / weights.sum()).max() < 0.012


def test_each_draw_may_have_its_own_tilt() -> None:
    space = space_of(Choice("c", tuple(range(5))))
    draws = space.sample(np.random.default_rng(2), 2000, np.repeat([-200.0, 200.0], 1000))[:, 0]
    assert np.all(draws[:1000] == 0) and np.all(draws[1000:] == 4)


def test_the_same_seed_gives_the_same_draws() -> None:
    first, second = (NESTED.sample(np.random.default_rng(3), 50) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, NESTED.sample(np.random.default_rng(4), 50))


def test_mutation_reaches_every_member() -> None:
    rng, seen = np.random.default_rng(5), set()
    genotype: Genotype = (0, 0, 0, 0)
    for _ in range(2000):
        genotype = NESTED.mutate(genotype, rng)
        seen.add(genotype)
    assert len(seen) == NESTED.size


def test_one_hot_gives_an_absent_choice_a_slot_of_its_own() -> None:
    encoded = TABLE.one_hot(np.array([[2, 0, 0], [0, 2, 1]]))
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [[0, 0, 1, 1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 1, 0, 1, 0]]


@given(spaces())
def test_one_hot_tells_all_members_apart(space: SearchSpace[Row]) -> None:
    members = np.unique(space.canonical_batch(np.array(every_genotype(space))), axis=0)
    encoded = space.one_hot(members)
    assert len(np.unique(encoded, axis=0)) == len(members) == space.size
    assert np.all(encoded.sum(axis=1) == len(space.choices))


def test_a_space_of_named_functions_can_be_sent_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(TABLE)) == TABLE


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        ((0, 0), "must be integers of shape"),
        ((0.5, 0, 0), "must be integers of shape"),
        ((0, 3, 0), r"table: layers: 3 must be an index from 0 to 2"),
        ((-1, 0, 0), r"table: operation: -1 must be an index from 0 to 2"),
    ],
)
def test_a_wrong_genotype_is_named(genotype: Any, message: str) -> None:
    assert not TABLE.contains(genotype)
    with pytest.raises(InputError, match=message):
        TABLE.decode(genotype)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((("operation", "fly"), ("layers", 1)), "operation: 'fly' must be one of skip, pool, convolve"),
        ((("operation", "skip"),), "is not an architecture of the space"),
        ((("operation", "skip"), ("layers", 1), ("second", 3)), "is not an architecture of the space"),
        ((("operation", "skip"), ("layers", 2)), "is not an architecture of the space"),
    ],
)
def test_what_is_no_member_cannot_be_encoded(row: Row, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TABLE.encode(row)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: space_of(), "must have at least one choice"),
        (lambda: Choice("a", ()), "must offer at least one option"),
        (lambda: Choice("a", (1, 2, 1)), "a: 1 is an option twice"),
        (lambda: space_of(Choice("a", (1,)), Choice("a", (2,))), "'a' is declared twice"),
        (lambda: space_of(Choice("b", (1,), Condition("a", 1))), "must be a choice declared earlier"),
        (lambda: space_of(Choice("a", (1, 2)), Choice("b", (1,), Condition("a", 3))), "is never reached by a"),
        (lambda: space_of(Choice("a", (1, 2)), Choice("b", (1,), Condition("a", "x"))), "cannot be compared"),
    ],
)
def test_a_wrong_declaration_is_named(declare: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        declare()
    assert "\n" not in str(error.value)
