"""Test searches under random faults; `chaos.py` lists the faults and the conditions at the end."""

from __future__ import annotations

import pytest
from chaos import FAULTS, PLAIN, Outcome, chaos, table


def check(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        assert not outcome.wrong, outcome
        assert (outcome.candidates, outcome.lost, outcome.duplicated) == (outcome.asked, 0, 0)
        assert sum(outcome.struck.values()) >= 1, outcome


@pytest.mark.slow
def test_a_search_under_fire() -> None:
    check(list(chaos(1, seed=1, faults=PLAIN)))


@pytest.mark.slow
def test_fifty_searches_under_fire_and_three_that_train() -> None:
    outcomes = list(chaos(50, seed=2, training=3))
    check(outcomes)
    assert set(FAULTS) - {"disk"} <= {fault for outcome in outcomes for fault in outcome.struck}
    print(table(outcomes))
