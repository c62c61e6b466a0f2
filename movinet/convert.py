"""Convert a folder or a list of videos to TFRecords that this project and the TF Model Garden read.

The input is a folder with a sub-folder per class, such folders in train, val and test, or a list
(docs/reference/data.md). The output folder appears when it is complete. It holds `<split>-00000-of-00004.tfrecord` …,
`classes.txt` and `records.json`, which names every skipped file. The same command resumes an interrupted conversion.
"""

from __future__ import annotations

from search_space.base.quiet_tensorflow import quiet_start

with quiet_start():  # before any import of TensorFlow, whose notices would hide an error message
    from movinet.training.input.records import encode_jpeg, sequence_example, write_records

import dataclasses
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from movinet.data.store import Skipped, only_writer, split_called
from movinet.data.video.decoder import in_order
from movinet.data.video.source import open_source, splits_of
from movinet.data.video.timeline import UnusableVideo
from movinet.data.video.video_source import VideoSource
from search_space.base.checks import check_integer
from search_space.base.command_line import Parser, exit_code, place_fault, print_escaped
from search_space.base.errors import InputError

SCHEMA = "movinet-nas/records/1"
MAX_EXAMPLE = 1 << 29  # bytes of JPEG; a serialized example must stay below 2^31
CHUNK = 32  # frames decoded at a time
SHOWN = 20  # skipped files named at the end


@dataclass(frozen=True)
class Conversion:
    """Options of a conversion.

    Attributes:
      videos: a folder, or a list of videos.
      output: folder to create; it must not exist.
      splits: some of train, validation, test and all; none means every split of the input.
      video_root: folder of a list's files; by default the list's folder.
      target_fps: frame rate of the records; 0 keeps every frame.
      short_side: in pixels; 0 keeps the size of the videos.
      quality: of the JPEGs, 1 to 100.
      shard_size: videos per file.
      workers: videos converted in parallel; 0 is one per core.
      seed: of the order of the train split, which readers shuffle only in part; other splits keep the order of the
        list.
    """

    videos: str
    output: str
    splits: tuple[str, ...] = ()
    video_root: str = ""
    target_fps: float = 0.0
    short_side: int = 0
    quality: int = 95
    shard_size: int = 256
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("short_side", self.short_side, 0, 8192)
        check_integer("quality", self.quality, 1, 100)
        check_integer("shard_size", self.shard_size, 1, 1_000_000)
        check_integer("workers", self.workers, 0, 256)
        check_integer("seed", self.seed, 0, 2**32 - 1)
        object.__setattr__(self, "splits", tuple(dict.fromkeys(split_called(split) for split in self.splits)))


@dataclass(frozen=True)
class Written:
    """Number of examples and skipped files of a shard or a split."""

    count: int
    skipped: tuple[Skipped, ...]


def convert(conversion: Conversion) -> dict[str, Written]:
    """Write the records and return the totals of each split; one progress line per shard goes to standard error.

    Raises:
      InputError: a file cannot be read or written, or a split has no usable video.
    """
    output = Path(conversion.output)
    if output.exists():
        raise InputError("output", str(output), "exists already; choose a new folder")
    sources = _sources(conversion)
    classes = {source.classes for source in sources.values()}
    if len(classes) > 1:
        raise InputError("videos", conversion.videos, "must have the same classes in every split")
    partial = output.with_name(output.name + ".partial")
    try:
        with only_writer(output):
            _begin(partial, conversion, sources)
            written = {split: _write_split(partial, split, source, conversion) for split, source in sources.items()}
            _end(partial, classes.pop(), conversion, written)
            partial.rename(output)
    except OSError as error:
        raise InputError(str(output), place_fault(error) or str(error), "records could not be written") from error
    return written


def _sources(conversion: Conversion) -> dict[str, VideoSource]:
    """Return the videos of each requested split, by default of every split of the input."""
    splits = conversion.splits or splits_of(_kind(conversion), conversion.videos)
    return {split: _source(conversion, split) for split in splits}


def _kind(conversion: Conversion) -> str:
    return "video_folder" if Path(conversion.videos).is_dir() else "video_csv"


def _source(conversion: Conversion, split: str) -> VideoSource:
    source = open_source(
        _kind(conversion),
        conversion.videos,
        split=split,
        video_root=conversion.video_root,
        target_fps=conversion.target_fps or None,
    )
    assert isinstance(source, VideoSource)
    return source


def _begin(partial: Path, conversion: Conversion, sources: Mapping[str, VideoSource]) -> None:
    """Create the folder, or keep it if the same conversion was stopped there."""
    settings = {key: value for key, value in asdict(conversion).items() if key not in ("workers", "output")}
    digest = hashlib.sha256(json.dumps(settings).encode())
    for split, source in sources.items():
        for file in source.files:
            status = os.stat(file.path)
            line = (split, file.name, file.label, file.segment, status.st_size, status.st_mtime_ns)
            digest.update(repr(line).encode(errors="surrogateescape"))
    mark = partial / "conversion.sha256"
    if not mark.exists() or mark.read_text() != digest.hexdigest():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        mark.write_text(digest.hexdigest())


def _write_split(folder: Path, split: str, source: VideoSource, conversion: Conversion) -> Written:
    order = np.arange(len(source))
    if split == "train":
        order = np.random.Generator(np.random.PCG64(conversion.seed)).permutation(order)
    shards = -(-len(order) // conversion.shard_size)
    count, skipped, start = 0, list(source.skipped), time.monotonic()
    for shard in range(shards):
        own = order[shard * conversion.shard_size :][: conversion.shard_size]
        written = _write_shard(folder / f"{split}-{shard:05d}-of-{shards:05d}.tfrecord", source, own, conversion)
        count, skipped = count + written.count, skipped + list(written.skipped)
        rate = (shard * conversion.shard_size + len(own)) / (time.monotonic() - start)
        print(
            f"{split}: shard {shard + 1} of {shards}, {count} videos, {len(skipped)} skipped, {rate:.1f} videos/s",
            file=sys.stderr,
        )
    if not count:
        raise InputError(split, f"{len(skipped)} files", f"were all skipped; the first: {_shown(skipped[:1])}")
    return Written(count, tuple(skipped))


def _write_shard(file: Path, source: VideoSource, own: np.ndarray[Any, Any], conversion: Conversion) -> Written:
    """Write a shard, then its report; if both exist already, only read the report."""
    report = file.with_name(file.name + ".json")
    if not (file.exists() and report.exists()):
        skipped: list[Skipped] = []
        write_records(file, _examples(source, own, conversion, skipped))
        fields = {"count": len(own) - len(skipped), "skipped": [asdict(item) for item in skipped]}
        unfinished = report.with_name("unfinished.json")
        unfinished.write_text(json.dumps(fields))
        unfinished.replace(report)
    fields = json.loads(report.read_text())
    return Written(fields["count"], tuple(Skipped(**item) for item in fields["skipped"]))


def _examples(
    source: VideoSource, own: np.ndarray[Any, Any], conversion: Conversion, skipped: list[Skipped]
) -> Iterator[bytes]:
    """Yield the serialized examples of the videos `own`; append unusable videos to `skipped`."""
    threads = conversion.workers or os.cpu_count() or 1
    for example in in_order(lambda i: _example(source, i, conversion), own.tolist(), threads):
        if isinstance(example, Skipped):
            skipped.append(example)
        else:
            yield example


def _example(source: VideoSource, i: int, conversion: Conversion) -> bytes | Skipped:
    images: list[bytes] = []
    total = 0
    try:
        count = source.frames(i)
        for start in range(0, count, CHUNK):
            numbers = np.arange(start, min(start + CHUNK, count))
            images += encode_jpeg(source.read(i, numbers, conversion.short_side or None), conversion.quality)
            total += sum(map(len, images[start:]))
            if total > MAX_EXAMPLE:
                raise UnusableVideo(f"has {count} frames, too many for a record; list segments of it instead")
    except UnusableVideo as error:
        return Skipped(source.name(i), str(error))
    label = int(source.labels[i])
    return sequence_example(images, label, source.classes[label], source.name(i))


def _end(folder: Path, classes: Sequence[str], conversion: Conversion, written: Mapping[str, Written]) -> None:
    """Write the class names and the report, and remove the files that only a resumed conversion needs."""
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
    splits = {split: asdict(part) for split, part in written.items()}
    text = json.dumps({"schema": SCHEMA, "settings": asdict(conversion), "splits": splits}, indent=1)
    (folder / "records.json").write_text(text + "\n", encoding="utf-8")
    for file in (*folder.glob("*.tfrecord.json"), folder / "conversion.sha256"):
        file.unlink()


def _shown(skipped: Sequence[Skipped]) -> str:
    return "; ".join(f"{item.file} {item.reason}" for item in skipped)


EXAMPLES = (
    ("my_videos my_records", "all splits, at their own size and frame rate"),
    ("my_videos my_records --split train --short-side 320 --target-fps 25", "smaller, at one frame rate"),
    ("kinetics.csv my_records --video-root /data/kinetics --workers 8", "a list of segments of videos"),
)


def parser() -> Parser:
    """Return the command line parser: a flag for each field of `Conversion`."""
    top = Parser("movinet.convert", __doc__, EXAMPLES)
    top.add_argument("videos", help="folder or list of videos")
    top.add_argument("output", help="folder to create")
    top.add_argument("--split", action="append", dest="splits", default=[], help="train, validation, test or all")
    for field in dataclasses.fields(Conversion)[3:]:
        kind = {"str": str, "int": int, "float": float}[str(field.type)]
        name = "--" + field.name.replace("_", "-")
        top.add_argument(name, type=kind, default=field.default, help=f"default: {field.default!r}")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 on success, 2 for invalid input, 130 if interrupted."""
    return exit_code(lambda: _main(vars(parser().parse_args(arguments))))


def _main(options: dict[str, Any]) -> int:
    try:
        written = convert(Conversion(**{**options, "splits": tuple(options["splits"])}))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command resumes it") from None
    for split, part in written.items():
        print(f"{split}: {part.count} videos, {len(part.skipped)} skipped")
        for item in part.skipped[:SHOWN]:
            print_escaped(f"  {item.file}: {item.reason}")
        if len(part.skipped) > SHOWN:
            print(f"  … all are named in {options['output']}/records.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
