"""Run a LiteRT file on clips or on a stream, without TensorFlow, as an application would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

IMAGE, LOGITS = "image", "logits"  # names in the file; all others are states

Floats = npt.NDArray[np.float32]


class LiteRT:
    """A file written by `movinet.export`, run on `threads` threads; for a stream it holds the states."""

    def __init__(self, content: bytes, threads: int = 1) -> None:
        self.interpreter = Interpreter(model_content=content, num_threads=threads)
        self._run = self.interpreter.get_signature_runner()
        self.inputs = self._run.get_input_details()
        self.outputs = {name: int(detail["index"]) for name, detail in self._run.get_output_details().items()}
        self.shape: tuple[int, ...] = tuple(int(size) for size in self.inputs[IMAGE]["shape"])  # B T H W 3
        self.reset()

    def reset(self) -> None:
        """Start a new stream with the next frame."""
        self._states: Mapping[str, npt.NDArray[Any]] = {
            name: np.zeros(detail["shape"], detail["dtype"]) for name, detail in self.inputs.items() if name != IMAGE
        }

    def push(self, image: Floats) -> Floats:
        """Return logits B classes of all frames so far, after frames float32 B T H W 3 in 0..1 of the file's shape.

        Raises:
          ValueError: frames of another shape or type.
        """
        if image.shape != self.shape or image.dtype != np.float32:
            raise ValueError(
                f"image: {image.dtype} {image.shape} does not match the exported file; expected float32 {self.shape}"
            )
        after = dict(self._run(**{IMAGE: image}, **self._states))
        logits: Floats = after.pop(LOGITS)
        self._states = after
        return logits

    def __call__(self, clips: Floats) -> Floats:
        """Return logits, B classes, of clips B T H W 3; a stream file takes its frames in steps of its own length."""
        self.reset()
        size = self.shape[1]
        for start in range(0, clips.shape[1], size):
            logits = self.push(clips[:, start : start + size])
        return logits

    def operations(self) -> list[str]:
        """Return the names of the operations in the file."""
        details = self.interpreter._get_ops_details()  # there is no public method
        return [detail["op_name"] for detail in details if detail["op_name"] != "DELEGATE"]
