"""Arrays in an untrusted .npz file: nothing is unpickled, and no array is larger than the file."""

from __future__ import annotations

import math
import os
import stat
import struct
import sys
import tokenize
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from search_space.base.errors import InputError

# Raised by zipfile and numpy for damaged, encrypted or malicious files.
_DAMAGE = (
    OSError, EOFError, ValueError, OverflowError, RuntimeError, struct.error, tokenize.TokenError, zipfile.BadZipFile
)  # fmt: skip


def read(path: Path, place: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file of `numpy.savez`, by name.

    Raises:
      InputError: at `place`: it cannot be read, or is invalid.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is not a regular file")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(members, os.stat(path).st_size)
            return {each.filename.removesuffix(".npy"): _array(archive, each) for each in members}
    except _DAMAGE as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(place, str(path), f"cannot be read: {why}") from None


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    """Check that the content is not larger than the file: neither compressed nor with overlapping entries."""
    if sum(each.file_size for each in members) > size or any(each.compress_type for each in members):
        raise ValueError("it is compressed; its arrays must be uncompressed")
    if len({each.filename for each in members}) < len(members):
        raise ValueError("it contains an array twice")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{member.filename} has a header of another version")
        shape, columns, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
            raise ValueError(f"{member.filename} is not a plain array of its declared size")
        return _content(file, dtype).reshape(shape, order="F" if columns else "C")


def _content(file: IO[bytes], dtype: np.dtype) -> np.ndarray:
    data = file.read()
    found = np.frombuffer(data, dtype) if data else np.empty(0, dtype)
    if dtype.kind == "U" and (found.reshape(-1).view(dtype.byteorder + "u4") > sys.maxunicode).any():
        raise ValueError("it contains an empty text array")
    return found
