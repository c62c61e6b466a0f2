"""Checkpoints in tar archives, as the release publishes them, unpacked without leaving a folder."""

from __future__ import annotations

import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from search_space.errors import InputError

ENDINGS = (".tar.gz", ".tgz", ".tar")
MAX_BYTES = 1 << 32  # of all files; the largest checkpoint of the release has 4e8, slots included
MAX_FILES = 1000  # the release's have four


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """A new folder with the files of an archive, gone afterwards.

    Files and folders below the archive's top are unpacked, and nothing else: one link, device, absolute path or `..`,
    and none of it is used. Sizes are those in the headers, and no more is read than they say.

    Raises:
      InputError: no archive, a member that is refused, or too much in it.
    """
    with tempfile.TemporaryDirectory(prefix="movinet-nas-") as folder:
        try:
            with tarfile.open(archive, "r|*") as tar:  # as a stream: a member is seen before those after it
                _unpack(tar, Path(folder), archive)
        except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
            if isinstance(error, InputError):
                raise
            raise InputError("weights", str(archive), f"cannot be unpacked: {error}") from None
        yield Path(folder)


def _unpack(tar: tarfile.TarFile, folder: Path, archive: Path) -> None:
    total = 0
    for count, member in enumerate(tar, start=1):
        total += member.size
        _check(member, archive)
        if count > MAX_FILES or total > MAX_BYTES:
            raise InputError(str(archive), count, f"files or {total} bytes are more than {MAX_FILES} or {MAX_BYTES}")
        tar.extract(member, folder, set_attrs=False, filter="data")


def _check(member: tarfile.TarInfo, archive: Path) -> None:
    path = PurePosixPath(member.name)
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise InputError(str(archive), member.name, "is neither a file nor a folder; nothing of the archive is used")
    if path.is_absolute() or ".." in path.parts:
        raise InputError(str(archive), member.name, "leads out of the archive's folder; nothing of it is used")


def is_archive(path: Path) -> bool:
    """Whether a path is one by its name."""
    return path.name.endswith(ENDINGS) and path.is_file()


def checkpoint_in(folder: Path, archive: Path) -> Path:
    """The folder of the one checkpoint in what was unpacked. Raises `InputError` if there is none, or several."""
    found = sorted({path.parent for path in folder.rglob("*.index")})
    if len(found) != 1:
        raise InputError("weights", str(archive), f"must hold one folder with a checkpoint; it holds {len(found)}")
    return found[0]
