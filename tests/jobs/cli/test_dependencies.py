"""`stepwell dependencies`: the table, what is wrong, and the answer to what if."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from broker.gates import Came
from broker.settings import BrokerSettings
from jobs.cli.dependencies import read_what_if
from jobs.cli.speech import Complaint
from tests.broker.gatekeeping import CRM, LEASE_S, Keeper, keeping
from tests.conftest import Database
from tests.jobs.cli.conftest import Run
from tests.jobs.outside import OUTSIDE
from tests.jobs.parking import fail, submit, take
from tests.jobs.serving import TOKEN, Served, serve


@pytest.fixture
def served(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Served]:
    with capture_logs(), serve(database, redis_url, tmp_path / "home", agents=OUTSIDE) as api:
        yield api


@pytest.fixture
def keeper(broker_settings: BrokerSettings) -> Iterator[Keeper]:
    with keeping(broker_settings) as opened:
        yield opened


def line_of(name: str, text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(name))


def test_every_dependency_is_a_line_with_who_uses_it(run: Run) -> None:
    said = run("dependencies")
    assert said.code == 0
    assert "unused" in line_of("crm", said.out)
    assert "openai is used by   helper (model)" in said.out
    assert "weather is used by  enrich (add_weather, optional)" in said.out


def test_the_numbers_of_a_gate_are_on_its_line(run: Run, keeper: Keeper) -> None:
    keeper.learn(total_s=2.0, first_s=0.5)
    keeper.fill(3)
    line = " ".join(line_of("crm", run("dependencies").out).split())
    assert line == "crm ✓ open 3/16 500 ms … 500 ms 2.0 s … 2.0 s 2.0 s, 6.0 s 1.00×"


def test_a_shut_gate_says_why_for_how_long_and_what_comes_then(run: Run, keeper: Keeper) -> None:
    keeper.call(Came.RATE_LIMITED, retry_after_s=300)
    keeper.enter()
    said = run("dependencies")
    assert "✗ shut, 5 min left" in line_of("crm ", said.out) or "✗ shut, 4 min" in said.out
    assert (
        "crm: it said to come back later (429); the next call goes alone, as a probe, 1 step will "
        "come back for it." in said.out
    )


def test_retries_that_eat_the_limit_are_told(run: Run, keeper: Keeper) -> None:
    for is_first_try in (True, False):
        held = keeper.gates.enter(CRM, "job:1", lease_s=LEASE_S, is_first_try=is_first_try)
        keeper.gates.leave(held, Came.OK)
    assert "2.00 calls go out for each that was wanted" in run("dependencies").out


def give_up(served: Served, dependency: str) -> None:
    job_id = submit(served, "enrich")
    error = {"class": "rate_limited", "message": "429", "hint": "", "dependency": dependency}
    fail(served, take(served, job_id), error)


def test_dead_letters_of_one_that_is_well_are_offered_for_replay(run: Run, served: Served) -> None:
    give_up(served, CRM)
    give_up(served, CRM)
    said = run("dependencies").out
    assert "crm: 2 dead letters wait for it. Replay now that it is not shut:" in said
    assert "  stepwell dead-letters replay --all --dependency crm --per-second 5" in said
    assert "weather: " not in said
    replayed = run("dead-letters", "replay", "--all", "--dependency", CRM, "--yes")
    assert "2 dead letters lined up" in replayed.err


def test_dead_letters_of_one_that_is_shut_are_for_later(
    run: Run, served: Served, keeper: Keeper
) -> None:
    give_up(served, CRM)
    keeper.call(Came.RATE_LIMITED, retry_after_s=300)
    said = run("dependencies").out
    assert "crm: 1 dead letter waits for it. Replay when it is open again:" in said


def test_a_narrow_terminal_keeps_what_matters_on_one_line(
    run: Run, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper.learn(total_s=2.0, first_s=0.5)
    monkeypatch.setenv("COLUMNS", "80")
    said = run("dependencies")
    assert "2.0 s … 2.0 s" in line_of("crm", said.out)
    assert max(map(len, said.out.splitlines())) <= 80


def test_data_is_json(run: Run, keeper: Keeper) -> None:
    keeper.call(Came.OK)
    names = [each["name"] for each in json.loads(run("dependencies", "--json").out)]
    assert names == ["crm", "openai", "weather"]
    seen = json.loads(run("dependencies", "--what-if", "crm=10x", "--json").out)
    assert (seen["name"], seen["factor"]) == ("crm", 10)


def test_what_if_is_answered_in_sentences(run: Run, served: Served, keeper: Keeper) -> None:
    served.hand.start_worker(slots=40)
    keeper.learn(total_s=3.0, times=120)
    said = run("dependencies", "--what-if", "crm=10x")
    assert said.code == 0
    assert said.out.startswith("what if crm took 10 times as long")
    assert "none of them holds a worker" in said.out.replace("\n", " ")
    assert "Used by: enrich (look_up), helper (look_up)." in said.out


def test_what_if_of_one_that_nobody_called_is_refused(run: Run) -> None:
    said = run("dependencies", "--what-if", "crm=10x")
    assert said.code == 2
    assert "Nobody has called 'crm' within a day" in said.err


def test_where_nothing_outside_is_called_it_says_how_tools_name_it(
    nowhere: Run,
    database: Database,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with capture_logs(), serve(database, redis_url, tmp_path / "home", agents=()) as api:
        monkeypatch.setenv("STEPWELL_URL", api.url)
        monkeypatch.setenv("STEPWELL_API_TOKEN", TOKEN)
        said = nowhere("dependencies")
    assert (said.code, said.out) == (0, "")
    assert '@tool(dependency="crm")' in said.err


@pytest.mark.parametrize("raw", ["crm", "crm=", "=10x", "crm=x", "crm=0x", "crm=-1x"])
def test_a_what_if_that_is_none_is_explained(raw: str) -> None:
    with pytest.raises(Complaint, match="how many times as long") as told:
        read_what_if(raw)
    assert told.value.hint == "--what-if openai=10x"


def test_a_what_if_may_leave_the_x_out_and_be_a_fraction() -> None:
    assert read_what_if("openai=2.5") == ("openai", 2.5)
