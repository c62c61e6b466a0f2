"""Tests of network files: exact cost, ensembles, round trips, layout, and errors on invalid files."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from search_space import architecture as single
from search_space.base.errors import InputError
from search_space.cost.counting import count
from search_space.network import Network, counted, dump, from_dict, load, network_cost, to_dict, yaml_text
from search_space.published import A0, A1, A4, A5, PUBLISHED
from search_space.space.movinet import base_config, movinet_space

SPACE = movinet_space(base_config())


def file(folder: Path, text: str) -> Path:
    path = folder / "some_network.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_ensemble_costs_the_sum_but_for_the_peak_of_activations():
    pair, a4, a5 = network_cost((A4, A5), 600), vars(count(A4, 600)), vars(count(A5, 600))
    summed = [name for name in pair if pair[name] == a4[name] + a5[name]]
    assert summed == ["macs", "macs_per_frame", "trainable_parameters", "total_parameters", "state_bytes"]
    assert pair["activation_bytes"] == a5["activation_bytes"] > a4["activation_bytes"]
    assert pair["macs"] == 103_338_794_368 + 276_334_081_024  # from the Model Garden implementation: A6 is A4 and A5
    assert network_cost((A0,), 600) == vars(count(A0, 600))


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 1000), st.none() | st.integers(1, 10**12))
def test_what_is_dumped_is_loaded(seed, members, classes, target):
    genotypes = SPACE.sample(np.random.default_rng(seed), members)
    architectures = tuple(SPACE.decode(tuple(map(int, genotype))) for genotype in genotypes)
    origin = {"parent": {"index": 3, "why": "ärgerlich: a, b\nc"}, "low": None, "factors": [1.5, 1e-7]}
    network = counted("movinet_a9", architectures, classes, target, origin)
    assert from_dict(yaml.safe_load(dump(network))) == network


def test_a_file_is_loaded_and_stays_what_it_is(tmp_path):
    network = counted("movinet_a6", (A4, A5), 600, 386_000_000_000, {"members": ["a4", "a5"]})
    path = file(tmp_path, dump(network))
    assert load(path) == load(str(path)) == network
    assert dump(load(path)) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_bare_architecture_is_a_network(tmp_path, name):
    path = file(tmp_path, yaml.safe_dump(single.to_dict(PUBLISHED[name])))
    network = load(path, classes=10)
    assert network == counted("some_network", (PUBLISHED[name],), 10)
    assert network.cost["macs"] == count(PUBLISHED[name], 10).macs and network.target_macs is None
    assert load(path).classes == 600


def test_the_file_is_readable():
    lines = dump(counted("movinet_a0", (A0,), 600)).splitlines()
    assert lines[0] == "schema: movinet-nas/network/1"
    assert sum("expand" in line for line in lines) == A0.depth
    assert "    - {expand: 24, kernel: [1, 5, 5], squeeze_excite: true}" in lines
    assert "  macs: 2630733808" in lines  # nested blocks are blocks
    assert "  - width: 8" in lines and max(map(len, lines)) <= 120
    assert not any("&" in line or "!!" in line for line in lines)  # neither anchors nor Python tags


@pytest.mark.parametrize(
    "data",
    [
        {"a": []},
        {"a": {}},
        {"a": [[1, 5, 5], [3, 3, 3]]},
        {"a": [[{"b": 1}], 2]},
        {"a": [{"b": {"c": [1]}}, {"d": [{"e": []}]}]},
        {"a": [{}, [], None, "x: y", True, 1e-9]},
    ],
)
def test_any_plain_data_round_trips(data):
    assert yaml.safe_load(yaml_text(data)) == data


BASE = to_dict(counted("movinet_a0", (A0,), 600, 2_700_000_000))


def changed(*where, value) -> dict:
    data = copy.deepcopy(BASE)
    *parents, last = where
    target = data
    for key in parents:
        target = target[key]
    target[last] = value
    return data


REFUSED = [
    (changed("cost", "macs", value=5), "cost.macs: 5 is not the cost counted from the layers, 2630733808"),
    (changed("cost", "macs", value=2630733808.0), "cost.macs: 2630733808.0 is not the cost"),
    (changed("cost", "activation_bytes", value=5), "activation_bytes: 5 is not the cost counted"),
    (changed("cost", "flops", value=5), "cost: 'flops' is an unknown key"),
    (changed("cost", value={"macs": 1}), "cost: ['macs'] lacks the key"),
    (changed("members", 0, "head", "project", value=488), "cost.macs: 2630733808 is not the cost counted"),
    (changed("members", 0, "blocks", 1, "layers", 2, "kernel", value=[2, 3, 3]), "blocks[1].layers[2].kernel: "),
    (changed("members", value=[]), "members: () must be a list of 1 to"),
    (changed("members", value="a0"), "members: 'a0' must be a list"),
    (changed("classes", value=601), "cost.macs: "),
    (changed("classes", value="600"), "classes: '600' must be an integer"),
    (changed("name", value=""), "name: '' must be a text"),
    (changed("target_macs", value=0), "target_macs: 0 must be an integer"),
    (changed("origin", value=[1]), "origin: [1] must be a mapping"),
    (changed("schema", value="movinet-nas/network/2"), "schema: 'movinet-nas/network/2' must be"),
    (changed("colour", value=1), "'colour' is an unknown key"),
    ({}, "lacks the key 'schema'"),
    (None, "None must be a mapping"),
    ([BASE], "must be a mapping"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED)
def test_what_is_no_network_is_refused_in_one_line(tmp_path, data, message):
    path = file(tmp_path, yaml.safe_dump(data))
    with pytest.raises(InputError) as caught:
        load(path)
    assert message in str(caught.value) and str(caught.value).startswith(f"{path}: network")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe\x00", b"a: 2001-99-99", b"[" * 5000, b"{[1]: 2}", b"a\x00b"])
def test_what_is_no_yaml_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not YAML") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InputError, match="cannot be read") as caught:
            load(path)
        assert repr(str(path))[1:-1] in str(caught.value)


def test_no_network_with_a_wrong_cost_can_be_made():
    cost = network_cost((A1,), 600)
    assert Network("n", (A1,), 600, cost, None, {}).cost == cost
    with pytest.raises(InputError, match="is not the cost counted"):
        Network("n", (A0,), 600, cost, None, {})
    with pytest.raises(InputError, match="at least one architecture"):
        counted("n", (), 600)
