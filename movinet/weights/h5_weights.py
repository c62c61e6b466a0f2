"""Weights from Keras files, read in a separate process: a damaged HDF5 file can crash or block its library.

Of a `.keras` archive only `model.weights.h5` is read, not the description of the model, which can contain code.
The process writes a line of JSON, with names, types and shapes or an error, and then the bytes of the arrays.
"""

from __future__ import annotations

import io
import json
import math
import os
import resource
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from search_space.base.errors import InputError

ROOT = Path(__file__).parents[2]
MAX_BYTES = 1 << 31  # of all weights; A5 in float32 has 1e8
MEMORY = MAX_BYTES + (3 << 30)  # bytes of address space; Python with its libraries takes 1e9 of it
SECONDS = 20  # of processor time; A5 takes one, and one damaged byte can block forever

# Raised by the libraries for damaged or malicious files.
_DAMAGE = (
    OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError, MemoryError, zipfile.BadZipFile
)  # fmt: skip


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the weights of a `.weights.h5` file, or of the one in a `.keras` archive, by this project's names.

    Raises:
      InputError: the file is damaged, too large or of another kind.
    """
    command = [sys.executable, "-P", "-m", "movinet.weights.h5_weights", os.fspath(path.absolute())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout
        try:
            return _received(process.stdout)
        except (EOFError, ValueError) as error:
            process.kill()
            why = str(error) or "its reader crashed or took too long"
            raise InputError("weights", str(path), f"cannot be read as a Keras file: {why}") from None


def _received(pipe: IO[bytes]) -> dict[str, np.ndarray]:
    head = json.loads(pipe.readline() or '{"wrong": ""}')
    if "wrong" in head:
        raise ValueError(head["wrong"])
    return {name: _array(pipe, np.dtype(dtype), shape) for name, dtype, shape in head["arrays"]}


def _array(pipe: IO[bytes], dtype: np.dtype, shape: list[int]) -> np.ndarray:
    data = pipe.read(size := math.prod(shape) * dtype.itemsize)
    if len(data) < size:
        raise EOFError
    return np.frombuffer(data, dtype).reshape(shape)


# -- in the separate process ---------------------------------------------------------------------------


def serve(path: Path, answers: IO[bytes]) -> None:
    """Write the content of a file to `answers`."""
    if sys.platform == "linux":  # elsewhere reserved but unused address space can be of any size
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with h5py.File(_opened(path), "r") as file:
            found = dict(_weights(file))
            _check(found)
            arrays = {name: np.ascontiguousarray(value[()]) for name, value in found.items()}
    except _DAMAGE as error:
        answers.write(
            json.dumps({"wrong": " ".join(str(error).split())[:300] or type(error).__name__}).encode() + b"\n"
        )
        return
    head = [(name, value.dtype.str, value.shape) for name, value in arrays.items()]
    answers.write(json.dumps({"arrays": head}).encode() + b"\n")
    for value in arrays.values():
        answers.write(value.tobytes())


def _opened(path: Path) -> IO[bytes]:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is not a regular file")
    if path.suffix != ".keras":
        return open(path, "rb")
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("model.weights.h5")
        if member.compress_type or member.file_size > MAX_BYTES:
            raise ValueError(f"its weights are packed, or larger than {MAX_BYTES} bytes")
        return io.BytesIO(archive.read(member))


def _weights(model: h5py.Group, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield variables: Keras numbers the layers of a file and stores their names; our layers store variable names."""
    layers = _held(model, "layers", h5py.Group)
    for number in layers:
        layer = _held(layers, number, h5py.Group)
        variables = _held(layer, "vars", h5py.Group)
        name = f"{prefix}{variables.attrs['name']}/"
        if "layers" not in layer:
            yield from ((f"{name}{own}", _held(variables, own, h5py.Dataset)) for own in variables)
        elif prefix:
            raise ValueError("it holds nested models of three levels")
        else:
            yield from _weights(layer, name)


def _held(group: h5py.Group, name: str, kind: type) -> Any:
    """Return an object that the group itself holds: a link could lead to another file."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"it has no {name}, or only a link")
    found = group[name]
    if not isinstance(found, kind):
        raise ValueError(f"its {name} is something else")
    return found


def _check(found: dict[str, Any]) -> None:
    """Check that the weights are numbers, in the file itself, and within the size limit."""
    for name, value in found.items():
        if value.dtype.kind not in "fiub" or value.shape is None or value.external or value.is_virtual:
            raise ValueError(f"{name} is not an array of numbers in this file")
    total = sum(math.prod(value.shape) * value.dtype.itemsize for value in found.values())
    if total > MAX_BYTES:
        raise ValueError(f"its weights would take {total} bytes, more than {MAX_BYTES}")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.stdout.buffer)
