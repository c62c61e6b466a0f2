"""Folder for logs and sockets of a Ray started here, and clean-up of its leftover processes."""

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

LONGEST = 43  # bytes of the folder's path: a socket's path has at most 107, and Ray adds 62 to 64
LOOKS = 50  # checks for leftover processes
SECONDS_BETWEEN_LOOKS = 0.02


def folder_of(run: Path) -> Path:
    """Return a folder with a short name for Ray's logs and sockets.

    It is always the same one for a run, whose lock excludes others, so that a resume cleans up after a killed process.
    """
    name = f"movinet-nas-{os.getuid()}-{hashlib.sha256(bytes(run.resolve())).hexdigest()[:8]}"
    base = Path(tempfile.gettempdir())
    return (base if len(bytes(base)) + 1 + len(name) <= LONGEST else Path("/tmp")) / name


@contextlib.contextmanager
def made(folder: Path) -> Iterator[None]:
    """Create a new folder, and remove it afterwards together with the processes that use it.

    Raises:
      InputError: it cannot be created.
    """
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise InputError(str(folder), error.strerror, "prevented creating Ray's scratch folder") from None
    try:
        yield
    finally:
        clear(folder)


def clear(folder: Path) -> None:
    """Remove a scratch folder, and end Ray's processes that use it.

    Otherwise workers that were starting when Ray ended, or that a killed run left, would take a minute to end.
    """
    for _ in range(LOOKS):
        if not _end_users(folder):
            break
        sleep(SECONDS_BETWEEN_LOOKS)
    shutil.rmtree(folder, ignore_errors=True)


def _end_users(folder: Path) -> int:
    """End the processes that use `folder`; return their number. They may have started others in the meantime."""
    ended = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or belongs to another user
            if process.name != str(os.getpid()) and _uses(process, folder):
                os.kill(int(process.name), signal.SIGKILL)
                ended += 1
    return ended


def _uses(process: Path, folder: Path) -> bool:
    """Return whether a process (its folder in /proc) was started by Ray with `folder`, or writes to a file below it.

    A starting worker may have no such file open; later, its title hides its command line.
    """
    if f"--temp-dir={folder}".encode() in (process / "cmdline").read_bytes().split(b"\0"):
        return True
    for file in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since then
            if os.readlink(file).startswith(f"{folder}/") and file.lstat().st_mode & stat.S_IWUSR:
                return True
    return False
