"""Cache of decoded videos on a drive, uncompressed and memory-mapped; each video is decoded once.

A video takes frames x height x width x 3 bytes: 250 frames of 256 x 340 are 65 MB. To save disk space, convert the
videos to records of JPEGs instead (`python -m movinet.convert`).
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from movinet.data.store import Skipped, write_npy_header
from movinet.data.video.decoding import MAX_BYTES, Frames
from movinet.data.video.timeline import UnusableVideo, checked
from movinet.data.video.video_source import VideoSource
from search_space.base.errors import InputError, why

CHUNK = 32  # frames decoded at a time


@dataclass(frozen=True, eq=False)
class CachedSource:
    """`source` with its decoded frames cached in `folder`, which processes may share. Too large videos are not cached.

    A changed file, rate or size adds a new entry; entries are never removed. `read` raises `InputError` if the folder
    cannot be written.
    """

    source: VideoSource
    folder: Path

    @property
    def classes(self) -> tuple[str, ...]:
        """See `Source`."""
        return self.source.classes

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """See `Source`: `[N]`."""
        return self.source.labels

    @property
    def skipped(self) -> Sequence[Skipped]:
        """See `Source`."""
        return self.source.skipped

    def __len__(self) -> int:
        return len(self.source)

    def name(self, i: int) -> str:
        """See `Source`."""
        return self.source.name(i)

    def frames(self, i: int) -> int:
        """See `Source`."""
        return self.source.frames(i)

    def read(self, i: int, numbers: npt.ArrayLike, short_side: int | None = None) -> Frames:
        """See `Source`; a video that is not cached is decoded whole and cached.

        Raises:
          InputError: the folder cannot be written.
        """
        own = checked(numbers, self.frames(i))
        try:
            file = self._file(i, short_side)
            if not file.exists() and not self._keep(i, file, short_side):
                return self.source.read(i, own, short_side)
            return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False)[own])
        except (OSError, ValueError, IndexError) as error:
            raise InputError(str(self.folder), why(error), "prevented caching decoded videos (delete it)") from error

    def _file(self, i: int, short_side: int | None) -> Path:
        file = self.source.files[i]
        try:
            status = file.path.stat()
        except OSError as error:
            raise UnusableVideo(f"cannot be read: {error.strerror}") from error
        what = (
            os.path.realpath(file.path),
            status.st_size,
            status.st_mtime_ns,
            file.segment,
            self.source.fps,
            short_side,
        )
        digest = hashlib.sha256(repr(what).encode(errors="surrogateescape")).hexdigest()
        return self.folder / digest[:2] / f"{digest[2:34]}.npy"

    def _keep(self, i: int, file: Path, short_side: int | None) -> bool:
        """Decode example `i` into `file` by chunks; return False if it is too large to be cached."""
        count = self.frames(i)
        first = self.source.read(i, np.arange(min(CHUNK, count)), short_side)
        if count * first[0].nbytes > MAX_BYTES:
            return False
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}.unfinished")
        try:
            with open(unfinished, "wb") as out:
                write_npy_header(out, (count, *first.shape[1:]))
                out.write(first.data)
                for start in range(CHUNK, count, CHUNK):
                    numbers = np.arange(start, min(start + CHUNK, count))
                    out.write(self.source.read(i, numbers, short_side).data)
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)
        return True
