"""Reading of untrusted files: only regular files, and only up to a size limit.

A pipe, a device or a link to one could block a reader forever, or fill the memory.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from search_space.base.errors import InputError


def content(path: Path | str, most: int) -> bytes:
    """Return the content of a file of at most `most` bytes.

    Raises:
      OSError: it cannot be read, is larger, or is not a regular file; `strerror` has the reason.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not block
    except ValueError as error:  # a null byte, an incomplete character
        raise OSError(errno.EINVAL, f"is not a valid file name: {error}") from None
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "Is a directory" if stat.S_ISDIR(status.st_mode) else "is not a regular file")
        data = file.read(most + 1) if status.st_size <= most else b""
        if status.st_size > most or len(data) > most:
            raise OSError(errno.EFBIG, f"is larger than {most} bytes, the limit for such a file")
        return data


def check_no_links(folder: Path | str) -> None:
    """Check that a folder contains no links, so that files written to it stay in it.

    Raises:
      InputError: it contains a symbolic link, at any depth.
    """
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(path := os.path.join(base, name)):
                raise InputError("run", path, "is a link, so files would be written elsewhere; remove it")


def parsed_json(text: str | bytes) -> Any:
    """Return the plain data in JSON text. Raises `ValueError` for any invalid text."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
