"""Videos whose frames show their number as eight black or white cells, so that a decoded frame can be identified."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

CELLS = 8
SIZE = (128, 64)  # width, height


def paint(number: int) -> npt.NDArray[np.uint8]:
    """Return uint8 `H W C`; a cell is 32 x 32, the lowest bit is at the top left."""
    bits = np.array([number >> bit & 1 for bit in range(CELLS)], np.uint8).reshape(2, 4)
    grey = np.kron(bits * 200 + 20, np.ones((SIZE[1] // 2, SIZE[0] // 4), np.uint8)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def painted_number(frame: npt.NDArray[np.uint8]) -> int:
    """Return the number painted on `frame`, at any size."""
    height, width = frame.shape[:2]
    cells = frame[: height // 2 * 2, : width // 4 * 4].reshape(2, height // 2, 4, width // 4, 3).mean((1, 3, 4)) > 120
    return int((cells.ravel() << np.arange(CELLS)).sum())


def encode_painted(
    file: Path, codec: str, times: Sequence[Fraction], rate: Fraction | int, gop: int = 12, **options: str
) -> Path:
    """Write a video in which frame n shows n from second `times[n]` on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unit = Fraction(1, 90_000) if codec.startswith("lib") else 1 / Fraction(rate)
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate), options=options)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base, stream.gop_size = unit, gop
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(paint(number), format="rgb24")
            frame.pts, frame.time_base = round(time / unit), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file
