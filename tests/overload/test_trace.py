"""The same seed asks for the same, and a trace asks for as much as it says."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.overload.trace import (
    CHAT,
    NOISY,
    OFFICE,
    OTHERS,
    Phase,
    begin_of,
    draw_trace,
    length_of,
)

STORM = (Phase("calm", 20.0, 0.5), Phase("storm", 200.0, 3.0, noisy=0.8), Phase("end", 10.0, 0.1))
CAPACITY_PER_S = 24.0


def test_the_same_seed_asks_for_the_same() -> None:
    assert draw_trace(STORM, CAPACITY_PER_S, 7) == draw_trace(STORM, CAPACITY_PER_S, 7)


def test_another_seed_asks_for_something_else() -> None:
    assert draw_trace(STORM, CAPACITY_PER_S, 7) != draw_trace(STORM, CAPACITY_PER_S, 8)


def test_asks_come_in_order_each_with_a_token_of_its_own() -> None:
    asks = draw_trace(STORM, CAPACITY_PER_S, 1)
    assert [ask.at_s for ask in asks] == sorted(ask.at_s for ask in asks)
    assert asks[-1].at_s < length_of(STORM)
    assert len({ask.token for ask in asks}) == len(asks)


@pytest.mark.parametrize("name", ["calm", "storm"])
def test_a_phase_asks_for_as_many_calls_as_its_load_says(name: str) -> None:
    (phase,) = [each for each in STORM if each.name == name]
    began_s = begin_of(STORM, name)
    asks = draw_trace(STORM, CAPACITY_PER_S, 3)
    within = [ask for ask in asks if began_s <= ask.at_s < began_s + phase.lasts_s]
    calls = sum(ask.kind.calls for ask in within)
    assert calls == pytest.approx(phase.load * CAPACITY_PER_S * phase.lasts_s, rel=0.15)


def test_the_noisy_tenant_has_its_part_of_the_storm_and_the_others_share_the_rest() -> None:
    from_s = begin_of(STORM, "storm")
    asks = [ask for ask in draw_trace(STORM, CAPACITY_PER_S, 1) if ask.at_s >= from_s]
    calls: Counter[str] = Counter()
    for ask in asks:
        calls[ask.tenant] += ask.kind.calls
    assert calls[NOISY] / calls.total() == pytest.approx(0.8, abs=0.02)
    for tenant in OTHERS:
        assert calls[tenant] / calls.total() == pytest.approx(0.05, abs=0.01)


def test_every_kind_has_its_part_of_the_calls() -> None:
    calls: Counter[str] = Counter()
    for ask in draw_trace(STORM, CAPACITY_PER_S, 1):
        calls[ask.kind.agent] += ask.kind.calls
    for kind, part in OFFICE:
        assert calls[kind.agent] / calls.total() == pytest.approx(part, abs=0.03)


def test_a_phase_nobody_knows_is_named() -> None:
    with pytest.raises(KeyError, match="lunch"):
        begin_of(STORM, "lunch")


def test_a_token_says_how_many_calls_the_job_is_to_make() -> None:
    asks = draw_trace((Phase("all", 5.0, 1.0, mix=((CHAT, 1.0),)),), CAPACITY_PER_S, 1)
    assert {ask.token.partition("x")[2] for ask in asks} == {"1"}
