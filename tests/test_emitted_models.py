"""Test the use of emitted configs: each builds the model that was counted, and the small ones train."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from synthetic_run import run

from movinet.model.keras_model import build, build_ensemble
from results.family.emit import emit
from results.family.growth import FamilyConfig, scale_family
from results.family.parents import of_run
from search_space.network import Network, load
from search_space.scaling.compound import Factors

MODELS = ("a0", "a1", "a2", "a3", "a4", "a5", "a6")
LARGE = ("a3", "a4", "a5", "a6")
CLASSES = 7


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Network]:
    folder = tmp_path_factory.mktemp("run")
    config = FamilyConfig(classes=CLASSES, lift=Factors(depth=1.5, width=3.0, resolution=9.0, frames=3.0))
    family = scale_family(of_run(run(folder)), config)
    emit(family, folder / "configs")
    return {name: load(Path(folder) / "configs" / f"movinet_{name}.yaml") for name in MODELS}


def model_of(network: Network) -> keras.Model:
    if len(network.members) > 1:
        return build_ensemble(network.members, network.classes)
    return build(network.members[0], network.classes)


@pytest.mark.parametrize(
    "name", ["a0", "a2", *(pytest.param(f"a{i}", marks=pytest.mark.slow) for i in (1, 3, 4, 5, 6))]
)
def test_builds_with_the_recorded_parameters(emitted: dict[str, Network], name: str) -> None:
    network = emitted[name]
    model = model_of(network)
    trainable = sum(int(np.prod(v.shape)) for v in model.trainable_weights)
    assert trainable == network.cost["trainable_parameters"]
    assert model.count_params() == network.cost["total_parameters"]
    assert model.output_shape == (None, CLASSES)


def test_the_smallest_trains_a_step(emitted: dict[str, Network]) -> None:
    model = model_of(emitted["a0"])
    model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    clips = np.random.default_rng(0).random((1, *model.input_shape[1:]), np.float32)
    layers = [layer for layer in model.layers if layer.trainable_weights]
    before = [[v.numpy() for v in layer.trainable_weights] for layer in layers]
    assert np.isfinite(model.train_on_batch(clips, np.array([3])))
    # ReZero starts at zero, so in the first step only a bottleneck's scalar and skip change.
    for layer, old in zip(layers, before, strict=True):
        pairs = zip(old, layer.trainable_weights, strict=True)
        assert any((value != weight.numpy()).any() for value, weight in pairs), layer.name
