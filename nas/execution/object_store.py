"""Periodic copies of a run's folder to object storage, so that the record survives a loss of the machine.

A thread copies; if the storage fails or hangs, a line is printed and the run continues.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from search_space.base.errors import InputError

EVERY = 60.0  # seconds between copies
LONGEST_SHARE = 0.05  # largest fraction of the time for copying; slower copies are made less often
LAST_WAIT = 120.0  # seconds for the last copy, when the run has ended
FIRST = "ledger.jsonl"  # the event log; everything else is derived from it
LEFT_OUT = ("run.lock",)
Report = Callable[[str], None]


class Mirror:
    """A folder's copy in object storage.

    Args:
      folder: of the run; it need not exist yet.
      uri: of the copy's parent, such as s3://bucket/runs; the copy has the folder's name.
      report: prints a line for the user.
      every: seconds between copies.

    Raises:
      InputError: no storage of this kind.
    """

    def __init__(self, folder: Path, uri: str, report: Report, every: float = EVERY) -> None:
        self.folder, self.uri, self.report, self.every = folder, uri, report, every
        self.storage, base = storage(uri, "--mirror")
        self.base = f"{base.rstrip('/')}/{folder.resolve().name}"
        self._copied: dict[str, tuple[int, int]] = {}  # size and time of copied files, by name
        self._warned = self._checked = False

    def copy(self) -> None:
        """Copy files that have changed since the last time; report a failure once."""
        try:
            self._copy()
        except (OSError, ValueError) as error:
            if not self._warned:
                self._warned = True
                self.report(f"warning: --mirror {self.uri}: {' '.join(str(error).split())}; the run continues")

    def _copy(self) -> None:
        for path in _files(self.folder):
            name = path.relative_to(self.folder).as_posix()
            status = path.stat()
            state = (status.st_size, status.st_mtime_ns)
            if self._copied.get(name) != state:
                self._check_ours(path)
                put(self.storage, path, f"{self.base}/{name}")
                self._copied[name] = state

    def _check_ours(self, ledger: Path) -> None:
        """Check by its header that the event log in the storage is this run's, before it is overwritten."""
        if self._checked or ledger.name != FIRST:
            return
        with contextlib.suppress(FileNotFoundError), self.storage.open_input_stream(f"{self.base}/{FIRST}") as file:
            with open(ledger, "rb") as own:
                header = own.readline()
            if file.read(len(header)) != header:
                raise ValueError(f"{self.base} contains another run, which is not changed")
        self._checked = True


@contextlib.contextmanager
def mirrored(folder: Path, uri: str | None, report: Report, every: float = EVERY) -> Iterator[None]:
    """Copy `folder` every `every` seconds during the body, and once more at its end, also after an error.

    Without a URI it does nothing.

    Raises:
      InputError: see `Mirror`; before the body runs.
    """
    if not uri:
        yield
        return
    mirror, over = Mirror(folder, uri, report, every), threading.Event()
    thread = threading.Thread(target=_copy_until, args=(mirror, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(LAST_WAIT)
        if thread.is_alive():
            report(f"warning: --mirror {uri}: no answer within {LAST_WAIT:g} s; the last copy is missing")


def _copy_until(mirror: Mirror, over: threading.Event) -> None:
    wait = mirror.every
    while not over.wait(wait):
        start = time.monotonic()
        mirror.copy()
        wait = max(mirror.every, (time.monotonic() - start) / LONGEST_SHARE)
    mirror.copy()


def storage(uri: str, place: str) -> tuple[Any, str]:
    """Return the file system of a URI, a `pyarrow.fs.FileSystem`, and the path in it; `InputError` if there is none."""
    from pyarrow import ArrowException, fs

    try:
        return fs.FileSystem.from_uri(uri)
    except (ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(place, uri, f"must be a URI such as s3://bucket/folder or file:///folder: {reason}") from None


def put(storage: Any, path: Path, target: str) -> None:
    """Copy a file; on a file system it appears only when complete, as an object always does."""
    from pyarrow import fs

    storage.create_dir(target.rpartition("/")[0])
    written = f"{target}.new" if isinstance(storage, fs.LocalFileSystem) else target
    fs.copy_files(str(path.absolute()), written, source_filesystem=fs.LocalFileSystem(), destination_filesystem=storage)
    if written != target:
        storage.move(written, target)


def _files(folder: Path) -> list[Path]:
    """Return regular files, the event log first; no links, which may point anywhere."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found = [path for path in found if path.name not in LEFT_OUT and not path.name.startswith(".unfinished.")]
    return sorted(found, key=lambda path: (path != folder / FIRST, path))
