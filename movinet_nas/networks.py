"""Build, train, evaluate, stream and export one network. Clips are `B T H W 3`, RGB, in 0..1."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_space import network as networks
from search_space.architecture import Architecture, Clip
from search_space.base.command_line import place_fault
from search_space.base.errors import InputError
from search_space.base.quiet_tensorflow import quiet_start
from search_space.network import Network
from search_space.published import published
from search_space.variant import BASE, Variant

if TYPE_CHECKING:
    import keras

    from movinet.model.stream import StreamSession
    from movinet.training.config.experiment import ExperimentConfig
    from movinet.training.evaluation_record import Evaluation

DEFAULTS = "movinet_kinetics600"  # experiment whose defaults all experiments start from


def build(
    network: str | Path | Architecture | Network,
    classes: int | None = None,
    *,
    variant: Variant = BASE,
    weights: str | Path = "",
    **options: Any,
) -> keras.Model:
    """Build the Keras model of a network, from clips `B T H W 3` in 0..1 to logits `B classes`.

    Args:
      network: published name ("a0" to "a5", "t0"), path of a network's YAML file, architecture, or network, such as
        one of a family.
      classes: number of classes; by default that of the network, or 600.
      variant: `BASE`, or `STREAM` for a causal model for `stream`, or any other.
      weights: checkpoint or file to load, also of Model Garden MoViNets; '' keeps the initial weights.
      options: dropout, stochastic_depth, norm_momentum, seed, name; for a single network also input_shape (frames,
        height, width; None where a size varies).

    Raises:
      InputError: unknown name, unreadable file, contradicting number of classes, or weights that do not fit.
    """
    with quiet_start():
        from movinet.model.keras_model import build_network
    model = build_network(_network(network, classes), variant=variant, **options)
    if weights:
        _load_weights(model, weights)
    return model


def train(
    experiment: str | Path | Sequence[str | Path],
    folder: str | Path,
    override: Mapping[str, Any] | None = None,
    *,
    validate: bool = True,
) -> keras.Model:
    """Train the network of an experiment, or continue from the newest checkpoint in the folder; return the model.

    The returned weights are those of the last checkpoint. The folder contains checkpoints, params.yaml, TensorBoard
    summaries and, for each evaluation, validation/metrics-<step>.json.

    Args:
      experiment: name of a preset ("digits_base", "digits_stream"), path of an experiment's YAML file such as an
        emitted movinet_a0.experiment.yaml, or several of them, of which later ones take precedence.
      folder: of the training.
      override: keys of the experiment, nested, that take precedence: {"trainer": {"train_steps": 100}}.
      validate: whether to evaluate at every trainer.validation_interval.

    Raises:
      InputError: invalid experiment, or clips that cannot be read.
      movinet.training.trainer.Diverged: the loss is not finite or above its bound.
      KeyboardInterrupt: training was interrupted; a checkpoint is written first.
    """
    with quiet_start():
        from movinet.training.loop import Run
        from movinet.training.strategy import make_strategy

    settings = _experiment(experiment, override)
    folder = Path(folder)
    with _readable(settings):
        Run(settings, folder, make_strategy(settings.runtime), lambda line: None).train(evaluate=validate)
    return load_model(experiment, folder, override)


def load_model(
    experiment: str | Path | Sequence[str | Path], weights: str | Path, override: Mapping[str, Any] | None = None
) -> keras.Model:
    """Build the network of an experiment and load trained weights.

    Args:
      experiment: see `train`.
      weights: folder of a training, or a checkpoint.
      override: see `train`.

    Raises:
      InputError: invalid experiment, no weights there, or weights that do not fit.
    """
    with quiet_start():
        from movinet.training.task import build_model
    model = build_model(_experiment(experiment, override))
    _load_weights(model, weights)
    return model


def evaluate(
    model: keras.Model,
    experiment: str | Path | Sequence[str | Path],
    override: Mapping[str, Any] | None = None,
    *,
    mode: str = "clip",
) -> Evaluation:
    """Evaluate a model on all of an experiment's validation data, in float32.

    Args:
      model: from `build`, `train` or `load_model`.
      experiment: see `train`; only its task.validation_data is used.
      override: see `train`, such as {"task": {"validation_data": {"split": "test"}}}.
      mode: "clip" (the middle clip of a video), "multi" (several clips and crops, averaged), "stream" (frame by frame,
        causal models) or "frame" (the middle frame).

    Returns:
      An `Evaluation`: top1 and interval (shares from 0 to 1), loss, confusion `classes classes`, summary(), to_dict()
      and write(folder).

    Raises:
      InputError: invalid experiment or mode, or clips that cannot be read.
    """
    with quiet_start():
        from movinet import evaluate as evaluation

    settings = _experiment(experiment, override)
    with _readable(settings):
        return evaluation.evaluate(model, settings.task.validation_data, mode)


def stream(model: keras.Model) -> StreamSession:
    """Return a session of a causal model: `push(frames)` takes `T H W 3` or `B T H W 3` and returns running logits.

    Raises:
      InputError: the model is not a causal MoViNet.
    """
    with quiet_start():
        from movinet.model.stream import StreamSession
    return StreamSession(model)


def export(
    model: keras.Model,
    path: str | Path,
    *,
    clip: Clip | None = None,
    quantize: str = "float32",
    representative: str | Path = "default",
    tolerance: float | None = None,
) -> float:
    """Write a model as a LiteRT file (a path that ends in .tflite) or as a SavedModel, for streams if it is causal.

    The exported model is compared with the Keras model on clips, and is kept only if they agree.

    Args:
      model: from `build`, `train` or `load_model`.
      path: file or folder that does not exist yet.
      clip: frames, resolution and frame stride, needed where the model's own sizes vary.
      quantize: "float32", or for LiteRT "float16" or "int8".
      representative: clips for the comparison and for int8 calibration: "tiny" or "default" (the bundled moving
        digits), a folder or list of videos, or a folder of cached clips.
      tolerance: largest accepted difference of a logit, relative to the largest logit; by default 1e-4 for float32,
        0.01 for float16 and 0.25 for int8.

    Returns:
      The largest difference of a logit from the Keras model's, relative to the largest logit.

    Raises:
      InputError: path taken, sizes unknown, unusable clips, or the difference is above the tolerance.
    """
    with quiet_start():
        import keras

        from movinet import export as exporting
        from movinet.deploy.network_flags import Subject
        from movinet.deploy.saved_model import is_causal

    path = Path(path)
    single = not any(isinstance(layer, keras.Model) for layer in model.layers)
    subject = Subject(model.name, model, clip or _clip_of(model), single and is_causal(model), single)
    form = "tflite" if path.suffix == ".tflite" else "saved_model"
    asked = exporting.Export(path, form, quantize, representative=str(representative), tolerance=tolerance)
    batch, frames, *size = subject.shape(None, None, None)
    shape = (batch, frames, *size) if form == "tflite" else (None, None if subject.causal else frames, *size)
    return exporting.export(subject, asked, shape).error


def _network(network: str | Path | Architecture | Network, classes: int | None) -> Network:
    if isinstance(network, str | Path):
        if Path(network).suffix:
            network = networks.load(network, classes or 600)
        else:
            network = networks.counted(str(network).lower(), (published(str(network)),), classes or 600)
    elif isinstance(network, Architecture):
        network = networks.counted("network", (network,), classes or 600)
    if classes not in (None, network.classes):
        raise InputError("classes", classes, f"must be that of the network, {network.classes}")
    return network


def _load_weights(model: keras.Model, weights: str | Path) -> None:
    from movinet.weights.checkpoint import load_weights

    load_weights(model, weights)


def _experiment(experiment: str | Path | Sequence[str | Path], override: Mapping[str, Any] | None) -> ExperimentConfig:
    from movinet.training.config import experiment_file

    files = [experiment] if isinstance(experiment, str | Path) else list(experiment)
    return experiment_file.load(DEFAULTS, files, json.dumps(override) if override else "")[0]


@contextlib.contextmanager
def _readable(settings: ExperimentConfig) -> Iterator[None]:
    """Turn TensorFlow's errors about damaged records into `InputError`, which names the file."""
    import tensorflow as tf

    from movinet.training.input.record_faults import read_error

    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        if place_fault(error):
            raise
        data = settings.task.train_data, settings.task.validation_data
        raise read_error(error, "input_path", data) from None


def _clip_of(model: keras.Model) -> Clip:
    frames, height, width = model.input_shape[1:4]
    if None in (frames, height, width) or height != width:
        rule = f"has clips of {frames} x {height} x {width} pixels; pass a square one as `clip`"
        raise InputError("model", model.name, rule)
    return Clip(frames, height, 1)
