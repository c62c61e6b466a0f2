"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from search_space.base.errors import InputError


def write_text(path: str | Path, text: str) -> None:
    """Writes text as UTF-8, and first the folder that it lies in; bytes of a file name that are not UTF-8 stay.

    Raises:
      InputError: it cannot be written.
    """
    with replaced(path) as new:
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8", errors="surrogateescape")


@contextmanager
def replaced(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces it when the block ends well and vanishes when it does not.

    Raises:
      InputError: the block or the replacement failed with an `OSError`.
    """
    path = Path(path)
    new = path.with_name(f".unfinished.{os.getpid()}.{path.name}")  # some writers go by the suffix
    try:
        yield new
        with open(new, "rb") as file:
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error), "is why it cannot be written") from None
    finally:
        with suppress(OSError):  # of a folder that is none
            new.unlink(missing_ok=True)
