"""Writer of the event log of a run: each record is one line, written in one call and synced.

There is one writer (see `nas.loop.run_lock`), and a crash can damage only the last line.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from nas.record.events import Record, to_dict
from nas.record.ledger import SCHEMA, Header, read
from search_space.base.errors import InputError


class LedgerWriter:
    """Appends records to an event log; each is on disk when `append` returns. Use `create` or `open_for_append`."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._file = _opened(path, os.O_WRONLY | os.O_APPEND)

    @classmethod
    def create(cls, path: str | Path, header: Header, clock: Callable[[], float] = time.time) -> LedgerWriter:
        """Create a new event log with its header. It appears under its name only when complete.

        Raises:
          InputError: the file exists, or its folder cannot be written.
        """
        path = Path(path)
        if path.exists():
            raise InputError(str(path), "ledger", "already exists; resume that run or choose another folder")
        new = path.with_name(f".unfinished.{path.name}")
        descriptor = _opened(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            _write(new, descriptor, {"schema": SCHEMA, **asdict(header)})
        except InputError:
            new.unlink()
            raise
        finally:
            os.close(descriptor)
        os.replace(new, path)
        _sync_folder(path.parent)
        return cls(path, clock)

    @classmethod
    def open_for_append(cls, path: str | Path, clock: Callable[[], float] = time.time) -> LedgerWriter:
        """Open the event log of an earlier run, after checking it and removing an incomplete last line.

        Raises:
          InputError: see `nas.record.ledger.read`; or the file cannot be written.
        """
        ledger = read(path)
        writer = cls(ledger.path, clock)
        if ledger.torn:
            os.ftruncate(writer._file, ledger.size)
            os.fsync(writer._file)
        return writer

    def append(self, record: Record) -> None:
        """Write one line and sync it.

        Raises:
          InputError: the line could not be written completely (a full disk); no part of it is left.
        """
        _write(self.path, self._file, {**to_dict(record), "time": self._clock()})

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags, 0o644)
    except OSError as error:
        raise InputError(str(path), error.strerror, "prevented writing it") from None


def _write(path: Path, descriptor: int, data: Mapping[str, Any]) -> None:
    line = json.dumps(data, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    size = os.fstat(descriptor).st_size
    reason: str | None = os.strerror(errno.ENOSPC)  # the reason of an incomplete line
    try:
        whole = os.write(descriptor, line) == len(line)
        os.fsync(descriptor)
    except OSError as error:
        whole, reason = False, error.strerror
    if not whole:
        with suppress(OSError):  # if nothing can be written, nothing was
            os.ftruncate(descriptor, size)
        raise InputError(str(path), reason, "prevented writing a line")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
