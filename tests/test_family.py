"""Test parents chosen and scaled to FLOPs targets: exact, in order, recorded, and refused in one line."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_run import run, sampled

from results.family.growth import Family, FamilyConfig, from_dict, scale_family, to_dict
from results.family.parent_variants import Settle, Settled
from results.family.parents import Candidates, compared, of_run
from search_space.architecture import from_dict as from_plain
from search_space.architecture import to_dict as plain
from search_space.base.errors import InputError
from search_space.cost.counting import count
from search_space.published import A0, A2, A4, A5
from search_space.scaling.compound import Coefficients, Factors, scale

LIFT = Factors(depth=1.5, width=2, resolution=7, frames=1.6)
CONFIG = FamilyConfig(lift=LIFT)


def candidates(*networks) -> Candidates:
    """Return networks of rising accuracy, the first of which is trial 7."""
    rows = [
        {
            "index": pd.NA if i else 7,
            "fingerprint": network.fingerprint,
            "accuracy": 0.3 + i / 10,
            "n": 3,
            "selected": True,
            "macs": count(network, 36).macs,
            "architecture": plain(network),
        }
        for i, network in enumerate(networks)
    ]
    return compared(pd.DataFrame(rows), noise=0.03, chance=0.0)


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Candidates:
    return of_run(run(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def family(found) -> Family:
    return scale_family(found, CONFIG)


def test_a_family_of_seven(family):
    assert [member.name for member in family.models] == ["a0", "a1", "a2", "a3", "a4", "a5", "a6"]
    macs = [member.network.cost["macs"] for member in family.models]
    assert macs == sorted(macs)
    for member in family.models:
        network = member.network
        assert network.name == f"movinet_{member.name}" and network.classes == 600
        assert network.cost["macs"] == sum(count(each, 600).macs for each in network.members)
        assert abs(network.cost["macs"] / network.target_macs - 1) <= 0.02
    assert [member.network.target_macs for member in family.models] == [
        2_700_000_000,
        6_000_000_000,
        10_300_000_000,
        57_000_000_000,
        105_000_000_000,
        281_000_000_000,
        386_000_000_000,
    ]
    a4, a5, a6 = (member.network.members for member in family.models[4:])
    assert a6 == (*a4, *a5)


def test_the_parent_is_the_best_guess_at_the_place_of_the_target(found, family):
    low, high = found.span()
    for member in family.models[:6]:
        decision = member.decision
        share = math.log(member.network.target_macs / 2.7e9) / math.log(281 / 2.7)
        assert decision["place"]["macs"] == pytest.approx(low * (high / low) ** share)
        best = found.at(decision["place"]["macs"])[0]
        assert decision["parent"] == best.candidate.plain()
        rows = decision["comparison"]
        assert [row["verdict"] for row in rows[:2]] == ["chosen", "expected to be worse"]
        assert rows[0]["expected"] == best.expected.mean >= rows[1]["expected"]
        assert f"{best.expected.mean:.3f} [{best.expected.low:.3f}, " in decision["why"]
    models = family.parents()
    assert sorted(name for names in models["models"] for name in names) == ["a0", "a1", "a2", "a3", "a4", "a5"]
    assert len(models) > 2  # not one parent for all models


def test_the_decision_tells_how_to_make_the_network(found, family):
    parents = {each.fingerprint: each for each in found.networks}
    for member in family.models[:6]:
        decision, (network,) = member.decision, member.network.members
        again = scale(from_plain(parents[decision["parent"]["fingerprint"]].architecture), **decision["factors"])
        assert replace(again, clip=replace(again.clip, frame_stride=network.clip.frame_stride)) == network
        assert network.clip.frame_stride == max(1, round(250 / network.clip.frames))
        assert decision["clip"] == vars(network.clip) and decision["fingerprint"] == network.fingerprint
        assert decision["macs"] == member.network.cost["macs"]
        assert decision["macs"] == pytest.approx(decision["target_macs"] * (1 + decision["deviation"]))
        assert decision["lift"] == vars(LIFT) and member.network.origin == decision
    assert family.models[6].decision["members"] == ["a4", "a5"]


def test_the_record_is_json(found, family):
    record = json.loads(json.dumps(family.record(), allow_nan=False))
    assert record == family.record()
    assert [each["macs"] for each in record["candidates"]] == [each.macs for each in found.networks]
    assert from_dict(record["config"]) == CONFIG
    assert [model["model"] for model in record["models"]] == [member.name for member in family.models]


def test_one_network_is_enough():
    family = scale_family(candidates(A2), FamilyConfig())
    assert len(family.models) == 7 and family.parents()["fingerprint"].to_list() == [A2.fingerprint]
    assert family.record()["candidates"][0]["index"] == 7


@pytest.mark.parametrize("targets", [{"only": 2e10}, {f"m{i}": 1e9 * 1.7**i for i in range(10)}])
def test_any_number_of_models(targets):
    family = scale_family(candidates(A0, A2, A4), FamilyConfig(targets=targets, ensemble={}))
    assert [member.name for member in family.models] == list(targets)
    if len(targets) == 1:  # the middle of the Pareto front
        assert family.parents()["fingerprint"].to_list() == [A2.fingerprint]


@settings(max_examples=8)
@given(st.integers(0, 1000), st.lists(st.floats(9.5, 11.5), min_size=1, max_size=4), st.integers(1, 3))
def test_cost_never_falls_and_is_never_far_off(seed, logs, networks):
    """Include nearly equal targets with different parents, each of which may miss its target on another side."""
    targets = {f"m{i}{side}": 10**log * (1 + side / 1000) for i, log in enumerate(sorted(logs)) for side in (0, 1)}
    last = 1.0
    for name in targets:
        last = targets[name] = max(last, targets[name])
    some = candidates(*sampled(np.random.default_rng(seed), networks))
    family = scale_family(some, FamilyConfig(lift=LIFT, targets=targets, ensemble={}, tolerance=0.05))
    macs = [member.network.cost["macs"] for member in family.models]
    assert macs == sorted(macs)
    for member in family.models:
        assert abs(member.network.cost["macs"] / targets[member.name] - 1) <= 0.05


def test_a_parent_that_leaves_the_order_of_cost_is_passed_over():
    """Within 2 % of nearly equal targets, the cheaper parent may become more expensive."""
    wide = FamilyConfig(targets={"a0": 1e10, "a1": 1.001e10}, ensemble={})
    found = []
    for first, second in [(A0, A2), (A0, A4), (A0, A5), (A2, A4), (A2, A5), (A4, A5)]:
        family = scale_family(candidates(first, second), wide)
        low, high = (member.network.cost["macs"] for member in family.models)
        assert low <= high
        found += [member.decision for member in family.models if "better candidates rejected" in member.decision["why"]]
    assert found, "no pair of parents tests anything"
    assert "are below the" in found[0]["comparison"][0]["verdict"] and "1 better candidates rejected" in found[0]["why"]


def test_trained_variants_settle_the_choice():
    config = FamilyConfig(targets={"a0": 3e9, "a1": 2e11}, ensemble={})
    before = scale_family(candidates(A0, A2, A4), config).models[0].decision["comparison"]
    first, second = (row["fingerprint"] for row in before[:2])
    settled = {"a0": {first: Settled(0.5, 2), second: Settled(0.6, 2)}}
    decision, other = (member.decision for member in scale_family(candidates(A0, A2, A4), config, settled).models)
    assert decision["parent"]["fingerprint"] == second
    assert "its scaled variant had the best accuracy of 2 that were trained: 0.600" in decision["why"]
    rows = {row["fingerprint"]: row for row in decision["comparison"]}
    assert rows[first]["verdict"] == "its scaled variant was worse"
    assert rows[first]["scaled_variant"] == {"accuracy": 0.5, "trainings": 2}
    assert "best expected accuracy" in other["why"] and "scaled_variant" not in other["comparison"][0]


def test_an_unreachable_target_is_refused():
    tiny = FamilyConfig(targets={"a0": 1e3}, ensemble={})
    with pytest.raises(
        InputError, match=r"family\.targets\.a0: 1000\.0 multiply-adds: no scaling is within 2\.0%"
    ) as caught:
        scale_family(candidates(A0, A2), tiny)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="front: 0 networks are too few"):
        scale_family(None, FamilyConfig())


def test_a_cheap_ensemble_breaks_the_order():
    config = FamilyConfig(ensemble={"a6": ("a0", "a1")})
    with pytest.raises(InputError, match=r"family\.ensemble\.a6: \d+ multiply-adds are below"):
        scale_family(candidates(A0, A5), config)


def test_the_stride_spreads_the_clip_over_the_source():
    config = FamilyConfig(targets={"a0": 2.63e9}, ensemble={}, clip_ticks=300)
    (member,) = scale_family(candidates(A0), config).models
    clip = member.network.members[0].clip
    assert clip.frame_stride == math.floor(300 / clip.frames + 0.5) == 6
    (member,) = scale_family(candidates(A0), replace(config, clip_ticks=10)).models
    assert member.network.members[0].clip.frame_stride == 1


def test_configuration_round_trips_through_yaml():
    assert from_dict({}) == FamilyConfig()
    assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(CONFIG)))) == CONFIG
    config = from_dict({"lift": {"resolution": 7}, "targets": {"a0": 1e9, "a1": 2e9}})
    assert config.lift == Factors(resolution=7) and config.ensemble == {}  # no models to build A6 from
    assert from_dict({"targets": {"a4": 1e9, "a5": 2e9}}).ensemble == {"a6": ("a4", "a5")}
    assert to_dict(FamilyConfig())["targets"]["a5"] == 281e9
    settling = FamilyConfig(settle=Settle(parents=3, factor=2.0))
    assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(settling)))) == settling
    assert FamilyConfig(coefficients=Coefficients(1, 1, 1.4, 1)).coefficients.resolution == 1.4


REFUSED = [
    ({"colour": 1}, "family: 'colour' is an unknown key"),
    ([], "family: [] must be a mapping"),
    ({"classes": 0}, "family.classes: 0 must be"),
    ({"clip_ticks": 1.5}, "family.clip_ticks: 1.5 must be"),
    ({"tolerance": 2}, "family.tolerance: 2 must be"),
    ({"tolerance": "2%"}, "family.tolerance: '2%' must be"),
    ({"lift": {"height": 2}}, "family.lift: 'height' is an unknown key"),
    ({"lift": {"width": 0}}, "family.lift.width: 0 must be"),
    ({"lift": 2}, "family.lift: 2 must be a mapping"),
    ({"coefficients": {"width": 1.1}}, "family.coefficients: ['width'] lacks the key"),
    ({"settle": {"parents": 5}}, "family.settle.parents: 5 must be"),
    ({"settle": {"factor": "4x"}}, "family.settle.factor: '4x' must be"),
    ({"settle": {"times": 4}}, "family.settle: 'times' is an unknown key"),
    ({"targets": {}}, "family.targets: {} must hold at least one"),
    ({"targets": [1]}, "family.targets: [1] must be a mapping"),
    ({"targets": {"a0": "2.7e9"}}, "family.targets.a0: '2.7e9' must be a number from 1 to 1e+18"),
    ({"targets": {"a0": True}}, "family.targets.a0: True must be"),
    ({"targets": {"a0": math.nan}}, "family.targets.a0: nan must be"),
    ({"targets": {"a0": 2e9, "a1": 1e9}}, "family.targets.a1: 1000000000.0 must not be below"),
    ({"targets": {"../a0": 2e9}}, "family.targets: '../a0' must be a name"),
    ({"targets": {0: 2e9}}, "family.targets: 0 is a key that is not text"),
    ({"ensemble": {"a6": ["a4"]}}, "family.ensemble.a6: ['a4'] must be a list of at least 2 entries"),
    ({"ensemble": {"a6": "a4"}}, "family.ensemble.a6: 'a4' must be a list of"),
    ({"ensemble": {"a6": ["a4", "a9"]}}, "family.ensemble.a6: 'a9' must be one of a0, a1"),
    ({"ensemble": {"a6": ["a4", ["a5"]]}}, "family.ensemble.a6[1]: ['a5'] must be a text"),
    ({"ensemble": {"a5": ["a3", "a4"]}}, "family.ensemble.a5: 'a5' is already the name of a target"),
    ({"ensemble": None}, "family.ensemble: None must be a mapping"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED)
def test_a_wrong_configuration_is_refused_in_one_line(data, message):
    with pytest.raises(InputError) as caught:
        from_dict(data)
    assert message in str(caught.value) and "\n" not in str(caught.value)
