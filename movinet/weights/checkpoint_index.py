"""Check of the index of a TensorFlow checkpoint before TensorFlow reads it.

TensorFlow trusts an index: an impossible size ends the process, a too large one uses all memory. An index is a sorted
table of leveldb (https://github.com/google/leveldb/blob/main/doc/table_format.md), which TensorFlow writes
uncompressed, with messages of tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import glob
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto

from search_space.base import untrusted_files

MAX_INDEX = 2**26  # bytes; the index of A5 with the slots of its optimizer has 3e5
# Bytes of a value by the number of its type. A reference type, which also has a number, ends the process.
WIDTHS = {
    kind.as_datatype_enum: kind.size
    for kind in (
        *(tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.bool, tf.complex64, tf.complex128),
        *(tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64),
    )
}
FOOTER, MAGIC = 48, 0xDB4775248B80FB57


def check(prefix: str) -> None:
    """Check that the tensors of a checkpoint are in its files, with the sizes in the index.

    Raises:
      ValueError: they are not, or the index is damaged.
      OSError: a file cannot be read.
    """
    data = untrusted_files.content(f"{prefix}.index", MAX_INDEX)
    path = Path(prefix)
    shards = sorted(path.parent.glob(f"{glob.escape(path.name)}.data-*"))
    sizes = [shard.stat().st_size for shard in shards]
    try:
        for key, value in _entries(data):
            if key:
                _check_entry(key.decode(errors="replace"), BundleEntryProto.FromString(value), shards, sizes)
            elif BundleHeaderProto.FromString(value).num_shards != len(shards):
                raise ValueError("its data files are incomplete")
    except (struct.error, IndexError, DecodeError) as error:
        raise ValueError(f"its index is damaged: {error}") from None


def _check_entry(name: str, entry: BundleEntryProto, shards: list[Path], sizes: list[int]) -> None:
    dims = [dim.size for dim in entry.shape.dim]
    if entry.slices or entry.shape.unknown_rank or min([*dims, entry.shard_id, entry.offset, entry.size]) < 0:
        raise ValueError(f"{name} has no readable size")
    if entry.shard_id >= len(shards) or entry.offset + entry.size > sizes[entry.shard_id]:
        raise ValueError(f"{name} is not in the files")
    if entry.dtype == tf.string.as_datatype_enum:
        _check_text(name, entry, dims, shards[entry.shard_id])
    elif entry.dtype not in WIDTHS:
        raise ValueError(f"{name} is not of a numeric type")
    elif math.prod(dims) * WIDTHS[entry.dtype] != entry.size:
        raise ValueError(f"{name} has shape {dims}, but {entry.size} bytes")


def _check_text(name: str, entry: BundleEntryProto, dims: list[int], shard: Path) -> None:
    """Check one text: its length as a varint, a checksum of four bytes, then the text."""
    if dims:
        raise ValueError(f"{name} is a list of texts")
    with shard.open("rb") as file:
        file.seek(entry.offset)
        length, start = _varint(file.read(min(10, entry.size)), 0)
    if start + 4 + length != entry.size:
        raise ValueError(f"{name} has an impossible length of {length} bytes")


# -- the table ------------------------------------------------------------------------------------


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(data) < FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise ValueError("its index is not a leveldb table")
    at = len(data) - FOOTER
    for _ in range(3):  # the handle of the other index, and the start of ours
        value, at = _varint(data, at)
    for _, handle in _block(data, value, _varint(data, at)[0]):
        start, then = _varint(handle, 0)
        yield from _block(data, start, _varint(handle, then)[0])


def _block(data: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values; a stored key holds only its difference from the key before."""
    block = data[start : start + size]
    if len(block) < size or size < 4 or data[start + size]:
        raise ValueError("its index is damaged or compressed")
    end, at, key = size - 4 - 4 * struct.unpack("<I", block[-4:])[0], 0, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("its index is damaged: a number without end")
