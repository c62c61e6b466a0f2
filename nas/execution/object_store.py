"""Copies a run's folder to object storage now and then, so that the record outlives the machine.

A thread copies; a storage that fails or hangs costs a line for the user and nothing else.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from search_space.base.errors import InputError

EVERY = 60.0  # seconds from one copy to the next
LONGEST_SHARE = 0.05  # of the time, which a copy may take; a longer one comes less often
LAST_WAIT = 120.0  # seconds for the last copy, when the run has ended
FIRST = "ledger.jsonl"  # the record; everything else is made from it
LEFT_OUT = ("run.lock",)
Report = Callable[[str], None]


class Mirror:
    """A folder's copy in object storage.

    Args:
      folder: of the run; it need not be there yet.
      uri: of the copy's parent, such as s3://bucket/runs; the copy has the folder's name.
      report: takes a line for the user.
      every: seconds from one copy to the next.

    Raises:
      InputError: no storage of this kind.
    """

    def __init__(self, folder: Path, uri: str, report: Report, every: float = EVERY) -> None:
        self.folder, self.uri, self.report, self.every = folder, uri, report, every
        self.storage, base = storage(uri, "--mirror")
        self.base = f"{base.rstrip('/')}/{folder.resolve().name}"
        self._copied: dict[str, tuple[int, int]] = {}  # size and time of what was copied, by name
        self._warned = self._checked = False

    def copy(self) -> None:
        """Copies what has changed since the last time; reports, once, if that fails."""
        try:
            self._copy()
        except (OSError, ValueError) as error:
            if not self._warned:
                self._warned = True
                self.report(f"warning: --mirror {self.uri}: {' '.join(str(error).split())}; the run goes on")

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
        """That the ledger there is this run's, as told by its header, before it is written over."""
        if self._checked or ledger.name != FIRST:
            return
        with contextlib.suppress(FileNotFoundError), self.storage.open_input_stream(f"{self.base}/{FIRST}") as file:
            with open(ledger, "rb") as own:
                header = own.readline()
            if file.read(len(header)) != header:
                raise ValueError(f"{self.base} holds another run, which is left as it is")
        self._checked = True


@contextlib.contextmanager
def mirrored(folder: Path, uri: str | None, report: Report, every: float = EVERY) -> Iterator[None]:
    """Copies `folder` `every` so many seconds of the body and once more at its end, however that comes.

    Without a URI it does nothing.

    Raises:
      InputError: as `Mirror`, before the body runs.
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
    """The file system of a URI, a `pyarrow.fs.FileSystem`, and the path in it; `InputError` if there is none."""
    from pyarrow import ArrowException, fs

    try:
        return fs.FileSystem.from_uri(uri)
    except (ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(place, uri, f"must be a URI such as s3://bucket/folder or file:///folder: {reason}") from None


def put(storage: Any, path: Path, target: str) -> None:
    """Copies a file; on a file system it takes its place only when whole, as an object does anyway."""
    from pyarrow import fs

    storage.create_dir(target.rpartition("/")[0])
    written = f"{target}.new" if isinstance(storage, fs.LocalFileSystem) else target
    fs.copy_files(str(path.absolute()), written, source_filesystem=fs.LocalFileSystem(), destination_filesystem=storage)
    if written != target:
        storage.move(written, target)


def _files(folder: Path) -> list[Path]:
    """Regular files, the ledger first; no links, which may lead anywhere."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found = [path for path in found if path.name not in LEFT_OUT and not path.name.startswith(".unfinished.")]
    return sorted(found, key=lambda path: (path != folder / FIRST, path))
