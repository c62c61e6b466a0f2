"""The same numbers as the TF Model Garden implementation for the same weights.

The default tests compare with recorded values, `tests/recorded/`; those marked `release` with an installed one:

    MOVINET_RELEASE_PYTHON=/path/to/release/bin/python make test ARGS="-m release"
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import drawn_weights
import keras
import numpy as np
import pytest
import tensorflow as tf
from published_figures import STREAM_PARAMETERS
from release_cases import (
    CLASSES,
    RECORDED,
    Case,
    further_cases,
    gradients_of,
    recorded_cases,
    released,
    summary,
)

from movinet.model.keras_model import build
from movinet.model.specs import Spec, StemSpec, bottlenecks, head_spec
from movinet.weights.checkpoint import load_weights, named_variables
from search_space.published import PUBLISHED
from search_space.variant import Variant, released_stream

ROUNDING = 1e-4  # relative to the largest logit


def model_of(case: Case) -> keras.Model:
    return build(case.architecture, CLASSES, variant=case.variant, input_shape=case.clip[1:])


def by_release_number(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the variables by the names for which `drawn_weights` draws: `stem/conv`, `3/expand`, `head/dense`."""
    places = [layer.name for layer in model.layers if layer.weights]
    numbered = {place: str(i) for i, place in enumerate(places)} | {"stem": "stem", "head": "head"}
    variables = named_variables(model)
    return {f"{numbered[name.partition('/')[0]]}/{name.partition('/')[2]}": v for name, v in variables.items()}


def with_drawn_weights(case: Case) -> keras.Model:
    model = model_of(case)
    for name, variable in by_release_number(model).items():
        variable.assign(drawn_weights.values(case.name, name, variable.shape))
    return model


def logits(case: Case, model: keras.Model) -> np.ndarray:
    return tf.function(model)(tf.constant(drawn_weights.clips(case.name, [*case.clip, 3]))).numpy()


def loss_and_gradients(case: Case, model: keras.Model) -> tuple[float, dict[str, np.ndarray]]:
    """Compute in training mode, with the batch's own statistics."""
    clips = tf.constant(drawn_weights.clips(case.name, [*case.clip, 3]))
    labels = drawn_weights.labels(case.name, len(clips), CLASSES)
    trainable = {name: variable for name, variable in by_release_number(model).items() if variable.trainable}

    @tf.function
    def step() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=model(clips, training=True))
            loss = tf.reduce_mean(losses)
        return loss, tape.gradient(loss, [variable.value for variable in trainable.values()])

    loss, gradients = step()
    return float(loss), {name: g.numpy() for name, g in zip(trainable, gradients, strict=True)}


def has_gradient(name: str) -> bool:
    """Return False for the offset of a norm that is followed only by linear maps and another norm, which removes it."""
    return not name.endswith(("/project_beta", "/skip_beta")) or name == "head/project_beta"


def assert_same_gradients(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """Check each weight within 1e-3 of its norm; the ReZero scalars, sums that may cancel, as one vector."""
    assert found.keys() == expected.keys()
    total = np.sqrt(sum(np.sum(np.square(g)) for g in expected.values()))
    scalars = [name for name in found if name.endswith(("/rezero", "/positional"))]
    for own, other in (
        *(
            (found[name].ravel(), expected[name].ravel())
            for name in found
            if has_gradient(name) and name not in scalars
        ),
        (np.ravel([found[name] for name in scalars]), np.ravel([expected[name] for name in scalars])),
    ):
        assert np.linalg.norm(own - other) <= 1e-3 * np.linalg.norm(other)
    for name in filter(lambda name: not has_gradient(name), found):
        assert max(np.linalg.norm(found[name]), np.linalg.norm(expected[name])) < 1e-5 * total


@pytest.fixture(scope="module")
def recorded() -> Mapping[str, np.ndarray]:
    with np.load(RECORDED / "release_values.npz") as file:
        return dict(file)


@pytest.mark.parametrize("case", recorded_cases(), ids=lambda case: case.name)
def test_recorded_logits_and_gradients(case: Case, recorded: Mapping[str, np.ndarray]) -> None:
    model = with_drawn_weights(case)
    expected = recorded[f"{case.name}/logits"]
    np.testing.assert_allclose(logits(case, model), expected, rtol=0, atol=ROUNDING * np.abs(expected).max())
    if case.gradients:
        loss, gradients = loss_and_gradients(case, model)
        assert loss == pytest.approx(float(recorded[f"{case.name}/loss"]), rel=1e-5)
        norms, products = summary(case.name, gradients).T
        expected_norms, expected_products = recorded[f"{case.name}/gradients"].T
        real = np.array([has_gradient(name) and not name.endswith("/rezero") for name in sorted(gradients)])
        np.testing.assert_allclose(norms[real], expected_norms[real], rtol=1e-3)
        assert np.all(np.abs(products - expected_products)[real] <= 1e-3 * expected_norms[real])


def specs(name: str, variant: Variant) -> list[Spec]:
    network = PUBLISHED[name]
    inner = [spec for _, spec in bottlenecks(network, variant)]
    return [StemSpec(network.stem.width, variant), *inner, head_spec(network, 600, variant)]


@pytest.mark.parametrize("name", STREAM_PARAMETERS)
def test_stream_models_have_the_released_number_of_parameters(name: str) -> None:
    counted = specs(name, released_stream(name))
    trainable = sum(int(np.prod(weight.shape)) for spec in counted for weight in spec.weights())
    statistics = 2 * sum(channels for spec in counted for _, channels in spec.norms)
    assert (trainable, trainable + statistics) == STREAM_PARAMETERS[name]


# -- beside an installed Model Garden implementation ----------------------------------------------

ALL = [*recorded_cases(), *further_cases()]


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with Model Garden's values for every case; takes about half an hour."""
    python = os.environ.get("MOVINET_RELEASE_PYTHON")
    if not python:
        pytest.fail("MOVINET_RELEASE_PYTHON must name the Python of an environment with tf-models-official")
    folder = tmp_path_factory.mktemp("release")
    released(python, ALL, folder)
    return folder


@pytest.mark.release
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_checkpoint_of_the_release_is_the_same_network(case: Case, release: Path) -> None:
    with np.load(release / f"{case.name}.npz") as file:
        found = dict(file)
    model = model_of(case)
    trainable = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert [trainable, model.count_params()] == found["parameters"].tolist()

    load_weights(model, release / case.name)  # an error if a variable has no match
    for name, variable in by_release_number(model).items():
        np.testing.assert_array_equal(variable, drawn_weights.values(case.name, name, variable.shape))
    expected = found["logits"]
    np.testing.assert_allclose(logits(case, model), expected, rtol=0, atol=ROUNDING * np.abs(expected).max())
    if case.gradients:
        loss, gradients = loss_and_gradients(case, model)
        assert loss == pytest.approx(float(found["loss"]), rel=1e-5)
        expected_gradients = {name: g.reshape(gradients[name].shape) for name, g in gradients_of(found).items()}
        assert_same_gradients(gradients, expected_gradients)
