"""Build TensorFlow checkpoints that no writer would produce: sizes without bytes, objects without end.

An index is a sorted table of leveldb: https://github.com/google/leveldb/blob/main/doc/table_format.md. Its entries are
messages of tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorflow.core.framework import types_pb2, versions_pb2
from tensorflow.core.protobuf import tensor_bundle_pb2
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

MAGIC = 0xDB4775248B80FB57
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def crc32c(data: bytes) -> int:
    """Return Castagnoli's CRC, masked as in leveldb."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    return body + struct.pack("<II", 0, 1)  # one restart point, at the beginning


def table(entries: Mapping[bytes, bytes]) -> bytes:
    """Return an index of one block of data."""
    out, handles = b"", []
    for content in (block(sorted(entries.items())), block([])):
        handles.append(varint(len(out)) + varint(len(content)))
        out += content + b"\0" + struct.pack("<I", crc32c(content + b"\0"))
    index = block([(max(entries) + b"\xff", handles[0])])
    handles.append(varint(len(out)) + varint(len(index)))
    out += index + b"\0" + struct.pack("<I", crc32c(index + b"\0"))
    return out + (handles[1] + handles[2]).ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def string(value: bytes, length: int | None = None) -> tuple[bytes, bytes]:
    """Return a text in the stored form and in the form for the checksum, with a false length if `length` is set."""
    size = len(value) if length is None else length
    plain = struct.pack("<I" if size < 2**32 else "<Q", size)
    rest = struct.pack("<I", crc32c(plain)) + value
    return varint(size) + rest, plain + rest


def write(prefix: Path, graph: TrackableObjectGraph, shapes: Mapping[str, Any], length: int | None = None) -> None:
    """Write a checkpoint of this graph with these shapes for its float32 variables; each has only four bytes."""
    header = tensor_bundle_pb2.BundleHeaderProto(num_shards=1, version=versions_pb2.VersionDef(producer=1))
    stored, summed = string(graph.SerializeToString(), length)
    data, entries = stored, {b"": header.SerializeToString()}
    kinds = {GRAPH: (types_pb2.DT_STRING, (), 0, len(stored))}
    for name, shape in shapes.items():
        kinds[name] = (types_pb2.DT_FLOAT, shape, len(data), 4)
        data += b"\0\0\0\0"
    for name, (kind, shape, offset, size) in kinds.items():
        entry = tensor_bundle_pb2.BundleEntryProto(dtype=kind, offset=offset, size=size)
        entry.crc32c = crc32c(summed if name == GRAPH else data[offset : offset + size])
        for length_ in shape:
            entry.shape.dim.add(size=length_)
        entries[name.encode()] = entry.SerializeToString()
    Path(f"{prefix}.index").write_bytes(table(entries))
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)


def linked(children: Mapping[int, Mapping[str, int]], keys: Mapping[int, str]) -> TrackableObjectGraph:
    """Build a graph from children by number and name, and from the keys of the variables."""
    graph = TrackableObjectGraph()
    for number in range(1 + max([*children, *keys, *(to for each in children.values() for to in each.values())])):
        node = graph.nodes.add()
        for name, to in children.get(number, {}).items():
            node.children.add(node_id=to, local_name=name)
        if number in keys:
            node.attributes.add(name="VARIABLE_VALUE", full_name=keys[number], checkpoint_key=keys[number])
    return graph
