"""A short part of the matrix on real processes, and that a world strikes when it says and where."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import psycopg
import pytest

from store.embedded import PrivatePostgres
from tests.faults import comeback, matrix, proxy, tally
from tests.faults.members import Crew, until
from tests.faults.points import Point
from tests.faults.strikes import FAULTS
from tests.faults.wave import FLEETING, TRANSITIONS
from tests.faults.weather import STROKES, schedule
from tests.faults.world import World

SHORT = ("worker killed", "postgres crashed", "answer lost", "redis killed", "mail server died")
RECOVERY_S_MAX = 5.0


@pytest.mark.timeout(240)
def test_whatever_strikes_wherever_nothing_is_lost_and_nothing_is_done_twice() -> None:
    faults = [fault for fault in FAULTS if fault.name in SHORT]
    with World(workers=2) as world:
        matrix.run(world, faults, each=1, rounds={}, say=lambda _: None)
        counted = tally.count(world)
    assert counted.violations == []
    assert (counted.lost, counted.duplicated_commits, counted.repeated_effects) == (0, 0, 0)
    assert (counted.wrong, counted.parked) == ({}, 0)
    assert counted.questions["reconcile"] > 0, "somebody was asked what came of a call"
    struck = {(cell.fault, cell.transition) for cell in counted.cells if cell.struck}
    for fault in faults:
        for point in set(fault.points) - set(FLEETING):
            assert (fault.name, TRANSITIONS.get(point, point).value) in struck
    assert counted.recovery_p99_s < RECOVERY_S_MAX


def test_the_faults_of_a_storm_follow_from_its_seed_alone() -> None:
    first, again = list(islice(schedule(7), 400)), list(islice(schedule(7), 400))
    assert first == again
    assert first != list(islice(schedule(8), 400))
    assert {planned.fault for planned in first} == set(STROKES)
    assert all(1.0 <= b.at_s - a.at_s <= 2.5 for a, b in pairwise(first))


def test_every_fault_is_in_the_matrix_at_every_transition_it_can_strike() -> None:
    transitions = {
        fault.name: {TRANSITIONS.get(point, point) for point in fault.points} for fault in FAULTS
    }
    everywhere = set(Point) - {Point.PARKING}
    missing = {name: everywhere - found for name, found in transitions.items()}
    assert {name for name, left in missing.items() if left} == {
        "answer lost",  # there is none on its way after a commit
        "disk full",  # nobody writes an artifact while parked or waking
        "mail server died",  # it is in the middle of an effect
    }
    assert missing["answer lost"] == {Point.AFTER_COMMIT}


def test_a_comeback_is_the_first_second_as_good_as_before() -> None:
    before = [n / 100 for n in range(500)]
    after = [8.0 + n / 100 for n in range(2000)]
    found = comeback.compare(before + after, lost_at=5.0)
    assert found.steps_per_s == pytest.approx(100)
    assert found.back_s == pytest.approx(2.9, abs=0.11)
    assert math.isinf(comeback.compare(before, lost_at=5.0).back_s)


@pytest.fixture
def wire(tmp_path: Path, postgres: PrivatePostgres) -> Iterator[tuple[int, int]]:
    """The ports of a wire to the session's Postgres, and of its control."""
    crew, ports = Crew(tmp_path), tmp_path / "ports"
    path = str(postgres.folder / ".s.PGSQL.5432")
    crew.join("proxy", 0, {}, "--to", path, "--ports", str(ports))
    until(ports.exists, 30.0)
    first, second = ports.read_text().split()
    yield int(first), int(second)
    crew.end()


def test_a_lost_answer_leaves_what_was_asked_done(
    wire: tuple[int, int], postgres: PrivatePostgres
) -> None:
    url = postgres.admin_url.partition("@")[0] + f"@{proxy.HOST}:{wire[0]}/stepwell"
    with psycopg.connect(postgres.admin_url, autocommit=True) as direct:
        direct.execute("create table if not exists lost_answers (n int)")
        direct.execute("truncate lost_answers")
        with psycopg.connect(url, autocommit=True) as client:
            client.prepare_threshold = 0
            client.execute("insert into lost_answers values (%b)", (1,))
            assert proxy.tell(wire[1], "cut any") == "ok"
            with pytest.raises(psycopg.OperationalError):
                client.execute("insert into lost_answers values (%b)", (2,))
        assert direct.execute("select n from lost_answers order by n").fetchall() == [(1,), (2,)]
        assert proxy.tell(wire[1], "count") == "1"
