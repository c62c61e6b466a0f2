"""Checkpoints in tar archives, as the TF Model Garden publishes them, unpacked to a temporary folder."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from search_space.base.errors import InputError

ENDINGS = (".tar.gz", ".tgz", ".tar")
MAX_BYTES = 1 << 30  # unpacked; A5 has 1.3e8
MAX_FILES = 1000  # those of the Model Garden have four


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """Yield a temporary folder with the files of an archive.

    Only files and folders below the archive's top are accepted: a link, device, absolute path or `..` rejects the
    whole archive.

    Raises:
      InputError: not an archive, a rejected member, or too many files or bytes.
    """
    with tempfile.TemporaryDirectory(prefix="movinet-nas-") as folder:
        try:
            with _opened(archive) as file, tarfile.open(fileobj=_Bounded(file), mode="r|") as tar:
                _unpack(tar, Path(folder), archive)
        except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
            if isinstance(error, InputError):
                raise
            raise InputError("weights", str(archive), f"cannot be unpacked: {error}") from None
        yield Path(folder)


def _opened(archive: Path) -> io.BufferedReader | gzip.GzipFile:
    return archive.open("rb") if archive.suffix == ".tar" else gzip.open(archive)


class _Bounded(io.RawIOBase):
    """Stream that raises an error at the size limit of an archive, headers included."""

    def __init__(self, file: io.BufferedReader | gzip.GzipFile) -> None:
        self.file, self.left = file, MAX_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(min(size, self.left + 1) if size >= 0 else self.left + 1)
        self.left -= len(data)
        if self.left < 0:
            raise ValueError(f"it unpacks to more than {MAX_BYTES} bytes")
        return data


def _unpack(tar: tarfile.TarFile, folder: Path, archive: Path) -> None:
    for count, member in enumerate(tar, start=1):
        _check(member, archive)
        if count > MAX_FILES:
            raise InputError(str(archive), count, f"files are more than {MAX_FILES}")
        tar.extract(member, folder, set_attrs=False, filter="data")


def _check(member: tarfile.TarInfo, archive: Path) -> None:
    path = PurePosixPath(member.name)
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise InputError(str(archive), member.name, "is neither a file nor a folder; the archive is rejected")
    if path.is_absolute() or ".." in path.parts:
        raise InputError(str(archive), member.name, "leads out of the archive's folder; the archive is rejected")


def is_archive(path: Path) -> bool:
    """Return whether a path has the suffix of an archive."""
    return path.name.endswith(ENDINGS) and path.is_file()


def checkpoint_in(folder: Path, archive: Path) -> Path:
    """Return the folder of the only checkpoint among the unpacked files. Raises `InputError` for none or several."""
    found = sorted({path.parent for path in folder.rglob("*.index")})
    if len(found) != 1:
        raise InputError("weights", str(archive), f"must hold one folder with a checkpoint; it holds {len(found)}")
    return found[0]
