"""The trainer: loss, decayed and frozen variables, replicas, precision, checkpoints, and stopping."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_experiment import small

from movinet.evaluate import evaluate
from movinet.training.config.experiment import ExperimentConfig
from movinet.training.loop import Run
from movinet.training.task import CLASSIFIER_STD, Loss, build_model, decayed_kernels, trained_variables
from movinet.training.trainer import Diverged, Trainer
from movinet.weights.checkpoint import named_variables
from search_space.base.errors import InputError

ONE = tf.distribute.get_strategy()


def silent(line: str) -> None:
    """Discard a line of output."""


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in named_variables(model).items()}


def trainer(folder: Path, override: str = "", strategy: tf.distribute.Strategy = ONE) -> Trainer:
    return Trainer(small(folder, override), folder / "run", strategy, silent)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray], tolerance: float = 0.0) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=tolerance, atol=tolerance, err_msg=name)


# -- loss ---------------------------------------------------------------------------------------------


def test_the_loss_is_keras_cross_entropy_with_label_smoothing() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 12)).astype("f4")
    labels = np.array([0, 3, 11, 5, 5])
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)(np.eye(12)[labels], logits)
    found = Loss(12, 0.1, 0.0).cross_entropy(tf.constant(logits), tf.constant(labels))
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_l2_is_of_all_kernels_but_the_classifiers(tmp_path: Path) -> None:
    model = build_model(small(tmp_path))
    kernels = {"stem/conv", "head/project", "head/dense"}
    for i, j in ((1, 1), (2, 1), (2, 2)):
        kernels |= {f"block{i}_layer{j}/{name}" for name in ("expand", "depthwise", "squeeze", "excite", "project")}
    kernels |= {f"block{i}_layer1/skip" for i in (1, 2)}
    named = weights(model)
    squares = sum((named[name].astype(np.float64) ** 2).sum() for name in kernels)
    found = float(Loss(12, 0.1, 3e-5).l2(decayed_kernels(model)))
    assert len(decayed_kernels(model)) == len(kernels)
    assert found == pytest.approx(3e-5 / 2 * squares, rel=1e-5)


def test_without_one_hot_labels_nothing_is_smoothed(tmp_path: Path) -> None:
    off = "task.losses.one_hot=false,task.train_data.one_hot=false,task.validation_data.one_hot=false"
    assert Loss.of(small(tmp_path, off).task).label_smoothing == 0


def test_the_classifier_starts_small_and_by_the_seed(tmp_path: Path) -> None:
    first, again = weights(build_model(small(tmp_path))), weights(build_model(small(tmp_path)))
    same(first, again)
    kernel = first["head/classifier"]
    assert kernel.std() == pytest.approx(CLASSIFIER_STD, rel=0.15) and not first["head/classifier_bias"].any()
    other = weights(build_model(small(tmp_path, "trainer.seed=1")))
    assert (other["head/classifier"] != kernel).all() and (other["stem/conv"] != first["stem/conv"]).any()


# -- steps --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_replicas_train_as_one_does_on_the_whole_batch(tmp_path: Path) -> None:
    """Run in a separate process, whose CPU counts as two devices."""
    script = Path(__file__).parent / "two_replicas.py"
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["losses"][0] == pytest.approx(found["losses"][1], rel=1e-5)
    assert found["difference"] < 1e-4
    assert found["refusals"] == [
        "task.train_data.global_batch_size: 9 must be a multiple of the 2 replicas",
        "task.model.norm_activation.use_sync_bn: False is not supported: the 2 replicas have one norm",
    ]


@pytest.mark.parametrize("dtype", [pytest.param("bfloat16", marks=pytest.mark.slow), "float16"])
def test_mixed_precision_trains_with_float32_weights(tmp_path: Path, dtype: str) -> None:
    running = trainer(tmp_path, f"runtime.mixed_precision_dtype={dtype},task.train_data.dtype={dtype}")
    before = weights(running.model)
    progress = running.train(running.batches(), 2)
    full = trainer(tmp_path)
    assert progress.loss == pytest.approx(full.train(full.batches(), 2).loss, rel=0.05)
    after = weights(running.model)
    assert all(w.dtype == np.float32 for w in after.values())
    assert (after["head/classifier"] != before["head/classifier"]).any()
    assert keras.config.dtype_policy().name == "float32"


def test_a_frozen_backbone_stays_as_it_is(tmp_path: Path) -> None:
    running = trainer(tmp_path, "task.freeze_backbone=true")
    learned = {"head/dense", "head/dense_bias", "head/classifier", "head/classifier_bias"}
    assert {name for name, _ in trained_variables(running.model)} == learned
    before = weights(running.model)
    running.train(running.batches(), 3)
    changed = {name for name, w in weights(running.model).items() if (w != before[name]).any()}
    assert changed == learned  # moving statistics stay too


def test_a_loss_that_explodes_stops_the_training(tmp_path: Path) -> None:
    config = "trainer.optimizer_config"
    running = trainer(tmp_path, f"{config}.optimizer.type=sgd,{config}.learning_rate.cosine.initial_learning_rate=1e6")
    with pytest.raises(Diverged, match="the loss is (nan|inf) by step 6: lower the learning rate"):
        running.train(running.batches(), 6)
    running = trainer(tmp_path, "trainer.loss_upper_bound=0.5,trainer.recovery_begin_steps=2")
    assert running.train(running.batches(), 1).loss > 0.5


# -- checkpoints --------------------------------------------------------------------------------------


def test_a_restored_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Compare weights, slots, averages, statistics, randomness of dropout and stochastic depth, and the clips."""
    average = "trainer.optimizer_config.ema.average_decay=0.9"
    whole = trainer(tmp_path, average)
    iterator = whole.batches()
    whole.train(iterator, 2)
    path = whole.save()
    last = whole.train(iterator, 2)
    resumed = trainer(tmp_path, average)
    assert resumed.restore() == path and resumed.step == 2
    assert resumed.train(resumed.batches(), 2).loss == last.loss
    same(weights(whole.model), weights(resumed.model))
    for running in (whole, resumed):
        running.swap_averages()
    same(weights(whole.model), weights(resumed.model))


def test_a_foreign_or_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    running = trainer(tmp_path)
    path = running.save()
    data = Path(path + ".data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(InputError, match="is not a checkpoint of this experiment") as caught:
        running.restore()
    assert "\n" not in str(caught.value)


def test_weights_to_begin_with(tmp_path: Path) -> None:
    first = trainer(tmp_path)
    for variable in first.model.weights:
        variable.assign(variable + 0.01)
    path = first.save()
    for part, kept in (("all", set()), ("backbone", {"head/dense", "head/dense_bias", "head/classifier"})):
        override = f"task.init_checkpoint={path},task.init_checkpoint_modules={part},trainer.seed=5"
        second = Trainer(small(tmp_path, override), tmp_path / "second", ONE, silent)
        start = weights(second.model)
        second.initialize()
        for name, w in weights(second.model).items():
            own = name in kept or name == "head/classifier_bias" and part == "backbone"
            np.testing.assert_array_equal(w, start[name] if own else weights(first.model)[name], err_msg=name)


def test_a_run_keeps_summaries_checkpoints_and_the_best(tmp_path: Path) -> None:
    best = "trainer.best_checkpoint_export_subdir=best,trainer.best_checkpoint_eval_metric=validation_loss"
    experiment = small(tmp_path, f"{best},trainer.best_checkpoint_metric_comp=lower,trainer.max_to_keep=2")
    lines: list[str] = []
    metrics = Run(experiment, tmp_path / "run", ONE, lines.append).train(evaluate=True)
    folder = tmp_path / "run"
    assert sorted(path.name for path in folder.glob("ckpt-*.index")) == ["ckpt-4.index", "ckpt-6.index"]
    records = {step: json.loads((folder / "validation" / f"metrics-{step}.json").read_text()) for step in (4, 6)}
    assert records[6] == metrics and metrics["examples"] == 48
    assert math.log(12) * 0.5 < metrics["validation_loss"] < math.log(12) * 3
    least = min(records, key=lambda step: records[step]["validation_loss"])
    info = json.loads((folder / "best" / "info.json").read_text())
    assert info["best_ckpt_global_step"] == least and info["validation_loss"] == records[least]["validation_loss"]
    assert tf.train.latest_checkpoint(str(folder / "best")) == str(folder / "best" / f"best_ckpt-{least}")
    assert list((folder / "train").glob("events*")) and list((folder / "validation").glob("events*"))
    assert sum(line.startswith("train |") for line in lines) == 3
    assert "step 6/6" in lines[-3] and lines[-1].startswith("eval  | step 6")
    # A restart has nothing left to do and reports so; an evaluation gives the same result.
    again = Run(experiment, folder, ONE, lines.append)
    assert again.train(evaluate=True) == metrics and "nothing left" in lines[-1]
    assert again.evaluate() == pytest.approx(metrics, rel=1e-5)
    detailed = evaluate(again.trainer.model, experiment.task.validation_data)
    assert (detailed.top1, detailed.top5) == (metrics["top_1_accuracy"], metrics["top_5_accuracy"])


@pytest.mark.slow
def test_what_the_averages_reach_is_what_is_evaluated(tmp_path: Path) -> None:
    experiment = small(tmp_path, "trainer.optimizer_config.ema.average_decay=0.5,trainer.train_steps=4")
    run = Run(experiment, tmp_path / "run", ONE, silent)
    averaged = run.train(evaluate=True)
    run.trainer.swap_averages()
    plain = replace(experiment.trainer.optimizer_config, ema=None)
    without = _validation(replace(experiment, trainer=replace(experiment.trainer, optimizer_config=plain)), run)
    assert without["validation_loss"] == pytest.approx(averaged["validation_loss"], rel=1e-6)
    run.trainer.swap_averages()
    assert _validation(experiment, run)["validation_loss"] != averaged["validation_loss"]


def _validation(experiment: ExperimentConfig, run: Run) -> dict[str, float]:
    from movinet.training.validation import Validation

    return Validation(experiment, run.trainer.model, ONE).run()
