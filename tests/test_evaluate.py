"""Test evaluation in each mode against the model called by hand, and the command on real files."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import re
from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from painted import encode_painted

from movinet.data.proxy.moving_digits import TINY, Counts, moving_digits
from movinet.evaluate import evaluate, main
from movinet.model.keras_model import build, build_ensemble
from movinet.training.config.experiment import DataConfig
from search_space.architecture import Architecture, Block, Clip, Head, Layer, Stem
from search_space.base.errors import InputError
from search_space.variant import STREAM

CLASSES = TINY.classes
SMALL = Architecture(Clip(6, 24, 2), Stem(8), (Block(8, 2, (Layer(16, (3, 3, 3)),)),), Head(project=16, dense=16))
COUNT = 30


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def digits(**changes: object) -> DataConfig:
    plain = DataConfig(
        file_type="moving_digits",
        input_path="tiny",
        split="test",
        num_examples=COUNT,
        num_classes=CLASSES,
        feature_shape=(6, 24, 24, 3),
        temporal_stride=2,
        min_image_size=24,
        global_batch_size=13,
        dtype="bfloat16",
    )
    return dataclasses.replace(plain, **changes)


def sharpened(model: keras.Model) -> keras.Model:
    """Change the weights so that outputs differ between examples; with initial weights they hardly do."""
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable + rng.normal(0, 0.3, variable.shape))
    return model


def small() -> keras.Model:
    return sharpened(build(SMALL, CLASSES))


def clips(frames: slice = slice(2, 14, 2)) -> np.ndarray:
    """Return the middle clips of the test split, in 0..1."""
    return moving_digits(TINY, Counts(train=1, validation=1, test=COUNT)).test.clips[:, frames] / np.float32(255)


def probabilities(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return tf.nn.softmax(model(x)).numpy()


def test_a_clip_is_predicted_as_the_model_does():
    model = small()
    found, expected = evaluate(model, digits()), probabilities(model, clips())
    labels = moving_digits(TINY, Counts(train=1, validation=1, test=COUNT)).test.labels
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    assert np.array_equal(found.labels, labels) and found.names[:2] == ["test 0", "test 1"]
    assert found.top1 == (found.probabilities.argmax(axis=1) == labels).mean()
    assert found.confusion.sum() == COUNT and found.confusion.trace() == round(found.top1 * COUNT)
    assert found.loss == pytest.approx(
        float(keras.losses.sparse_categorical_crossentropy(labels, expected).numpy().mean()), rel=1e-3
    )
    assert [point.row() for point in found.curve] == [{"frames": 6, "top1": found.top1, "top5": found.top5}]


def test_views_are_averaged_as_probabilities():
    data = digits(feature_shape=(6, 20, 20, 3), num_test_clips=3, num_test_crops=3, temporal_stride=1)
    model = sharpened(build(SMALL, CLASSES, input_shape=(6, 20, 20)))
    found = evaluate(model, data, "multi")
    views = [
        probabilities(model, clips(slice(first, first + 6))[:, :, top : top + 20, :20])
        for top, first in itertools.product((0, 2, 4), (0, 5, 10))
    ]
    np.testing.assert_allclose(found.probabilities, np.mean(views, axis=0), atol=1e-4)
    rows = {(point.row()["crops"], point.row()["clips"]): point for point in found.curve}
    assert list(rows) == [(1, 1), (1, 2), (1, 3), (3, 1), (3, 2), (3, 3)]
    middle, ends = views[4], np.mean([views[3], views[5]], axis=0)
    for key, expected in (((1, 1), middle), ((1, 2), ends)):
        assert rows[key].top1 == (expected.argmax(axis=1) == found.labels).mean()
    assert rows[(3, 3)].top1 == found.top1


def test_several_views_are_the_default_of_their_mode():
    found = evaluate(small(), digits(num_examples=3), "multi")
    assert (found.data.num_test_clips, found.data.num_test_crops) == (10, 3)
    assert len(found.curve) == 20 and len(found.labels) == 3


def test_a_stream_is_followed_frame_by_frame():
    model = sharpened(build(SMALL, CLASSES, variant=STREAM, input_shape=(None, 24, 24)))
    found = evaluate(model, digits(), "stream")
    np.testing.assert_allclose(found.probabilities, probabilities(model, clips()), atol=1e-4)
    assert [point.row()["frames"] for point in found.curve] == [1, 2, 3, 4, 5, 6]
    for seen in (1, 4):
        part = probabilities(model, clips()[:, :seen]).argmax(axis=1)
        assert found.curve[seen - 1].top1 == (part == found.labels).mean()
    assert found.curve[-1].top1 == found.top1
    with pytest.raises(InputError, match="not causal"):
        evaluate(small(), digits(), "stream")


def test_one_frame_is_the_middle_one():
    model = sharpened(build(SMALL, CLASSES, input_shape=(None, 24, 24)))
    found = evaluate(model, digits(), "frame")
    np.testing.assert_allclose(found.probabilities, probabilities(model, clips(slice(7, 8))), atol=1e-4)
    whole = evaluate(sharpened(build(SMALL, CLASSES)), digits(), "frame")  # also a model of whole clips
    np.testing.assert_allclose(whole.probabilities, found.probabilities, atol=1e-4)


def test_an_ensemble_is_evaluated_like_one_model():
    other = dataclasses.replace(SMALL, clip=Clip(12, 20, 1))
    model = sharpened(build_ensemble([SMALL, other], CLASSES))
    found = evaluate(model, digits(feature_shape=(12, 24, 24, 3), temporal_stride=1))
    np.testing.assert_allclose(found.probabilities, probabilities(model, clips(slice(2, 14))), atol=1e-4)
    with pytest.raises(InputError, match="single networks"):
        evaluate(model, digits(), "frame")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return an experiment on a folder of videos, one of them damaged, and a checkpoint of its network."""
    root = tmp_path_factory.mktemp("run")
    for split, label, n in itertools.product(("train", "test"), ("jump, high", "run"), range(2)):
        times = [Fraction(frame, 30) for frame in range(12)]
        encode_painted(root / "videos" / split / label / f"{n}.mp4", "libx264", times, 30)
    (root / "videos" / "test" / "run" / "0.mp4").write_bytes(b"damaged")
    network = {
        "stem": {"filters": 8},
        "blocks": [{"base_filters": 8, "expand_filters": [16], "kernel_sizes": [[3, 3, 3]], "strides": [[1, 2, 2]]}],
        "head": {"project_filters": 16, "head_filters": 16},
    }
    stream = {"causal": True, "conv_type": "2plus1d", "se_type": "2plus3d", "gating_activation": "hard_sigmoid"}
    shared = {"file_type": "video_folder", "input_path": str(root / "videos"), "num_classes": 2, "min_image_size": 32}
    clip = {"feature_shape": [4, 32, 32, 3], "temporal_stride": 2, "global_batch_size": 2}
    experiment = {
        "runtime": {"mixed_precision_dtype": "float32", "distribution_strategy": "one_device"},
        "task": {
            "model": {"backbone": {"movinet": {**network, **stream, "activation": "hard_swish"}}, "num_classes": 2},
            "train_data": {**shared, **clip},
            "validation_data": {**shared, **clip, "split": "test"},
        },
    }
    (root / "experiment.yaml").write_text(json.dumps(experiment))
    architecture = dataclasses.replace(SMALL, clip=Clip(4, 32, 2))
    model = sharpened(build(architecture, 2, variant=dataclasses.replace(STREAM, classifier_activation="swish")))
    tf.train.Checkpoint(model=model).write(str(root / "ckpt-1"))
    return root, root / "ckpt-1"


def flags(run: tuple[Path, Path], out: Path, mode: str, *more: str) -> list[str]:
    folder, weights = run
    return [
        f"--config_file={folder / 'experiment.yaml'}",
        f"--checkpoint={weights}",
        f"--out={out}",
        f"--mode={mode}",
        *more,
    ]


@pytest.mark.parametrize(("mode", "points"), [("clip", 1), ("multi", 6), ("stream", 4), ("frame", 1)])
def test_the_command_writes_what_it_found(run, tmp_path, capsys, mode, points):
    more = ["--params_override=task.validation_data.num_test_clips=3,task.validation_data.num_test_crops=3"]
    assert main(flags(run, tmp_path / "out", mode, *(more if mode == "multi" else []))) == 0
    assert capsys.readouterr().out.startswith("3 examples in ")
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    low, high = found["top1_interval"]
    assert 0 <= low < found["top1"] < high <= 1 or found["top1"] in (0, 1)
    assert found["chance"] == pytest.approx(2 / 3)
    assert found["mode"] == mode and found["examples"] == 3 and len(found["curve"]) == points
    assert list(found["unusable"]) == ["test/run/0.mp4"]
    assert [(row["name"], row["examples"]) for row in found["classes"]] == [("jump, high", 2), ("run", 1)]
    assert found["curve"][-1]["top1"] == found["top1"] and found["top5"] is None
    assert np.sum(found["confusion"]) == 3 and found["checkpoint"].endswith("ckpt-1")
    table = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines()))
    assert [row["example"] for row in table] == ["test/jump, high/0.mp4", "test/jump, high/1.mp4", "test/run/1.mp4"]
    assert sum(row["label"] == row["predicted"] for row in table) == round(3 * found["top1"])
    assert all(float(row["probability_1"]) + float(row["probability_2"]) == pytest.approx(1, abs=1e-4) for row in table)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["evaluation.json", "predictions.csv"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--mode=clips"], "--mode: 'clips' must be one of clip, multi, stream, frame"),
        (["--mode"], "movinet.evaluate: .*expected one argument"),
        (["--checkpoint="], "--checkpoint: '' must name the weights"),
        (["--checkpoint=nowhere"], "nowhere"),
        (["--config_file=nowhere.yaml"], "nowhere.yaml"),
        (["--mode=stream", "--params_override=task.model.backbone.movinet.causal=false"], "error: "),
        (["--params_override=task.validation_data.input_path=nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, capsys, more, message):
    assert main([*flags(run, tmp_path / "out", "clip"), *more]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1 and "Traceback" not in lines
    assert re.search(message, lines[-1])
    assert not (tmp_path / "out").exists()


def test_another_evaluation_is_not_replaced(run, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "evaluation.json").write_text("{}")
    assert main(flags(run, tmp_path / "out", "clip")) == 2
    assert "already holds an evaluation; choose another folder" in capsys.readouterr().err
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["{}"]
