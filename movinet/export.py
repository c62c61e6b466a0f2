"""Export a network as a SavedModel or for LiteRT (.tflite), for clips or, if it is causal, for streams.

Flags that the TF Model Garden's export has keep their names; docs/how_to/networks/export.md describes the files. The
exported model is compared with the Keras model on real clips, and is kept only if they agree.
"""

from __future__ import annotations

from search_space.base.quiet_tensorflow import quiet_start

with quiet_start():  # before any import of TensorFlow, whose notices would hide an error message
    import tensorflow as tf

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from movinet.deploy import litert, network_flags, saved_model
from movinet.deploy.interpreter import LOGITS, LiteRT
from movinet.deploy.network_flags import Subject, boolean
from movinet.deploy.sample_clips import sample_clips
from movinet.model import stream
from movinet.model.keras_layers import Shape
from movinet.model.stream import IMAGE
from search_space.base.checks import check_integer
from search_space.base.command_line import Parser, exit_code
from search_space.base.errors import InputError
from search_space.base.names import check_choice

FORMATS = ("saved_model", "tflite")

# Tolerance of a logit, as a fraction of the largest logit of the clips. Float32 differs in the order of sums; float16
# rounds weights to 11 bits; int8 has steps of a 255th of each tensor's range in every layer.
TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "int8": 0.25}
STEPS = 4  # frames of a clip whose states calibrate the ranges of int8, including the first and the last

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """Comparison of the exported model with the Keras model on some clips.

    Attributes:
      error: the largest difference of a logit, divided by the largest logit (at least 1).
      top1: the fraction of clips for which both predict the same class.
    """

    error: float
    top1: float
    clips: int

    @classmethod
    def between(cls, expected: Floats, found: Floats) -> Agreement:
        """Compare logits `N classes`."""
        error = float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
        top1 = float(np.mean(found.argmax(1) == expected.argmax(1)))
        return cls(error, top1, len(expected))


@dataclass(frozen=True)
class Export:
    """Options of an export.

    Attributes:
      path: folder or file to create; it must not exist.
      form: saved_model or tflite.
      quantize: float32, float16 or int8; a SavedModel is float32.
      init_states: add the signature `init_states` to the SavedModel of a causal network.
      representative: clips for int8 calibration and for the comparison; see `sample_clips`.
      representative_count: number of clips for calibration.
      checked: number of clips to compare on.
      tolerance: of `Agreement.error`; None stands for that of `TOLERANCES`.
    """

    path: Path
    form: str = "saved_model"
    quantize: str = "float32"
    init_states: bool = True
    representative: str = "default"
    representative_count: int = 100
    checked: int = 4
    tolerance: float | None = None

    def __post_init__(self) -> None:
        check_choice("--format", self.form, FORMATS)
        check_choice("--quantize", self.quantize, litert.QUANTIZATIONS)
        if self.form == "saved_model" and self.quantize != "float32":
            raise InputError("--quantize", self.quantize, "is for --format=tflite")
        if self.form == "tflite" and self.path.suffix != ".tflite":
            raise InputError("--export_path", str(self.path), "must end in .tflite for --format=tflite")
        if self.path.exists():
            raise InputError("--export_path", str(self.path), "exists already; choose a new path")
        check_integer("--representative_count", self.representative_count, 1, 100_000)
        check_integer("--check_clips", self.checked, 1, 100_000)


def export(subject: Subject, asked: Export, shape: Shape) -> Agreement:
    """Write the network for clips or frames of `shape`, B T H W 3; None where a size varies, in a SavedModel only.

    Raises:
      InputError: this form cannot be written, or disagrees with the Keras model; then no file is left.
    """
    unfinished = asked.path.with_name(f".unfinished.{asked.path.name}")
    asked.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if asked.form == "saved_model":
            saved_model.save(subject.model, unfinished, shape, asked.init_states)
            run = load_saved_model(unfinished)
        else:
            unfinished.write_bytes(litert_file(subject, asked, shape))
            run = LiteRT(unfinished.read_bytes(), os.cpu_count() or 1)
        agreement = _agreement(subject, asked, shape, run)
        tolerance = TOLERANCES[asked.quantize] if asked.tolerance is None else asked.tolerance
        if not agreement.error <= tolerance:
            rule = f"of the largest logit is above the tolerance {tolerance:g}; the file was not written"
            raise InputError("difference from the Keras model", round(agreement.error, 6), rule)
        unfinished.rename(asked.path)
    finally:
        _remove(unfinished)
    return agreement


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def litert_file(subject: Subject, asked: Export, shape: Shape) -> bytes:
    """Return the .tflite file of a network for clips or frames of a fixed shape."""
    make = saved_model.stream_function if subject.causal else saved_model.clip_function
    function = make(subject.model, shape)
    return litert.convert(function, asked.quantize, _examples(subject, asked, shape, function))


def _examples(subject: Subject, asked: Export, shape: Shape, function: Any) -> Callable[[], Iterator[litert.Inputs]]:
    """Return the function's inputs by name: clips, or frames with the states before them."""

    def clips() -> Iterator[litert.Inputs]:
        size = (_frames(subject, shape), *shape[2:])
        for clip in sample_clips(asked.representative, size, subject.clip.frame_stride, asked.representative_count):
            image = np.repeat(clip[None], shape[0] or 1, axis=0)
            yield from _steps(subject.model, function, image, shape) if subject.causal else iter([{IMAGE: image}])

    return clips


def _steps(model: keras.Model, function: Any, clips: Floats, shape: Shape) -> Iterator[litert.Inputs]:
    """Yield some of the calls that a stream makes for clips, B T H W 3."""
    size = shape[1] or 1
    starts = range(0, clips.shape[1], size)
    kept = set(np.linspace(0, len(starts) - 1, STEPS).astype(int))
    states = stream.init_states(model, [int(n or 1) for n in shape])
    for i, start in enumerate(starts):
        inputs = {IMAGE: tf.constant(clips[:, start : start + size]), **states}
        if i in kept:
            yield {name: value.numpy() for name, value in inputs.items()}
        states = {name: value for name, value in function(inputs).items() if name != LOGITS}


def _frames(subject: Subject, shape: Shape) -> int:
    """Return the length of clips to compare on: of the network's clip, or of a call if the network is no stream."""
    size = shape[1] or 1
    return -(-subject.clip.frames // size) * size if subject.causal else shape[1] or subject.clip.frames


def load_saved_model(path: str | os.PathLike[str]) -> Callable[[Floats], Floats]:
    """Return a SavedModel as a function from clips `B T H W 3` to logits `B classes`; a stream runs by frames."""
    loaded = tf.saved_model.load(os.fspath(path))
    serve = loaded.signatures["serving_default"]
    frames = serve.structured_input_signature[1][IMAGE].shape[1] or 1
    names = [name for name in serve.structured_input_signature[1] if name != IMAGE]

    def run(clips: Floats) -> Floats:
        if not names:
            return np.asarray(loaded(tf.constant(clips)))
        shapes = {name: serve.structured_input_signature[1][name] for name in names}
        if "init_states" in loaded.signatures:
            states = loaded.signatures["init_states"](tf.constant(clips.shape, tf.int32))
        else:
            states = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in shapes.items()}
        for start in range(0, clips.shape[1], frames):
            logits, states = loaded({IMAGE: tf.constant(clips[:, start : start + frames]), **states})
        return np.asarray(logits)

    return run


def _agreement(subject: Subject, asked: Export, shape: Shape, run: Callable[[Floats], Floats]) -> Agreement:
    """Compare the exported model with the Keras model, which takes each clip at once."""
    resolution = subject.clip.resolution
    size = (_frames(subject, shape), shape[2] or resolution, shape[3] or resolution, 3)
    clips = sample_clips(asked.representative, size, subject.clip.frame_stride, asked.checked, "test")
    expected, found = [], []
    for clip in clips:
        image = np.repeat(clip[None], shape[0] or 1, axis=0)
        expected.append(np.asarray(subject.model(image, training=False))[0])
        found.append(run(image)[0])
    return Agreement.between(np.stack(expected), np.stack(found))


EXAMPLES = (
    ("--config=a0 --variant=stream --checkpoint_path=movinet_a0_stream --export_path=a0_stream", "for streams"),
    ("--config=movinet_a0.yaml --checkpoint_path=my_run --export_path=a0", "a network of your own, for clips"),
    (
        "--config=digits_stream --checkpoint_path=results/runs/stream --format=tflite --quantize=int8 \\\n"
        "      --representative=tiny --export_path=stream.tflite",
        "for LiteRT in int8, with the ranges of the digits",
    ),
)


def parser() -> Parser:
    """Return the parser; `network_flags` adds the flags of the network."""
    top = Parser("movinet.export", __doc__, EXAMPLES)
    network_flags.add_flags(top)
    top.add_argument("--export_path", "--out", type=Path, required=True, help="folder or file.tflite to create")
    top.add_argument("--format", default="saved_model", help=" or ".join(FORMATS))
    top.add_argument("--quantize", default="float32", help="of tflite: " + ", ".join(litert.QUANTIZATIONS))
    top.add_argument(
        "--bundle_input_init_states_fn", type=boolean, nargs="?", const=True, default=True, help="signature"
    )
    top.add_argument("--representative", default="default", help="clips: folder, list, or a level of the digits")
    top.add_argument("--representative_count", type=int, default=100, help="number of clips for int8 calibration")
    top.add_argument("--check_clips", type=int, default=4, help="number of clips compared with the Keras model")
    top.add_argument(
        "--tolerance", type=float, help="of a logit, relative to the largest; by default " + str(TOLERANCES)
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 on success, 2 for invalid input, 130 if interrupted."""
    return exit_code(lambda: _main(parser().parse_args(arguments)))


def _main(flags: argparse.Namespace) -> int:
    agreement = _export(flags)
    print(
        f"{flags.export_path}: on {agreement.clips} clips logits differ from Keras by at most {agreement.error:.2g} of "
        f"the largest, top-1 agrees in {agreement.top1:.0%}"
    )
    return 0


def _export(flags: argparse.Namespace) -> Agreement:
    asked = Export(
        flags.export_path, flags.format, flags.quantize, flags.bundle_input_init_states_fn, flags.representative,
        flags.representative_count, flags.check_clips, flags.tolerance,
    )  # fmt: skip
    subject = network_flags.read_subject(flags)
    if not flags.checkpoint_path:
        print("no --checkpoint_path: the network has its initial, untrained weights", file=sys.stderr)
    sizes = flags.batch_size, flags.num_frames, flags.image_size
    if asked.form == "tflite":
        return export(subject, asked, subject.shape(*sizes))
    batch, frames, size = sizes
    if not subject.single:
        frames, size = subject.clip.frames, subject.clip.resolution
    return export(subject, asked, (batch, frames, size, size, 3))


if __name__ == "__main__":
    sys.exit(main())
