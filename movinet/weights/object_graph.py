"""Object graph of a TensorFlow checkpoint: saved objects, connected by attribute names.

One variable has many paths (`model/_backbone/...`, `model/layer_with_weights-0/...`) and a checkpoint stores it under
one of them, which differs with the version that wrote it. Here an object is found by walking.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from movinet.weights import checkpoint_index

_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"
MAX_OBJECTS, MAX_CHILDREN = 50_000, 200_000  # a checkpoint of A5 with the slots of its optimizer has some 5 000


@dataclass(frozen=True)
class Node:
    """A saved object; two of one checkpoint are equal if they are the same object."""

    number: int
    reader: Any = field(compare=False, repr=False)
    nodes: Any = field(compare=False, repr=False)  # all objects, as in the file

    def children(self) -> list[tuple[str, Node]]:
        """Each object that this one holds, with its name for it, in the file's order."""
        held = self.nodes[self.number].children
        return [(child.local_name, Node(child.node_id, self.reader, self.nodes)) for child in held]

    def child(self, path: str) -> Node | None:
        """The object at the end of a path of names, `_stem/_conv`, if there is one."""
        node: Node | None = self
        for name in path.split("/"):
            node = next((held for own, held in node.children() if own == name), None) if node else None
        return node

    def walk(self) -> Iterator[Node]:
        """This object and all below it, once each, nearest first."""
        found = {self.number: self}
        waiting = [self]
        for node in waiting:
            yield node
            fresh = {held.number: held for _, held in node.children() if held.number not in found}
            found |= fresh
            waiting += fresh.values()

    @property
    def key(self) -> str:
        """Key under which the file stores the value of a variable; empty for any other object."""
        return next((a.checkpoint_key for a in self.nodes[self.number].attributes if a.name == _VALUE), "")

    @property
    def full_name(self) -> str:
        """The name of a variable in the program that saved it."""
        return next((a.full_name for a in self.nodes[self.number].attributes if a.name == _VALUE), "")

    def value(self) -> np.ndarray:
        """Return the value of a variable, of any shape. Raises `ValueError` for other objects."""
        kind = self.reader.get_variable_to_dtype_map().get(self.key)
        if kind is None or not (kind.is_floating or kind.is_integer or kind.is_bool):
            raise ValueError(f"{self.key} is not an array of numbers")
        return np.asarray(self.reader.get_tensor(self.key))


def open_checkpoint(prefix: str) -> Node:
    """The root of a checkpoint's objects.

    Raises:
      ValueError: the checkpoint has only names, as TensorFlow 1 wrote them; or its content is invalid.
      tf.errors.OpError: a file is missing or damaged.
    """
    checkpoint_index.check(prefix)
    reader = tf.train.load_checkpoint(prefix)
    if reader.get_variable_to_dtype_map().get(_GRAPH_KEY) != tf.string:
        raise ValueError("it holds no objects, only names")
    try:
        nodes = TrackableObjectGraph.FromString(reader.get_tensor(_GRAPH_KEY)).nodes
    except DecodeError as error:
        raise ValueError(f"its objects cannot be read: {error}") from None
    if len(nodes) > MAX_OBJECTS or sum(len(node.children) for node in nodes) > MAX_CHILDREN:
        raise ValueError(f"it holds more than {MAX_OBJECTS} objects or {MAX_CHILDREN} of their names")
    return Node(0, reader, nodes)
