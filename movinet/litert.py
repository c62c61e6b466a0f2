"""LiteRT (.tflite): from the functions of `saved_model` to a file of built-in operations; `interpreter` runs it.

Sizes are fixed. Numbers are float32; float32 with weights stored as float16; or int8 where there is an integer kernel,
with ranges found on examples. Images and logits are float32 in all of them, so that a caller needs no scales.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from movinet.interpreter import LiteRT

QUANTIZATIONS = ("float32", "float16", "int8")
Inputs = Mapping[str, npt.NDArray[Any]]


def convert(function: Any, quantize: str = "float32", examples: Callable[[], Iterator[Inputs]] | None = None) -> bytes:
    """The file of a concrete function of fixed sizes.

    Args:
      function: of `saved_model.clip_function` or `stream_function`.
      quantize: "float32", "float16" or "int8".
      examples: inputs by name, for the ranges of int8.
    """
    # The second argument only keeps variables alive, and there are none.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        assert examples is not None
        names = _input_order(converter.convert())
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([inputs[name] for name in names] for inputs in examples())
    content: bytes = converter.convert()
    return content


def _input_order(content: bytes) -> list[str]:
    """The names of a file's inputs as they are numbered; by names TensorFlow feeds only its own old interpreter."""
    inputs = LiteRT(content).inputs
    return sorted(inputs, key=lambda name: inputs[name]["index"])
