"""A few rounds of approvals under fire; `python -m tests.faults.approvals` runs many."""

from __future__ import annotations

import pytest

from tests.faults import approvals
from tests.faults.world import World


@pytest.mark.timeout(240)
def test_a_yes_given_under_fire_makes_its_call_once_with_what_was_shown() -> None:
    with World(workers=2) as world:
        figures = approvals.run(world, rounds=15, seed=7, say=lambda _: None)
    assert figures.is_clean, "\n".join(figures.lines())
    assert figures.effects == {1: 15}
    assert figures.consumed == {1: 15}
    assert set(figures.strikes) == set(approvals.STRIKES)
    assert figures.edited == 3
    assert sum(figures.stood.values()) >= 9
