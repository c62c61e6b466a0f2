"""The supernet against stand-alone candidates with the same weights."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from movinet.model.specs import StemSpec, bottlenecks, head_spec
from movinet.proxy.engine import Engine, FusedEngine, TensorFlowEngine
from movinet.proxy.recipe import Recipe
from movinet.proxy.supernet import Supernet, specs_of
from search_space.architecture import Architecture
from search_space.base.errors import InputError
from search_space.space.movinet import BlockConfig, SpaceConfig, movinet_space

CLASSES, CLIPS = 5, 4
KERNELS = ((1, 3, 3), (3, 3, 3))
CONFIG = SpaceConfig(
    name="small",
    classes=CLASSES,
    frames=4,
    frame_strides=(2, 1),
    resolutions=(8, 12),
    stem_widths=(8,),
    blocks=(
        BlockConfig(8, (8, 16), 2, (1, 2), KERNELS, (1.5, 3.0)),
        BlockConfig(16, (16, 24), 1, (1,), KERNELS, (1.0, 2.0)),
    ),
    project=(16, 24),
    dense=16,
)
SPACE = movinet_space(CONFIG)
RECIPE = Recipe(10, learning_rate=0.01, weight_decay=0.1, norm_momentum=0.8, rezero=0.5)


@pytest.fixture(scope="module", params=[FusedEngine, lambda: TensorFlowEngine(None)], ids=["fused", "tensorflow"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param()


def decoded(genes) -> Architecture:
    return SPACE.decode(SPACE.canonical(tuple(int(gene) for gene in genes)))


LARGEST = decoded(SPACE.options - 1)
SMALLEST = decoded(np.zeros(len(SPACE.choices)))
MEMBERS = [decoded(genes) for genes in SPACE.sample(np.random.default_rng(3), 3)]


def batch(engine: Engine, architecture: Architecture, seed: int = 0):
    rng, clip = np.random.default_rng(seed), architecture.clip
    shape = (clip.frames, CLIPS, clip.resolution, clip.resolution, 3)
    frames = engine.frames(rng.integers(0, 256, shape, np.uint8), clip.resolution)
    return frames, engine.labels(rng.integers(0, CLASSES, CLIPS))


def copied(supernet: Supernet) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in supernet.arrays().items()}


@pytest.mark.parametrize("architecture", [LARGEST, SMALLEST, *MEMBERS], ids=lambda a: a.fingerprint)
def test_steps_equal_those_of_a_stand_alone_candidate(engine: Engine, architecture: Architecture) -> None:
    supernet = Supernet(engine, CONFIG, RECIPE, seed=0)
    states, rng = supernet.network(architecture).states(), np.random.default_rng(1)
    candidate = engine.network(architecture, CLASSES, RECIPE, states, rng, 0)
    for seed in range(3):
        frames, labels = batch(engine, architecture, seed)
        assert supernet.step(architecture, frames, labels)[0] == float(candidate.step(frames, labels))
    for own, shared in zip(candidate.states(), supernet.network(architecture).states(), strict=True):
        np.testing.assert_array_equal(own, shared)


def used_by(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the shape of every shared weight that an architecture uses, by its name in the store."""
    specs = {"stem": StemSpec(architecture.stem.width), **dict(bottlenecks(architecture))}
    found = {}
    for place, spec in (specs | {"head": head_spec(architecture, CLASSES)}).items():
        for weight in spec.weights():
            own = weight.name.startswith("depthwise")
            suffix = f"_{'x'.join(map(str, spec.kernel))}" if own else ""
            found[f"{place}/{weight.name}{suffix}"] = weight.shape
    return found


def test_what_a_member_does_not_use_stays_as_it_is(engine: Engine) -> None:
    supernet = Supernet(engine, CONFIG, RECIPE, seed=0)
    supernet.step(LARGEST, *batch(engine, LARGEST))  # moments are no longer all zero
    before = copied(supernet)
    supernet.step(SMALLEST, *batch(engine, SMALLEST))
    used = used_by(SMALLEST)
    assert before.keys() - used.keys()
    for name, value in supernet.arrays().items():
        corner = np.zeros(value.shape, bool)
        if name in used:
            corner[(slice(None), *map(slice, used[name]))] = True
            assert (value[corner] != before[name][corner]).any()
        np.testing.assert_array_equal(value[~corner], before[name][~corner])


def test_every_member_fits_in_the_store_and_nothing_in_it_is_larger(engine: Engine) -> None:
    largest: dict[str, tuple[int, ...]] = {}
    for genes in SPACE.sample(np.random.default_rng(0), 2000):
        for name, shape in used_by(decoded(genes)).items():
            largest[name] = tuple(np.maximum(shape, largest.get(name, 0)).tolist())
    arrays = Supernet(engine, CONFIG, RECIPE, seed=0).arrays()
    assert largest == {name: value.shape[1:] for name, value in arrays.items()}


def test_the_forms_of_every_layer_are_those_of_the_members() -> None:
    specs = specs_of(CONFIG)
    seen: dict[str, set] = {place: set() for place in specs}
    for genes in SPACE.sample(np.random.default_rng(1), 5000):
        for place, spec in bottlenecks(decoded(genes)):
            seen[place].add(spec)
    assert {place: set(forms) for place, forms in specs.items() if place not in ("stem", "head")} == {
        place: forms for place, forms in seen.items() if place not in ("stem", "head")
    }


def test_recalibrated_statistics_are_the_mean_of_the_batches(engine: Engine) -> None:
    supernet = Supernet(engine, CONFIG, RECIPE, seed=0)
    member, found = supernet.network(LARGEST), []
    before = copied(supernet)
    batches = [(batch(engine, LARGEST, seed)[0], CLIPS) for seed in range(3)]
    for each in batches:
        member.recalibrate([each])
        found.append(member.moving_statistics())
    member.recalibrate(batches)
    for layer, statistics in enumerate(member.moving_statistics()):
        np.testing.assert_allclose(statistics, np.mean([each[layer] for each in found], axis=0), rtol=1e-4, atol=1e-5)
    for name, value in supernet.arrays().items():
        np.testing.assert_array_equal(value, before[name])


def test_logits_by_the_statistics_of_a_batch_are_those_of_training(engine: Engine) -> None:
    """Both agree, except that the head's last norm is evaluated with the unbiased variance."""
    supernet = Supernet(engine, CONFIG, RECIPE, seed=0)
    frames, labels = batch(engine, LARGEST)
    logits = np.asarray(supernet.network(LARGEST).batch_logits(frames, CLIPS))
    right = logits[np.arange(CLIPS), np.asarray(labels)]
    losses = np.log(np.exp(logits).sum(axis=1)) - right
    assert losses.mean() == pytest.approx(supernet.step(LARGEST, frames, labels)[0], rel=0.02)


def test_a_candidate_trains_on_as_if_it_had_not_been_recalibrated(engine: Engine) -> None:
    plain, looked_at = (engine.candidate(SMALLEST, CLASSES, RECIPE, 2) for _ in range(2))
    for seed in range(3):
        looked_at.recalibrate([(batch(engine, SMALLEST, 9)[0], CLIPS)])
        for each in (plain, looked_at):
            each.step(*batch(engine, SMALLEST, seed))
    for own, other in zip(plain.states(), looked_at.states(), strict=True):
        np.testing.assert_array_equal(own, other)


def test_restored_it_goes_on_as_before(engine: Engine) -> None:
    drop = Recipe(10, stochastic_depth=0.5, rezero=0.5)
    unbroken, restored = (Supernet(engine, CONFIG, drop, seed=4) for _ in range(2))
    unbroken.step(LARGEST, *batch(engine, LARGEST))
    restored.restore(copied(unbroken), unbroken.steps_done)
    for supernet in (unbroken, restored):
        supernet.step(LARGEST, *batch(engine, LARGEST, 1))
    for name, value in unbroken.arrays().items():
        np.testing.assert_array_equal(value, restored.arrays()[name])


def test_no_new_function_is_traced_for_it() -> None:
    engine = TensorFlowEngine(None)
    for architecture in (LARGEST, SMALLEST):
        engine.candidate(architecture, CLASSES, RECIPE, 0)
    known = len(engine.compiler)
    supernet = Supernet(engine, CONFIG, RECIPE, seed=0)
    for architecture in (LARGEST, SMALLEST):
        supernet.step(architecture, *batch(engine, architecture))
    assert len(engine.compiler) == known


def test_what_is_beyond_it_is_refused(engine: Engine) -> None:
    supernet = Supernet(engine, CONFIG, RECIPE, seed=0)
    wider = movinet_space(SpaceConfig(**{**vars(CONFIG), "project": (32,)}))
    deeper = movinet_space(SpaceConfig(**{**vars(CONFIG), "blocks": CONFIG.blocks[:1] + CONFIG.blocks[:1] * 2}))
    for space in (wider, deeper):
        with pytest.raises(InputError, match="supernet"):
            supernet.network(space.decode(space.canonical(tuple((space.options - 1).tolist()))))
    with pytest.raises(InputError, match="supernet"):
        supernet.restore({"stem/conv": np.zeros(3)}, 0)


def test_first_weights_have_the_deviation_of_their_fan_in(engine: Engine) -> None:
    wide = SpaceConfig(**{**vars(CONFIG), "dense": 2000, "project": (400,)})
    store = Supernet(engine, wide, RECIPE, seed=0).store
    assert store["head"]["dense"][0].std() == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    assert not any(value[1:].any() for weights in store.values() for value in weights.values())
    for first, second in itertools.combinations((store[f"block1_layer{j}"]["expand"] for j in (1, 2)), 2):
        assert (first[0, :8, :8] != second[0, :8, :8]).all()
