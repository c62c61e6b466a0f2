"""Evaluate a trained network in detail: by class, by clips and crops, frame by frame.

The experiment defines the network and its validation_data. The mode selects a part of the video: its middle clip
("clip"), or its middle frame alone ("frame"). The mode "stream" evaluates the clip frame by frame (causal networks
only). The mode "multi" averages the probabilities of several clips and crops as in the TF Model Garden, 10 x 3 unless
the experiment sets num_test_clips or num_test_crops. The command writes evaluation.json and predictions.csv;
docs/how_to/networks/evaluate.md describes their content.
"""

from __future__ import annotations

from search_space.base.quiet_tensorflow import quiet_start

with quiet_start():  # before any import of TensorFlow, whose notices would hide an error message
    import tensorflow as tf

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import numpy.typing as npt

from movinet.model.inference import FoldedEnsemble, fold
from movinet.model.stream import StreamSession
from movinet.training.config import experiment_file
from movinet.training.config.experiment import DataConfig
from movinet.training.evaluation_record import Evaluation, check_new
from movinet.training.input.batches import indexed_batches, open_examples
from movinet.training.input.class_names import beside, check_same, class_names
from movinet.training.input.examples import Examples
from movinet.training.input.record_faults import read_error
from movinet.training.metrics import Curve, Floats, softmax
from movinet.training.task import build_model
from movinet.weights import checkpoint
from search_space.base.command_line import Parser, exit_code, place_fault, print_escaped
from search_space.base.errors import InputError
from search_space.base.names import check_choice

MODES = ("clip", "multi", "stream", "frame")
VIEWS: tuple[int, Literal[1, 3]] = 10, 3  # clips and crops of multi-clip evaluation, as in the papers on Kinetics

Prediction = tuple[dict[str, int], Floats]  # frames or views so far, and probabilities `B C`
Seer = Callable[[npt.NDArray[np.float32]], Iterator[Prediction]]


def evaluate(
    model: keras.Model, data: DataConfig, mode: str = "clip", log: Callable[[str], None] | None = None
) -> Evaluation:
    """Evaluate a model or ensemble of `movinet.model.keras_model` on all clips of `data`, in float32.

    Args:
      model: with trained weights.
      data: data to read; for "multi" with its num_test_clips and num_test_crops.
      mode: one of `MODES`; see the module docstring.
      log: receives a line of progress from time to time.

    Raises:
      InputError: the data cannot be read, or the model does not support the mode.
    """
    start = time.monotonic()
    data = seen(data, mode)
    see = _seer(model, data, mode)
    unusable: dict[str, str] = {}
    examples = open_examples(data, training=False, seed=0, unusable=unusable)
    curve, rows = Curve(), []
    told = start
    for clips, labels, indices in indexed_batches(examples, data, False, 0).as_numpy_iterator():
        final = np.zeros(0, np.float32)
        for what, final in see(clips):
            curve.add(what, final, labels)
        rows.append((indices, labels, final))
        if log and time.monotonic() - told > 10:
            told = time.monotonic()
            log(f"{sum(len(row[0]) for row in rows)} examples after {told - start:.0f} s")
    if not rows:
        raise InputError("validation_data", data.input_path, "has no usable example")
    indices, labels, probabilities = (np.concatenate(part) for part in zip(*rows, strict=True))
    names = [examples.name(int(index)) for index in indices]
    return Evaluation(
        mode=mode,
        data=data,
        classes=_class_names(examples, probabilities.shape[1]),
        names=names,
        labels=labels,
        probabilities=probabilities,
        curve=tuple(curve.points()),
        unusable=unusable,
        seconds=time.monotonic() - start,
    )


def seen(data: DataConfig, mode: str) -> DataConfig:
    """Return the data configuration of a mode: its views, all examples, and its number of clips per batch."""
    check_choice("--mode", mode, MODES)
    clips: int = data.num_test_clips if mode == "multi" else 1
    crops: Literal[1, 3] = data.num_test_crops if mode == "multi" else 1
    if mode == "multi" and clips * crops == 1:
        clips, crops = VIEWS
    shape = (1, *data.feature_shape[1:]) if mode == "frame" else data.feature_shape
    return replace(
        data,
        is_training=False,
        drop_remainder=False,
        dtype="float32",
        feature_shape=shape,
        num_test_clips=clips,
        num_test_crops=crops,
        global_batch_size=max(1, data.global_batch_size // (clips * crops)),
    )


def _class_names(examples: Examples, count: int) -> tuple[str, ...]:
    """Return the class names of the examples; numbers for classes without a name."""
    return tuple(examples.classes[i] if i < len(examples.classes) else str(i) for i in range(count))


def _seer(model: keras.Model, data: DataConfig, mode: str) -> Seer:
    """Return a function from clips of a batch, `B*views T H W 3`, to probabilities after each piece of evidence."""
    if mode == "stream":
        session = StreamSession(model)
        return lambda clips: _stream(session, clips)
    folded = fold(model)
    if mode == "frame" and isinstance(folded, FoldedEnsemble):
        raise InputError("--mode", mode, "is for single networks; members of an ensemble use different frames")
    run = tf.function(folded, autograph=False)
    if mode == "multi":
        return lambda clips: _views(softmax(run(tf.constant(clips)).numpy()), data.num_test_clips, data.num_test_crops)
    return lambda clips: iter([({"frames": clips.shape[1]}, softmax(run(tf.constant(clips)).numpy()))])


def _stream(session: StreamSession, clips: npt.NDArray[np.float32]) -> Iterator[Prediction]:
    session.reset()
    for frame in range(clips.shape[1]):
        yield {"frames": frame + 1}, softmax(session.push(clips[:, frame : frame + 1]))


def _views(probabilities: Floats, clips: int, crops: int) -> Iterator[Prediction]:
    """Yield the mean over the centre crop of 1, 2, ... clips that are spread over the video, then over all crops."""
    each = probabilities.reshape(-1, crops, clips, probabilities.shape[-1])
    for count in sorted({1, crops}):
        own = each if count == crops else each[:, crops // 2 : crops // 2 + 1]
        for part in range(1, clips + 1):
            chosen = np.linspace(0, clips - 1, part) if part > 1 else np.array([(clips - 1) / 2])
            yield {"crops": count, "clips": part}, own[:, :, chosen.round().astype(int)].mean(axis=(1, 2))


EXAMPLES = (
    ("--config_file=digits_stream --checkpoint=results/runs/stream --out results/runs/seen", "the middle clips"),
    (
        "--config_file=digits_stream --checkpoint=results/runs/stream --mode=stream --out results/runs/by_frame",
        "frame after frame",
    ),
    (
        "--config_file=movinet_a0.experiment.yaml --checkpoint=movinet_a0_base --mode=multi --out a0 \\\n"
        "      --params_override=task.validation_data.input_path=/data/k600/valid*",
        "10 clips and 3 crops of each video, with Model Garden weights",
    ),
)


def parser() -> Parser:
    """Return the parser; flags of the experiment have the same names as in `movinet.train`."""
    top = Parser("movinet.evaluate", __doc__, EXAMPLES)
    top.add_argument("--experiment", default="movinet_kinetics600", help="experiment with the default values")
    top.add_argument("--config_file", action="append", default=[], help="YAML file, or a preset; may be repeated")
    top.add_argument("--params_override", default="", help="YAML, JSON, key.path=value,... or a file of it")
    top.add_argument("--checkpoint", default="", help="weights: folder or checkpoint, also of the Model Garden")
    top.add_argument("--mode", default="clip", help=", ".join(MODES))
    top.add_argument("--out", type=Path, required=True, help="new folder for evaluation.json and predictions.csv")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 on success, 2 for invalid input, 130 if interrupted."""
    return exit_code(lambda: _main(parser().parse_args(arguments)))


def _main(flags: argparse.Namespace) -> int:
    check_new(flags.out)
    experiment, ignored = experiment_file.load(flags.experiment, flags.config_file, flags.params_override)
    for line in experiment_file.notes(ignored):
        _log(line)
    data = experiment.task.validation_data
    seen(data, flags.mode)
    ensemble = experiment.task.model.ensemble
    if not flags.checkpoint and not (ensemble and all(member.checkpoint for member in ensemble.members)):
        raise InputError("--checkpoint", flags.checkpoint, "must name the weights to evaluate")
    model = build_model(experiment)
    if flags.checkpoint:
        checkpoint.load_weights(model, flags.checkpoint)
    try:
        check_same("task.validation_data", class_names(data), flags.checkpoint, beside(flags.checkpoint))
        evaluation = evaluate(model, data, flags.mode, _log)
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        if place_fault(error):
            raise
        raise read_error(error, "validation_data", [data]) from None
    evaluation.write(flags.out, checkpoint=flags.checkpoint, experiment=experiment_file.to_dict(experiment))
    print_escaped(evaluation.summary())
    return 0


def _log(line: str) -> None:
    print_escaped(line, sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
