"""LiteRT (.tflite): from the functions of `saved_model` to a file of built-in operations; `interpreter` runs it.

Sizes are fixed. Numbers are float32; float32 with weights stored as float16; or int8 where there is an integer kernel,
with ranges found on examples. Images and logits are float32 in all of them, so that a caller needs no scales.
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
    if quantize != "int8":
        content: bytes = converter.convert()
        return content
    assert examples is not None
    return _quantized(converter, examples)


def _quantized(converter: Any, examples: Callable[[], Iterator[Inputs]]) -> bytes:
    """int8 by the ranges that the examples have, but for what has no range."""
    names = _input_order(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([inputs[name] for name in names] for inputs in examples())
    converter._experimental_calibrate_only = True  # nothing public leaves single operations out
    calibrated = converter.convert()
    content: bytes = mlir_quantize(calibrated, denylisted_nodes=_without_range(calibrated))
    return content


def _without_range(content: bytes) -> list[str]:
    """The results that numbers of frames, or sums over them, go into: a stream may be longer than any example.

    They are the sums themselves, the means over the frames so far, which alone are divisions, the angles of the
    positional encoding, and what is only moved and added up on the way there.
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
    """The names of a file's inputs as they are numbered; by names TensorFlow feeds only its own old interpreter."""
    inputs = LiteRT(content).inputs
    return sorted(inputs, key=lambda name: inputs[name]["index"])
