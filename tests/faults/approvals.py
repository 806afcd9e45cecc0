"""Approvals under fire: a yes that is given while a worker, Postgres or Redis is being killed.

    python -m tests.faults.approvals --rounds 200 --seed 1

A round is one call that waits for a yes. Rounds come in volleys: all of a volley are struck by one
fault. Some get their yes at the very moment of the strike. Others have it already, and stand where
their worker has claimed the step, is about to act, has acted, or is about to commit. One in five is
given other arguments by an edit. In the end each call has to have taken effect exactly once, with
exactly the arguments of the last question about it, and every law has to hold.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event, Thread
from time import monotonic
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from jobs.lifecycle.deciding import judge_edit
from store import approvals, audit
from store.approvals import Said
from store.rows import ApprovalRow
from store.states import ApprovalState, Decision
from tests.faults import people
from tests.faults.facts import Asked
from tests.faults.laws import Violation
from tests.faults.ledger import read_effects
from tests.faults.members import until
from tests.faults.points import Point
from tests.faults.strikes import kill_redis_server, stop_postgres
from tests.faults.world import World

BUYING = 3
# None: its yes is given at the moment of the strike.
MOMENTS: tuple[Point | None, ...] = (
    None,
    Point.WAKING,
    Point.BEFORE_EFFECT,
    Point.AFTER_EFFECT,
    Point.BEFORE_COMMIT,
)
VOLLEY = len(MOMENTS)
EDITED_EVERY = 5
ASK_S_MAX, STAND_S_MAX, SETTLE_S_MAX = 30.0, 15.0, 60.0
AWAY_S = 0.5
SPREAD_S = 0.15


@dataclass
class Round:
    """One call, what it may be made with, and when its yes is given."""

    asked: Asked
    moment: Point | None
    args: dict[str, Any]
    is_edited: bool
    fault: str

    @property
    def job_id(self) -> UUID:
        return self.asked.job_id


@dataclass
class Figures:
    """What came of the rounds."""

    rounds: int = 0
    strikes: Counter[str] = field(default_factory=Counter)
    stood: Counter[str] = field(default_factory=Counter)
    # Calls by how often they took effect; one is right.
    effects: Counter[int] = field(default_factory=Counter)
    other_arguments: int = 0
    edited: int = 0
    consumed: Counter[int] = field(default_factory=Counter)
    reconciled: int = 0
    unfinished: int = 0
    audit_lines: int = 0
    is_audit_whole: bool = True
    violations: list[Violation] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def is_clean(self) -> bool:
        return (
            set(self.effects) <= {1}
            and set(self.consumed) <= {1}
            and not (self.other_arguments or self.unfinished or self.violations)
            and self.is_audit_whole
        )

    def lines(self) -> Iterator[str]:
        yield f"rounds {self.rounds}, {self.edited} of them edited, in {self.took_s:.0f} s"
        yield f"strikes {dict(self.strikes)}"
        yield f"calls that stood when struck {dict(self.stood)}"
        yield f"calls by how often they took effect {dict(self.effects)}"
        yield f"calls by how often their yes was consumed {dict(self.consumed)}"
        yield f"with other arguments than approved {self.other_arguments}"
        yield f"asked about afterwards, as in doubt {self.reconciled}"
        yield f"jobs that did not complete {self.unfinished}"
        yield f"audit {self.audit_lines} lines, whole {self.is_audit_whole}"
        yield f"violations of laws {len(self.violations)}"
        yield from map(str, self.violations[:20])


# --- a volley -------------------------------------------------------------------------------------


def run(world: World, rounds: int, seed: int, say: Callable[[str], None]) -> Figures:
    """So many rounds, in volleys, and what came of them."""
    began, draw, done = monotonic(), random.Random(seed), list[Round]()
    figures = Figures()
    for number in range(-(-rounds // VOLLEY)):
        fault = tuple(STRIKES)[number % len(STRIKES)]
        count = min(VOLLEY, rounds - len(done))
        volley = [begin(world, len(done) + n, fault) for n in range(count)]
        fight(world, volley, fault, draw, figures)
        done += volley
        say(f"{len(done)} of {rounds} rounds, {monotonic() - began:.0f} s")
    count_up(world, done, figures)
    figures.took_s = monotonic() - began
    return figures


def begin(world: World, number: int, fault: str) -> Round:
    """Ask for a job whose call needs a yes, and arm the point at which it is to stand."""
    job_id, moment = uuid7(), MOMENTS[number % VOLLEY]
    if moment is not None:
        world.board.arm(job_id, moment, (BUYING,))
    asked = world.submit("buyer", job_id=job_id, fault=fault)
    args = {"what": f"{asked.input['token']}/0-1"}
    is_edited = (number // VOLLEY) % EDITED_EVERY == number % VOLLEY
    if is_edited:
        args = {"what": args["what"] + "-edited"}
        told = asked.expected.replace("/0-1", "/0-1-edited", 1)
        asked = replace(asked, expected=told)
        world.facts.asked[-1] = asked
    return Round(asked, moment, args, is_edited, fault)


def fight(
    world: World, volley: Sequence[Round], fault: str, draw: random.Random, figures: Figures
) -> None:
    """Let all come to where they are to stand, strike, and see them through."""
    until(lambda: all(waits(world, each) for each in volley), ASK_S_MAX)
    early = [each for each in volley if each.moment is not None]
    for each in early:
        decide(world, each)
    with suppress(TimeoutError):
        until(lambda: {each.job_id for each in early} <= standing(world).keys(), STAND_S_MAX)
    for each in early:
        if each.job_id in standing(world):
            figures.stood[str(each.moment)] += 1
    late = [Thread(target=decide, args=(world, each)) for each in volley if each.moment is None]
    delay_s = draw.uniform(0.0, SPREAD_S)
    struck = Thread(target=strike, args=(world, fault, volley, delay_s))
    struck.start()
    for each in late:
        Event().wait(draw.uniform(0.0, SPREAD_S))
        each.start()
    for thread in (struck, *late):
        thread.join()
    figures.strikes[fault] += 1
    see_through(world, volley)


def see_through(world: World, volley: Sequence[Round]) -> None:
    """Answer what is in doubt by what the ledger says, until all of the volley are over."""
    jobs = [each.job_id for each in volley]
    over = "select count(*) from stepwell.jobs where id = any(%s) and finished_at is not null"
    for _ in volley:
        with suppress(TimeoutError):
            until(lambda: world.are_settled(jobs), SETTLE_S_MAX)
        [(count,)] = world.patiently(lambda: world.ask(over, jobs))
        if count == len(jobs):
            return
        for tenant in world.tenants:
            people.answer_those_of(world, tenant)


def waits(world: World, each: Round) -> bool:
    return pending(world, each) is not None


def pending(world: World, each: Round) -> ApprovalRow | None:
    """The question about the call, while it is open."""
    found = world.as_tenant(
        each.asked.tenant_id, lambda tx: approvals.list_pending(tx, job_id=each.job_id)
    )
    return found[0] if found else None


def standing(world: World) -> dict[UUID, int]:
    """Which jobs have come to their point, and in which process."""
    return {UUID(each.job): each.pid for each in world.board.reached()}


def decide(world: World, each: Round) -> None:
    """Say yes to what is shown, or to other arguments, until that was heard."""
    asked = pending(world, each)
    if asked is None:
        return
    tenant_id = each.asked.tenant_id
    said = Said(Decision.APPROVE)
    if each.is_edited:
        question = world.as_tenant(
            tenant_id, lambda tx: judge_edit(tx, world.desk.registry, asked, each.args)
        )
        said = Said(Decision.EDIT, edited=question)
    people.decide(world, tenant_id, asked, said)


# --- the strikes ----------------------------------------------------------------------------------


def strike(world: World, fault: str, volley: Sequence[Round], delay_s: float) -> None:
    Event().wait(delay_s)
    STRIKES[fault](world, volley)


def kill_workers(world: World, volley: Sequence[Round]) -> None:
    """kill -9 of every worker in which one of these stands, or of the first if none does."""
    where = standing(world)
    pids = {where[each.job_id] for each in volley if each.job_id in where}
    members = [each for each in world.crew.of("worker") if each.pid in pids]
    for member in members or world.crew.of("worker")[:1]:
        member.kill()
    open_gates(world, volley)
    world.crew.wait_until_ready()


def crash_postgres(world: World, volley: Sequence[Round]) -> None:
    stop_postgres(world, signal.SIGQUIT)
    open_gates(world, volley)
    Event().wait(AWAY_S)
    world.postgres.start()


def kill_redis(world: World, volley: Sequence[Round]) -> None:
    kill_redis_server(world)
    open_gates(world, volley)
    Event().wait(AWAY_S)
    world.redis_server.start()


def open_gates(world: World, volley: Sequence[Round]) -> None:
    for each in volley:
        world.board.open_gate(each.job_id)


STRIKES: dict[str, Callable[[World, Sequence[Round]], None]] = {
    "worker killed": kill_workers,
    "postgres crashed": crash_postgres,
    "redis killed": kill_redis,
}


# --- what came of it ------------------------------------------------------------------------------


def count_up(world: World, rounds: Sequence[Round], figures: Figures) -> None:
    """Compare the ledger with what was approved, walk the audit, and hold every law."""
    ended = [e for e in read_effects(world.facts.ledger) if e.phase == "end" and e.tool == "buy"]
    figures.rounds = len(rounds)
    for each in rounds:
        happened = [effect for effect in ended if effect.job_id == each.job_id]
        figures.effects[len(happened)] += 1
        figures.edited += each.is_edited
        figures.other_arguments += sum(effect.args != each.args for effect in happened)
        figures.consumed[count_consumed(world, each)] += 1
    statement = "select count(*) from stepwell.jobs where status <> 'completed' and id = any(%s)"
    [(figures.unfinished,)] = world.ask(statement, [each.job_id for each in rounds])
    [(figures.reconciled,)] = world.ask(
        "select count(*) from stepwell.waits where kind = 'reconcile'"
    )
    for tenant_id in world.tenants:
        found = world.as_tenant(tenant_id, lambda tx, t=tenant_id: audit.verify(tx, t))
        figures.audit_lines += found.lines
        figures.is_audit_whole &= found.is_whole
    figures.violations = world.examine().violations


def count_consumed(world: World, each: Round) -> int:
    """How many lines of the audit say that a yes of this call was consumed."""
    found = world.as_tenant(each.asked.tenant_id, lambda tx: approvals.list_of(tx, each.job_id))
    granted = [a for a in found if a.state is ApprovalState.GRANTED and a.args == each.args]
    statement = (
        "select count(*) from stepwell.audit where content ->> 'kind' = 'approval.consumed'"
        " and content ->> 'job_id' = %s"
    )
    [(lines,)] = world.ask(statement, str(each.job_id))
    return int(lines) if len(granted) == 1 else -1


def say_aloud(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.approvals")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    with World(workers=2) as world:
        figures = run(world, args.rounds, args.seed, say_aloud)
    print("\n".join(figures.lines()))
    return 0 if figures.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
