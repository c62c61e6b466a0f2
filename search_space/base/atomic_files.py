"""Atomic writing of files: a file appears complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from search_space.base.errors import InputError


def write_text(path: str | Path, text: str) -> None:
    """Write text as UTF-8, and create its folder; bytes of a file name that are not UTF-8 are kept.

    Raises:
      InputError: it cannot be written.
    """
    with replaced(path) as new:
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8", errors="surrogateescape")


@contextmanager
def replaced(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` after the block, and is deleted after an error.

    Raises:
      InputError: the block or the replacement failed with an `OSError`.
    """
    path = Path(path)
    new = path.with_name(f".unfinished.{os.getpid()}.{path.name}")  # some writers depend on the suffix
    try:
        yield new
        with open(new, "rb") as file:
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error), "prevented writing it") from None
    finally:
        with suppress(OSError):  # the parent may not be a folder
            new.unlink(missing_ok=True)
