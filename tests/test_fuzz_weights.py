"""Test TensorFlow checkpoints and Keras files with damaged descriptions: they are read, or give one line."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import forged_checkpoint
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutation import damaged
from release_cases import CLASSES, RECORDED, TINY
from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph
from test_fuzz import assert_one_line, bounded

from movinet.model.keras_model import build
from movinet.weights import checkpoint_index
from movinet.weights.checkpoint import named_variables, read, save_weights
from search_space.base.errors import InputError
from search_space.variant import STREAM

SOURCE = RECORDED / "release_tiny" / "ckpt-1"
NUMBERS = (-(2**63), -1, 0, 1, 2, 7, 2**20, 2**31 - 1, 2**40, 2**62)
NAMES = [*named_variables(build(TINY, CLASSES, variant=STREAM))]


def changed_entry(content: bytes, rng: random.Random) -> bytes:
    """Return the index entry of a tensor with another type, shape, file, place or size; or other bytes."""
    if rng.random() < 0.2:
        return damaged(content, rng)
    entry = BundleEntryProto.FromString(content)
    how = rng.randrange(6)
    number = rng.choice(NUMBERS)
    if how == 0:
        entry.dtype = rng.choice((0, 1, 2, 7, 19, 20, 21, 23, 50, 99, 101))
    elif how == 1 and entry.shape.dim:
        rng.choice(entry.shape.dim).size = number
    elif how == 2:
        entry.shape.dim.add(size=number)
    elif how == 3:
        entry.shard_id = max(-1, min(number, 3))
    elif how == 4:
        entry.offset = number
    else:
        entry.size = number
    return entry.SerializeToString()


def with_changed_entries(prefix: Path, rng: random.Random) -> None:
    """Write a checkpoint whose index is complete and has valid checksums, but other entries."""
    entries = dict(checkpoint_index._entries(Path(f"{SOURCE}.index").read_bytes()))
    for key in rng.sample(sorted(entries), rng.choice((1, 1, 3))):
        entries[key] = changed_entry(entries[key], rng)
    Path(f"{prefix}.index").write_bytes(forged_checkpoint.table(entries))
    shutil.copy(f"{SOURCE}.data-00000-of-00001", f"{prefix}.data-00000-of-00001")


def with_changed_objects(prefix: Path, rng: random.Random) -> None:
    """Write a checkpoint whose objects are linked in other ways."""
    stored = tf.train.load_checkpoint(str(SOURCE)).get_tensor(forged_checkpoint.GRAPH)
    graph = TrackableObjectGraph.FromString(stored)
    for _ in range(rng.choice((1, 2, 20))):
        node = rng.choice(graph.nodes)
        if node.children and rng.random() < 0.7:
            rng.choice(node.children).node_id = rng.choice((0, -1, len(graph.nodes), rng.randrange(len(graph.nodes))))
        elif node.attributes:
            node.attributes[0].checkpoint_key = rng.choice(("", "x", forged_checkpoint.GRAPH, "../x", "\x1b[2J"))
        else:
            node.children.add(node_id=rng.randrange(len(graph.nodes)), local_name=rng.choice(("_stem", "layer-1", "")))
    shapes = {key: (1,) for node in graph.nodes for key in [a.checkpoint_key for a in node.attributes] if key}
    shapes.pop(forged_checkpoint.GRAPH, None)
    forged_checkpoint.write(prefix, graph, shapes)


FORMS = {"entries": with_changed_entries, "objects": with_changed_objects}


def fuzz(form: str, folder: Path, cases: int) -> None:
    @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))
    @given(number=st.integers(0, 2**32 - 1))
    def case(number: int) -> None:
        FORMS[form](folder / "ckpt-1", random.Random(number))
        with bounded():
            try:
                read(folder / "ckpt-1", NAMES)
            except InputError as error:
                assert_one_line(error)
        assert sorted(path.suffix for path in folder.iterdir()) == [".data-00000-of-00001", ".index"]

    case()


@pytest.mark.parametrize("form", FORMS)
def test_descriptions_that_are_damaged(form: str, tmp_path: Path) -> None:
    fuzz(form, tmp_path, 15)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_many_more(form: str, tmp_path: Path) -> None:
    fuzz(form, tmp_path, 250)


@pytest.mark.slow
def test_damaged_files_of_keras(tmp_path: Path) -> None:
    """About one file in a hundred keeps the HDF5 library busy until its process is killed."""
    save_weights(build(TINY, CLASSES, variant=STREAM), tmp_path / "whole.weights.h5")
    whole = (tmp_path / "whole.weights.h5").read_bytes()
    for number in range(100):
        (tmp_path / "bad.weights.h5").write_bytes(damaged(whole[:20_000], random.Random(number)) + whole[20_000:])
        try:
            read(tmp_path / "bad.weights.h5", NAMES)
        except InputError as error:
            assert_one_line(error)
