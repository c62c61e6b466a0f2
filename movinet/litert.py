"""LiteRT (.tflite): from the functions of `saved_model` to a file of built-in operations, and running one.

Sizes are fixed. Numbers are float32; float32 with weights stored as float16; or int8 where there is an integer kernel,
with ranges found on examples. Images and logits are float32 in all of them, so that a caller needs no scales.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from movinet.saved_model import LOGITS
from movinet.stream import IMAGE
from search_space.errors import InputError

QUANTIZATIONS = ("float32", "float16", "int8")
Floats = npt.NDArray[np.float32]
Inputs = Mapping[str, npt.NDArray[Any]]


def convert(function: Any, quantize: str = "float32", examples: Callable[[], Iterator[Inputs]] | None = None) -> bytes:
    """The file of a concrete function of fixed sizes.

    Args:
      function: of `saved_model.clip_function` or `stream_function`.
      quantize: "float32", "float16" or "int8".
      examples: inputs by name, for the ranges of int8.

    Raises:
      InputError: there is something in it that LiteRT has no built-in operation for.
    """
    # The second argument only keeps variables alive, and there are none.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        assert examples is not None
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: map(_in_order, examples())
    try:
        content: bytes = converter.convert()
    except tf.lite.experimental.convert.ConverterError as error:
        raise InputError("--format", "tflite", f"cannot hold this network: {error}") from None
    return content


def _in_order(inputs: Inputs) -> list[npt.NDArray[Any]]:
    """As the file has them: by name."""
    return [inputs[name] for name in sorted(inputs)]


class LiteRT:
    """A file that runs, on `threads` threads: a function of clips, or of a stream whose states it holds."""

    def __init__(self, content: bytes, threads: int = 1) -> None:
        self.interpreter = Interpreter(model_content=content, num_threads=threads)
        self._run = self.interpreter.get_signature_runner()
        self.inputs = self._run.get_input_details()
        self.shape: tuple[int, ...] = tuple(int(size) for size in self.inputs[IMAGE]["shape"])  # B T H W 3
        self.reset()

    def reset(self) -> None:
        """The next frame is the first of a stream."""
        self._states = {
            name: np.full(detail["shape"], _zero_point(detail), detail["dtype"])
            for name, detail in self.inputs.items()
            if name != IMAGE
        }

    def push(self, image: Floats) -> Floats:
        """Frames, float32 B T H W 3 in 0..1 of the file's shape, to logits B classes of all frames so far."""
        after = dict(self._run(**{IMAGE: image}, **self._states))
        logits: Floats = after.pop(LOGITS)
        self._states = after
        return logits

    def __call__(self, clips: Floats) -> Floats:
        """The logits, B classes, of clips B T H W 3; a stream gets as many of their frames at a time as it takes."""
        self.reset()
        size = self.shape[1]
        for start in range(0, clips.shape[1], size):
            logits = self.push(clips[:, start : start + size])
        return logits

    def operations(self) -> list[str]:
        """The names of the operations in the file."""
        details = self.interpreter._get_ops_details()  # nothing public tells
        return [detail["op_name"] for detail in details if detail["op_name"] != "DELEGATE"]


def _zero_point(detail: Mapping[str, Any]) -> int:
    """What stands for 0."""
    zero_points = detail["quantization_parameters"]["zero_points"]
    return int(zero_points[0]) if len(zero_points) else 0
