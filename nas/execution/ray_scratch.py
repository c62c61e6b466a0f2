"""Where a Ray of our own keeps its logs and sockets, and the end of those of its processes that were left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import sleep

from search_space.base.errors import InputError

LONGEST = 43  # bytes of the folder's path: that of a socket has 107 at the most, and Ray adds 62 to 64
LOOKS = 50  # at what is left, until nothing is
SECONDS_BETWEEN_LOOKS = 0.02


def folder_of(run: Path) -> Path:
    """A folder with a short name for Ray's logs and sockets.

    Always the same one for a run, whose lock keeps others out of it, so that what a killed process left behind
    goes when the run is resumed.
    """
    name = f"movinet-nas-{os.getuid()}-{hashlib.sha256(bytes(run.resolve())).hexdigest()[:8]}"
    base = Path(tempfile.gettempdir())
    return (base if len(bytes(base)) + 1 + len(name) <= LONGEST else Path("/tmp")) / name


@contextlib.contextmanager
def made(folder: Path) -> Iterator[None]:
    """A folder that is not there yet, and is gone afterwards with those who use it.

    Raises:
      InputError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise InputError(str(folder), error.strerror, "is why Ray's scratch folder cannot be made") from None
    try:
        yield
    finally:
        clear(folder)


def clear(folder: Path) -> None:
    """Takes a scratch folder away, and ends those of Ray's processes that use it.

    Workers that were being started when their Ray ended, or that a killed run has left, would find out in a minute.
    """
    for _ in range(LOOKS):
        if not _end_users(folder):
            break
        sleep(SECONDS_BETWEEN_LOOKS)
    shutil.rmtree(folder, ignore_errors=True)


def _end_users(folder: Path) -> int:
    """Ends the processes that use `folder`; returns how many. They may have begun others in the meantime."""
    ended = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if process.name != str(os.getpid()) and _uses(process, folder):
                os.kill(int(process.name), signal.SIGKILL)
                ended += 1
    return ended


def _uses(process: Path, folder: Path) -> bool:
    """Whether a process, by its folder in /proc, was started by Ray to use `folder`, or writes to a file below it.

    A worker may have no such file open while it starts; once it has, its title hides how it was started.
    """
    if f"--temp-dir={folder}".encode() in (process / "cmdline").read_bytes().split(b"\0"):
        return True
    for file in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since then
            if os.readlink(file).startswith(f"{folder}/") and file.lstat().st_mode & stat.S_IWUSR:
                return True
    return False
