"""Access of workers on any node to the run's clips: a shared folder, a copy fetched once per node, or created there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.config.search_config import SearchConfig
from nas.evaluation.proxy_trainer import open_data, open_made
from nas.execution.object_store import put, storage
from search_space.base.errors import InputError

LAST = "dataset.json"  # written last: a copy with it is complete


@dataclass(frozen=True)
class Clips:
    """The run's data set on the driver: its folder there, the sha256 of its content, and the URI of a copy if any."""

    folder: str
    content_hash: str
    uri: str = ""

    def opened(self, config: SearchConfig) -> Any:
        """Return the data set on this node, memory-mapped.

        Raises:
          InputError: it is not available on this node, or its content differs.
        """
        if Path(self.folder, LAST).exists():
            data = open_made(self.folder)
        elif self.uri:
            data = open_made(str(fetched(self.uri, self.content_hash)))
        elif config.data.path and not Path(config.data.path).exists():
            rule = "does not exist on this node; use a folder that all nodes share, or --share URI"
            raise InputError("data.path", config.data.path, rule)
        else:
            data = open_data(config.data, config.movinet_space)
        if data.content_hash != self.content_hash:
            raise InputError(str(data.path), data.content_hash, f"must have the run's content, {self.content_hash}")
        return data


def share(folder: Path, content_hash: str, uri: str) -> None:
    """Copy a data set below a URI, unless it exists there.

    Raises:
      InputError: there is no storage, or it cannot be written.
    """
    place, base = _copy_of(uri, content_hash)
    try:
        if _exists(place, f"{base}/{LAST}"):
            return
        files = (path for path in folder.rglob("*") if path.is_file() and path != folder / LAST)
        for path in (*files, folder / LAST):
            put(place, path, f"{base}/{path.relative_to(folder).as_posix()}")
    except OSError as error:
        raise InputError("--share", uri, f"cannot be written: {error}") from None


def fetched(uri: str, content_hash: str) -> Path:
    """Return the folder of this node's copy, fetched if not cached; other workers of the node wait meanwhile.

    Raises:
      InputError: there is no copy, or its content differs.
    """
    from movinet.data.store import cache_root, only_writer, open_dataset

    folder = cache_root() / f"fetched-{content_hash[:16]}"
    partial = folder.with_name(folder.name + ".partial")
    with only_writer(folder):
        if not folder.exists():
            shutil.rmtree(partial, ignore_errors=True)
            _download(uri, content_hash, partial)
            if open_dataset(partial, verify=True).content_hash != content_hash:
                raise InputError("--share", uri, f"must hold the content {content_hash}")
            partial.rename(folder)
    return folder


def _download(uri: str, content_hash: str, folder: Path) -> None:
    from pyarrow import fs

    place, base = _copy_of(uri, content_hash)
    folder.mkdir(parents=True)
    try:
        fs.copy_files(base, str(folder), source_filesystem=place, destination_filesystem=fs.LocalFileSystem())
    except OSError as error:
        raise InputError("--share", uri, f"cannot be read: {error}") from None


def _copy_of(uri: str, content_hash: str) -> tuple[Any, str]:
    place, base = storage(uri, "--share")
    return place, f"{base.rstrip('/')}/dataset-{content_hash[:16]}"


def _exists(place: Any, path: str) -> bool:
    from pyarrow import fs

    return place.get_file_info(path).type == fs.FileType.File


def to_dict(clips: Clips) -> dict[str, str]:
    """Return JSON data."""
    return dict(vars(clips))


def from_dict(data: Mapping[str, str]) -> Clips:
    """Return the clips from JSON data; the inverse of `to_dict`."""
    return Clips(**data)
