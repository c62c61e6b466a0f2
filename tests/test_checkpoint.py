"""Test weights in files: every format is written and read again, and mismatches are reported."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import drawn_weights
import keras
import numpy as np
import pytest
import tensorflow as tf
from release_cases import CLASSES, RECORDED, TINY

from movinet.model.keras_model import build, build_ensemble
from movinet.weights.checkpoint import load_weights, named_variables, save_weights
from search_space.base.errors import InputError
from search_space.variant import BASE, STREAM, Variant

RELEASED = RECORDED / "release_tiny"  # written by the Model Garden: TINY as a stream model, with drawn weights
POSITIONED = dataclasses.replace(STREAM, use_positional_encoding=True)
UNGATED = Variant(conv_type="2plus1d", se_type="none")
FORMS = ("model.keras", "model.weights.h5", "ckpt-1")


def tiny(classes: int = CLASSES, variant: Variant = STREAM, seed: int = 0, **options: float) -> keras.Model:
    return build(TINY, classes, variant=variant, seed=seed, **options)


def unsettled(model: keras.Model) -> keras.Model:
    """Return the same model with no weight at its initial value."""
    for name, variable in named_variables(model).items():
        variable.assign(drawn_weights.values("unsettled", name, variable.shape))
    return model


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in named_variables(model).items()}


def assert_equal(model: keras.Model, expected: dict[str, np.ndarray], besides: tuple[str, ...] = ()) -> None:
    found = values(model)
    assert found.keys() == expected.keys()
    for name in found:
        assert np.array_equal(found[name], expected[name]) != name.startswith(besides or "nothing"), name


@pytest.mark.parametrize("variant", [BASE, STREAM, POSITIONED, UNGATED], ids=["base", "stream", "positions", "no gate"])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_read(form: str, variant: Variant, tmp_path: Path) -> None:
    written = unsettled(tiny(variant=variant))
    save_weights(written, tmp_path / "new" / form)
    model = tiny(variant=variant, seed=1)
    load_weights(model, tmp_path / "new" / form)
    assert_equal(model, values(written))
    assert len(values(model)) == len(model.weights)
    assert not list(tmp_path.rglob(".unfinished*"))


def test_what_was_trained_as_3d_2plus1d_runs_as_2plus1d(tmp_path: Path) -> None:
    trained = unsettled(tiny(variant=dataclasses.replace(STREAM, conv_type="3d_2plus1d")))
    save_weights(trained, tmp_path / "ckpt-1")
    model = tiny()
    load_weights(model, tmp_path / "ckpt-1")
    assert_equal(model, values(trained))


@pytest.mark.parametrize("form", FORMS)
def test_an_ensemble_and_one_member_of_it(form: str, tmp_path: Path) -> None:
    written = unsettled(build_ensemble([TINY, TINY], CLASSES))
    save_weights(written, tmp_path / form)
    model = build_ensemble([TINY, TINY], CLASSES, seed=5)
    load_weights(model, tmp_path / form)
    assert_equal(model, values(written))

    member = written.get_layer("member2")
    save_weights(member, tmp_path / f"member-{form}")
    load_weights(model.get_layer("member1"), tmp_path / f"member-{form}")
    np.testing.assert_array_equal(
        model.get_layer("member1").get_layer("head").weights[0], member.get_layer("head").weights[0]
    )


def test_a_whole_model_is_made_again_from_its_file(tmp_path: Path) -> None:
    written = unsettled(tiny())
    save_weights(written, tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert_equal(again, values(written))
    clips = drawn_weights.clips("again", again.input_shape[1:])[None]
    np.testing.assert_array_equal(again(clips), written(clips))


def test_training_goes_on_from_a_checkpoint_of_tensorflow(tmp_path: Path) -> None:
    model = unsettled(tiny(dropout=0.5, stochastic_depth=0.5))
    optimizer = keras.optimizers.RMSprop()
    optimizer.build(model.trainable_variables)
    model(np.ones((1, *model.input_shape[1:]), np.float32), training=True)
    prefix = tf.train.Checkpoint(model=model, optimizer=optimizer).save(str(tmp_path / "ckpt"))

    again = tiny(dropout=0.5, stochastic_depth=0.5, seed=1)
    tf.train.Checkpoint(model=again).restore(prefix).assert_existing_objects_matched().expect_partial()
    assert_equal(again, values(model))
    clip = np.ones((1, *model.input_shape[1:]), np.float32)
    np.testing.assert_array_equal(again(clip, training=True), model(clip, training=True))  # the same draws

    fresh = tiny(seed=2)
    load_weights(fresh, tmp_path)
    load_weights(fresh, prefix)
    expected = values(fresh)
    load_weights(again, prefix)
    assert_equal(again, expected)


@pytest.mark.parametrize("path", [".", "ckpt-1", "ckpt-1.index", "ckpt-1.data-00000-of-00001"])
def test_a_released_checkpoint_by_folder_prefix_or_file(path: str) -> None:
    model = tiny()
    load_weights(model, RELEASED / path)
    places = [layer.name for layer in model.layers if layer.weights]
    for name, variable in named_variables(model).items():
        place, _, own = name.partition("/")
        number = place if place in ("stem", "head") else str(places.index(place))
        np.testing.assert_array_equal(variable, drawn_weights.values("tiny", f"{number}/{own}", variable.shape))


@pytest.mark.parametrize(
    ("part", "kept"),
    [("features", ("head/classifier",)), ("backbone", ("head/classifier", "head/dense"))],
)
@pytest.mark.parametrize("form", [*FORMS, "released"])
def test_other_classes_keep_the_layers_that_are_theirs(
    form: str, part: str, kept: tuple[str, ...], tmp_path: Path
) -> None:
    source = tiny()
    load_weights(source, RELEASED)
    path = RELEASED
    if form != "released":
        path = tmp_path / form
        save_weights(source, path)
    model = tiny(classes=3, seed=1)
    before = values(model)
    load_weights(model, path, part)
    expected = values(source) | {name: value for name, value in before.items() if name.startswith(kept)}
    assert_equal(model, expected)


@pytest.mark.parametrize("form", [*FORMS, "released"])
def test_other_classes_are_named_with_the_remedy(form: str, tmp_path: Path) -> None:
    path = RELEASED
    if form != "released":
        path = tmp_path / form
        save_weights(tiny(), path)
    model = tiny(classes=3)
    before = values(model)
    with pytest.raises(InputError, match="of another shape.*head/classifier .*here.*part 'features'"):
        load_weights(model, path)
    assert_equal(model, before)


@pytest.mark.parametrize("form", [*FORMS, "released"])
def test_what_differs_is_listed_sorted_and_nothing_is_loaded(form: str, tmp_path: Path) -> None:
    path = RELEASED
    if form != "released":
        path = tmp_path / form
        save_weights(tiny(), path)
    model = tiny(variant=dataclasses.replace(BASE, se_type="2plus3d"))
    before = values(model)
    with pytest.raises(InputError) as caught:
        load_weights(model, path)
    assert_equal(model, before)
    message = str(caught.value)
    assert "\n" not in message
    assert "missing" not in message
    temporal = [f"block{i}_layer1/temporal{part}" for i in (2, 3, 4) for part in (
        "", "_beta", "_gamma", "_moving_mean", "_moving_variance")]  # fmt: skip
    assert f"15 only in the file ({', '.join(temporal[:6])}, and 9 more)" in message
    assert "3 of another shape (block2_layer1/depthwise (1, 3, 3, 16), here (3, 3, 3, 16)" in message.replace(
        "(3, 3, 16, 1)", "(1, 3, 3, 16)"
    )


def test_what_is_missing_is_listed() -> None:
    with pytest.raises(
        InputError, match=r"5 missing in the file \(block1_layer1/positional, block2_layer1/positional,"
    ):
        load_weights(tiny(variant=POSITIONED), RELEASED)


def test_a_released_checkpoint_of_another_depth() -> None:
    blocks = (*TINY.blocks[:4], dataclasses.replace(TINY.blocks[4], layers=TINY.blocks[4].layers * 2))
    deeper = build(dataclasses.replace(TINY, blocks=blocks), CLASSES, variant=STREAM)
    with pytest.raises(InputError, match=r"missing in the file \(block5_layer2/"):
        load_weights(deeper, RELEASED)
    shallow = build(dataclasses.replace(TINY, blocks=TINY.blocks[:4]), CLASSES, variant=STREAM)
    with pytest.raises(InputError, match=r"only in the file \(layer5/"):
        load_weights(shallow, RELEASED)


def test_paths_that_are_no_weights(tmp_path: Path) -> None:
    model = tiny()
    (tmp_path / "empty").mkdir()
    shutil.copytree(RELEASED, tmp_path / "two")
    for file in RELEASED.glob("ckpt-1.*"):
        shutil.copy(file, tmp_path / "two" / file.name.replace("ckpt-1", "ckpt-2"))
    (tmp_path / "two" / "checkpoint").unlink(missing_ok=True)
    shutil.copytree(RELEASED, tmp_path / "cut")
    data = tmp_path / "cut" / "ckpt-1.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    (tmp_path / "not.keras").write_bytes(b"not a zip file")
    (tmp_path / "not.weights.h5").write_bytes(b"not an HDF5 file")
    other = keras.Sequential([keras.Input((2,)), keras.layers.Flatten()])
    other.save(tmp_path / "other.keras")
    tf.train.Checkpoint(value=tf.Variable(1.0)).write(str(tmp_path / "value"))
    for path, said in (
        ("absent", "is not a .keras or .weights.h5 file, nor a TensorFlow checkpoint"),
        ("absent.keras", "is not a .keras or .weights.h5 file, nor a TensorFlow checkpoint"),
        ("empty", "must hold one TensorFlow checkpoint; it holds none"),
        ("two", "must hold one TensorFlow checkpoint; it holds ckpt-1, ckpt-2"),
        ("cut", "cannot be read as a checkpoint"),
        ("not.keras", "cannot be read as a Keras file"),
        ("not.weights.h5", "cannot be read as a Keras file"),
        ("other.keras", "does not fit the model"),
        ("value", "it holds no MoViNet"),
    ):
        with pytest.raises(InputError, match=re.escape(said)) as caught:
            load_weights(model, tmp_path / path)
        assert "\n" not in str(caught.value)
        assert str(tmp_path / path) in str(caught.value)
    with pytest.raises(InputError, match="part: 'head' must be one of all, features, backbone"):
        load_weights(model, RELEASED, "head")
