from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.guards.evidence import Evidence
from jobs.guards.grounding import Grounding, ground
from jobs.guards.guard import Context, Kind, Stage
from jobs.guards.numbers import read_numbers
from tests.jobs.guards.rounds import judge, round_of

ROWS = [
    ["F9", 682, 20.215543, "2013-07-01 00:00:00"],
    ["US", 19_873, 3.782418, "2013-12-31 00:00:00"],
    ["WN", 12_044, -5.2, "2013-02-08 00:00:00"],
]


def evidence(asked: str = "") -> Evidence:
    found = Evidence()
    found.add_rows(ROWS)
    found.add_value(
        ["Carrier", "Flights", "Mean delay (min)", "90th percentile", 3, 336_776, 0.456]
    )
    found.add_value(["having count(*) >= 336", 5, 517])
    found.add_asked(asked)
    return found


def missing(text: str, asked: str = "") -> list[str]:
    return list(ground([text], evidence(asked)).missing)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1,234 of 5 678 and 9.876,5", ["1,234", "5 678", "9.876,5"]),
        ("F9, q3 and the 90th are names; #12 too", []),
        ("-5.2 to −3, but 3-5 and 2010–2013", ["-5.2", "−3", "3", "5", "2010", "2013"]),
        ("45.6% or 12 percent, 1.2 million, 3k", ["45.6%", "12 percent", "1.2 million", "3k"]),
        ("on 2013-07-01 at 05:17", ["2013-07-01", "05:17"]),
        ("1. First\n2. Second with 42", ["42"]),
        ("20min and 12km", ["20", "12"]),
    ],
)
def test_the_numbers_of_a_text(text: str, numbers: list[str]) -> None:
    assert [said.written for said in read_numbers(text)] == numbers


def test_a_dash_between_numbers_is_no_sign() -> None:
    signs = {said.written: said.is_signed for said in read_numbers("from 3-5, 2010–2013, at -7")}
    assert signs == {"3": False, "5": False, "2010": False, "2013": False, "-7": True}


@pytest.mark.parametrize(
    "text",
    [
        "F9 has a mean delay of 20.215543 min over 682 flights.",
        "F9 is late by 20.22 minutes, or 20.2, or about 20.",
        "US made 19,873 flights (19 873, 19.873 or 19873 elsewhere).",
        "some 19.9k flights, or 0.020 million.",
        "45.6% of all rows, or 46 %.",
        "WN is early: its mean fell by 5.2, that is -5.2.",
        "All 336,776 rows; groups under 336 are left out.",
        "Best on 2013-07-01, worst at 05:17, quiet at 05:00, all in 2013.",
        "The 90th percentile of the 3 groups.",
        "F9 (20.22) is 16.44 above US (3.78).",
        "Of 19,873 and 682 flights together, 20,555 were counted.",
        "US flew 29.1 times as often: 19,873 against 682.",
        "US has 61.0% of the flights.",
        "No figures at all.",
    ],
)
def test_what_follows_from_the_results_is_grounded(text: str) -> None:
    assert missing(text) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("F9 has a mean delay of 21.9 min.", ["21.9"]),
        ("F9 made 628 flights.", ["628"]),
        ("US made 19,837 flights.", ["19,837"]),
        ("47% of all rows.", ["47%"]),
        ("WN rose by -20.2.", ["-20.2"]),
        ("Best on 2013-07-02, worst at 05:18.", ["2013-07-02", "05:18"]),
        ("F9 (20.22) is 17.44 above US (3.78).", ["17.44"]),
        ("1.2 million rows.", ["1.2 million"]),
        ("a tie at 7", ["7"]),
        ("In 2014 it was worse.", ["2014"]),
        ("US has 16.0% of the flights.", ["16.0%"]),
    ],
)
def test_what_does_not_is_named(text: str, wrong: list[str]) -> None:
    assert missing(text) == wrong


def test_what_was_asked_may_be_said_again() -> None:
    assert missing("The 25 largest.", asked="show the 25 largest") == []
    assert missing("The 26 largest.", asked="show the 25 largest") == ["26"]


def test_the_share_is_that_of_the_numbers() -> None:
    found = ground(["682 and 21.9", "20.2 and 3.8"], evidence())
    assert (found.numbers, found.found, found.share) == (4, 3, 0.75)
    assert ground(["nothing"], evidence()).share == 1.0


@given(
    st.lists(st.decimals(-(10**9), 10**9, allow_nan=False, places=6), min_size=1, max_size=20),
    st.integers(0, 4),
    st.data(),
)
def test_a_cell_is_found_however_it_is_rounded_and_grouped(
    cells: list[Decimal], places: int, data: Any
) -> None:
    found = Evidence()
    found.add_rows([[float(cell)] for cell in cells])
    cell = data.draw(st.sampled_from(cells))
    rounded = round(Decimal(repr(float(cell))), places)
    if len(f"{abs(rounded):f}".replace(".", "").lstrip("0")) < 2:
        return
    for text in (f"{rounded:,f}", f"{rounded:f}"):
        assert ground([f"it is {text} now"], found).missing == (), text


@given(st.lists(st.integers(0, 10**6), max_size=15), st.integers(0, 10**6))
def test_a_whole_number_that_nobody_recorded_is_never_found_alone(
    cells: list[int], other: int
) -> None:
    found = Evidence()
    found.add_rows([[cell] for cell in cells])
    is_grounded = ground([f"there were {other} of them"], found).missing == ()
    assert is_grounded == (other in cells)


# --- the guard ------------------------------------------------------------------------------------


def recorded(context: Context) -> Evidence:
    return evidence()


GUARD = Grounding({"write": ("title", "sections.text"), "output": ("findings",)}, recorded=recorded)


def report(text: str) -> dict[str, Any]:
    return {"title": "Of 682", "sections": [{"text": text, "query": "q999"}], "id": "77"}


def test_a_wrong_number_is_told_once_by_name_and_then_halts() -> None:
    first = round_of(GUARD, value=report("21.9 min"), tool="write")
    assert first.kind is Kind.RETRY
    assert "21.9" in first.reason
    again = round_of(
        GUARD, value=report("21.9 min"), tool="write", retried=frozenset({"grounding"})
    )
    assert again.kind is Kind.HALT
    ((_, said),) = again.spoken
    assert said.found == {
        "numbers": 2, "grounded": 1, "share": 0.5, "ways": {"cell": 1}, "missing": ["21.9"],
    }  # fmt: skip


def test_an_agent_may_put_up_with_less() -> None:
    told = {"tool": "write", "retried": frozenset({"grounding"})}
    wrong = report("21.9 min")
    assert judge(GUARD, wrong, confidence_min=0.5, **told).kind is Kind.ALLOW
    assert judge(GUARD, wrong, confidence_min=0.6, **told).kind is Kind.HALT


def test_the_answer_is_given_its_confidence() -> None:
    answer = {"findings": ["682 flights", "20.2 min"], "confidence": None}
    verdict = judge(GUARD, answer, Stage.JOB_OUTPUT)
    assert verdict.kind is Kind.REPLACE
    assert verdict.value == answer | {"confidence": 1.0}
    assert judge(GUARD, {"findings": ["682"]}, Stage.JOB_OUTPUT).kind is Kind.ALLOW


def test_other_tools_are_not_looked_at() -> None:
    assert judge(GUARD, report("21.9"), tool="other").kind is Kind.ALLOW
