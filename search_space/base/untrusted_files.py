"""Files that others may have made: only regular ones are read, and only as much as such a file can hold.

A pipe, a device or a link to one would keep a reader waiting for ever, or fill the memory.
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
    """All of a file of at most `most` bytes.

    Raises:
      OSError: it cannot be read, is larger, or is no regular file; `strerror` says which.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not block
    except ValueError as error:  # a null byte, half a character
        raise OSError(errno.EINVAL, f"is no name of a file: {error}") from None
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "Is a directory" if stat.S_ISDIR(status.st_mode) else "is no regular file")
        data = file.read(most + 1) if status.st_size <= most else b""
        if status.st_size > most or len(data) > most:
            raise OSError(errno.EFBIG, f"is larger than {most} bytes, which no such file is")
        return data


def check_no_links(folder: Path | str) -> None:
    """That nothing in a folder leads out of it: what is written into a folder from elsewhere must stay there.

    Raises:
      InputError: it holds a symbolic link, at any depth.
    """
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(path := os.path.join(base, name)):
                raise InputError("run", path, "is a link: what is written there would land elsewhere; remove it")


def parsed_json(text: str | bytes) -> Any:
    """The plain data in JSON text. Raises `ValueError` for all that is none, however it is wrong."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
