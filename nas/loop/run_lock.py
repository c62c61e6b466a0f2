"""Lock that allows one process at a time in a run's folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType

from search_space.base.errors import InputError


class RunLock:
    """Excludes a second process from a run's folder: `with RunLock(folder): ...`.

    The kernel holds the lock (flock on `run.lock`), so it is released with the process, also after kill -9.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "run.lock"
        self._file = -1

    def __enter__(self) -> RunLock:
        """Take the lock.

        Raises:
          InputError: another process holds it (the message has its id), or the folder cannot be written.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise InputError(str(self.path), error.strerror, "prevented locking this folder") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise InputError(str(self.path), holder, "is the process id of a run that uses this folder") from None
            raise InputError(str(self.path), error.strerror, "prevented locking this folder") from None
        with contextlib.suppress(OSError):  # a full disk; the process id is only information
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        self._file = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
        self._file = -1
