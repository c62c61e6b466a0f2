"""LiteRT (.tflite): convert functions of `saved_model` to a file of built-in operations; `interpreter` runs it.

Sizes are fixed. Values are float32; float32 with weights stored as float16; or int8 where an integer kernel exists,
with ranges calibrated on examples. Images and logits are always float32, so that a caller needs no scales.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy.typing as npt
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize

from movinet.deploy.interpreter import LiteRT
from movinet.model.stream_ops import SUM

QUANTIZATIONS = ("float32", "float16", "int8")
MOVED_OR_ADDED = ("ADD", "CAST", "CUMSUM", "EXPAND_DIMS", "RESHAPE", "STRIDED_SLICE", "SUM")
Inputs = Mapping[str, npt.NDArray[Any]]


def convert(function: Any, quantize: str = "float32", examples: Callable[[], Iterator[Inputs]] | None = None) -> bytes:
    """Return the content of the LiteRT file of a concrete function of fixed sizes.

    Args:
      function: from `saved_model.clip_function` or `stream_function`.
      quantize: "float32", "float16" or "int8".
      examples: inputs by name, to calibrate the ranges of int8.
    """
    # The second argument only keeps variables alive, and there are none.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    if quantize != "int8":
        content: bytes = converter.convert()
        return content
    assert examples is not None
    return _quantized(converter, examples)


def _quantized(converter: Any, examples: Callable[[], Iterator[Inputs]]) -> bytes:
    """Quantize to int8 by the ranges of the examples, except for results without a fixed range."""
    names = _input_order(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([inputs[name] for name in names] for inputs in examples())
    converter._experimental_calibrate_only = True  # there is no public option to exclude single operations
    calibrated = converter.convert()
    content: bytes = mlir_quantize(calibrated, denylisted_nodes=_without_range(calibrated))
    return content


def _without_range(content: bytes) -> list[str]:
    """Return the results that depend on the number of frames or on sums over frames, which have no fixed range.

    A stream may be longer than any example. The results are the sums, the means over all frames so far (the only
    divisions), the angles of the positional encoding, and results that only move or add these.
    """
    run = LiteRT(content)
    operations = run.interpreter._get_ops_details()
    made_by = {int(i): operation for operation in operations for i in operation["outputs"]}
    found = {int(i) for operation in operations if operation["op_name"] == "DIV" for i in operation["outputs"]}
    found |= {int(i) for operation in operations if operation["op_name"] in ("SIN", "COS") for i in operation["inputs"]}
    found |= {index for name, index in run.outputs.items() if name.endswith(SUM)}
    waiting = [i for i in found if i in made_by]
    while waiting:
        for i in map(int, made_by[waiting.pop()]["inputs"]):
            if i in made_by and i not in found and made_by[i]["op_name"] in MOVED_OR_ADDED:
                found.add(i)
                waiting.append(i)
    return [tensor["name"] for tensor in run.interpreter.get_tensor_details() if tensor["index"] in found]


def _input_order(content: bytes) -> list[str]:
    """Return the names of a file's inputs by number; TensorFlow feeds by name only to its deprecated interpreter."""
    inputs = LiteRT(content).inputs
    return sorted(inputs, key=lambda name: inputs[name]["index"])
