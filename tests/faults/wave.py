"""A wave: jobs that stand still, some at every transition, and are struck together.

Each job of a wave is aimed at one transition: it is armed before it exists, and its own step comes
to stand exactly there. When all have come, or a bounded time has passed, a fault strikes. Only jobs
that stood at their point when it struck count as struck.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from time import monotonic
from uuid import UUID

from uuid_utils.compat import uuid7

from tests.faults.facts import Asked, Outcome, Struck
from tests.faults.mailserver import Mood
from tests.faults.members import until
from tests.faults.points import Point, Reached
from tests.faults.world import World

REACH_S_MAX, PARK_S_MAX = 20.0, 5.0
SETTLE_S_MAX = 60.0
# Long enough that the next step is a ring of its own, and never rides along.
NAP_MS = 60.0
# The step of a patient job that waits for the signal `go`.
LISTENING = (4,)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where in which program a transition can be met; several steps stand together at a join."""

    program: str
    seqs: tuple[int, ...]


CHAIN, FANOUT, PATIENT, PARENT, MAILER = "chain", "fanout", "patient", "parent", "mailer"
MOODS: dict[Point, tuple[Mood, ...]] = {
    Point.BEFORE_EFFECT: ("cuts_in",),
    Point.AFTER_EFFECT: ("cuts_off",),
    Point.JOINING: ("cuts_in", "cuts_off"),
}
SPOTS: dict[Point, tuple[Spot, ...]] = {
    Point.BEFORE_CLAIM: (Spot(CHAIN, (6,)), Spot(FANOUT, (3,))),
    Point.AFTER_CLAIM: (Spot(CHAIN, (6,)), Spot(FANOUT, (4,)), Spot(FANOUT, (6,))),
    Point.BEFORE_EFFECT: (Spot(CHAIN, (3,)), Spot(FANOUT, (4,)), Spot(CHAIN, (6,))),
    Point.AFTER_EFFECT: (Spot(CHAIN, (6,)), Spot(FANOUT, (3,)), Spot(FANOUT, (5,))),
    Point.BEFORE_COMMIT: (Spot(CHAIN, (4,)), Spot(FANOUT, (6,)), Spot(CHAIN, (10,))),
    Point.AFTER_COMMIT: (Spot(CHAIN, (5,)), Spot(FANOUT, (1,)), Spot(CHAIN, (2,))),
    Point.PARKING: (Spot(PATIENT, (4,)), Spot(PATIENT, (2,)), Spot(PARENT, (2,))),
    Point.PARKED: (Spot(PATIENT, (4,)),),
    Point.WAKING: (Spot(PATIENT, (4,)), Spot(PARENT, (2,)), Spot(PATIENT, (2,))),
    Point.JOINING: (Spot(FANOUT, (2, 3, 4, 5)), Spot(FANOUT, (3, 5)), Spot(FANOUT, (7, 8, 9))),
    Point.CANCELLING: (Spot(CHAIN, (5,)), Spot(FANOUT, (4,)), Spot(FANOUT, (1,))),
}

# A point that is a side of a transition which has a name already.
TRANSITIONS = {Point.PARKING: Point.PARKED}
# Nobody can be kept at these for long: it is rung again, and the job goes on elsewhere.
FLEETING = (Point.BEFORE_CLAIM, Point.AFTER_COMMIT)


@dataclass
class Aim:
    """One job of a wave, and where it stands."""

    asked: Asked
    point: Point
    seqs: tuple[int, ...]
    standing: list[Reached] = field(default_factory=list)
    is_open: bool = False
    is_signalled: bool = False
    struck: Struck | None = None

    @property
    def job_id(self) -> UUID:
        return self.asked.job_id

    @property
    def has_come(self) -> bool:
        return {each.seq for each in self.standing} == set(self.seqs)

    @property
    def pids(self) -> set[int]:
        return {each.pid for each in self.standing}


class Wave:
    """The jobs aimed for one fault."""

    def __init__(self, world: World, fault: str) -> None:
        self.world = world
        self.fault = fault
        self.aims: list[Aim] = []

    # -- before the strike ------------------------------------------------------------------

    def aim(self, points: Iterable[Point], each: int, spots: dict[Point, Sequence[Spot]]) -> None:
        """Send `each` jobs towards every one of these points."""
        for point in points:
            known = [s for s in spots.get(point, SPOTS[point]) if self.world.serves(s.program)]
            for spot in islice(cycle(known), each):
                self._send(point, spot)

    def _send(self, point: Point, spot: Spot) -> None:
        job_id = uuid7()
        self._arm(job_id, point, spot)
        outcomes: tuple[Outcome, ...] = (
            ("cancelled",) if point is Point.CANCELLING else ("completed",)
        )
        asked = self.world.submit(
            spot.program,
            nap_ms=NAP_MS,
            job_id=job_id,
            outcomes=outcomes,
            fault=self.fault,
            transition=TRANSITIONS.get(point, point).value,
        )
        self.aims.append(Aim(asked, point, spot.seqs))

    def _arm(self, job_id: UUID, point: Point, spot: Spot) -> None:
        if spot.program == MAILER:
            # It is the mail server that stands there, before it has taken the mail or after.
            for seq, mood in zip(spot.seqs, cycle(MOODS[point]), strict=False):
                self.world.mail.die_at(seq, job_id, mood)
        else:
            self.world.board.arm(job_id, point, spot.seqs)

    def wait_until_all_stand(self) -> None:
        """Wait until everybody stands at their point, for a bounded time; then ask for cancels."""
        self._signal_the_waking()
        try:
            until(self._all_have_come, REACH_S_MAX)
        except TimeoutError:
            late = [f"{a.point}:{a.asked.program}{a.seqs}" for a in self.aims if not a.has_come]
            print(f"  {self.fault}: {len(late)} jobs did not come to their point: {set(late)}")
        for aim in self.aims:
            if aim.point is Point.CANCELLING and aim.has_come:
                self.world.cancel(aim.asked)

    def _all_have_come(self) -> bool:
        self.look()
        return all(aim.has_come for aim in self.aims)

    def look(self) -> None:
        """See who stands where."""
        by_job = {str(aim.job_id): aim for aim in self.aims}
        for aim in self.aims:
            aim.standing.clear()
        for reached in self.world.board.reached():
            if reached.job in by_job:
                by_job[reached.job].standing.append(reached)
        for (seq, job), at in list(self.world.mail.struck.items()):
            if job in by_job and seq in by_job[job].seqs:
                by_job[job].standing.append(Reached(job, seq, by_job[job].point, 0, at))

    def _signal_the_waking(self) -> None:
        """Wake by a signal those that are aimed at their waking from one, once they wait for it."""
        waking = [a for a in self.aims if a.point is Point.WAKING and a.seqs == LISTENING]
        for aim in waking:
            with suppress(TimeoutError):
                until(partial(self.world.is_waiting, aim.asked, "go"), PARK_S_MAX)
            self.world.signal(aim.asked, "go")

    # -- the strike -------------------------------------------------------------------------

    @property
    def pids(self) -> list[int]:
        """The processes in which somebody stands, the one with most of them first."""
        self.look()
        count = Counter(pid for aim in self.aims if not aim.is_open for pid in aim.pids)
        return [pid for pid, _ in count.most_common()]

    @property
    def is_fleeting(self) -> bool:
        return any(aim.point in FLEETING for aim in self.aims)

    def standing_in(self, pid: int) -> list[Aim]:
        self.look()
        return [aim for aim in self.aims if not aim.is_open and pid in aim.pids]

    def strike(self, aims: Iterable[Aim], at: float, healed_at: float | None = None) -> None:
        """Remember that these were struck by one fault; healed at once unless told otherwise."""
        self.world.faults[self.fault] += 1
        for aim in aims:
            if aim.standing and aim.struck is None and not self._has_gone_on(aim, at):
                aim.struck = Struck(
                    aim.job_id,
                    self.fault,
                    aim.asked.transition,
                    at,
                    at if healed_at is None else healed_at,
                    aim.seqs[0],
                )

    def _has_gone_on(self, aim: Aim, at: float) -> bool:
        """Whether the job has got past where it stands, by another ring, before it was struck."""
        latest = self.world.begun.latest().get(str(aim.job_id))
        has_begun_more = latest is not None and latest.seq > aim.seqs[-1] and latest.at < at
        return aim.point in FLEETING and has_begun_more

    def open(self, aims: Iterable[Aim], word: str = "go") -> None:
        """Let these jobs go on, wherever they still stand."""
        for aim in aims:
            aim.is_open = True
            self.world.board.open_gate(aim.job_id, word)

    def open_all(self, word: str = "go") -> None:
        self.open([aim for aim in self.aims if not aim.is_open], word)

    def wake_the_parked(self, aims: Iterable[Aim]) -> None:
        """Send what the parked ones wait for; for them, nothing is over before that."""
        for aim in aims:
            if aim.asked.program == PATIENT and not aim.is_signalled:
                aim.is_signalled = True
                self.world.signal(aim.asked, "go")
                if aim.struck is not None and aim.point is Point.PARKED:
                    aim.struck = replace(aim.struck, healed_at=monotonic())

    # -- after the strike -------------------------------------------------------------------

    def settle(self) -> None:
        """Let everybody go on, send what is still waited for, and wait until all have settled."""
        self.open_all()
        self.wake_the_parked(self.aims)
        self.world.facts.struck += [aim.struck for aim in self.aims if aim.struck]
        jobs = [aim.job_id for aim in self.aims]
        try:
            until(lambda: self.world.are_settled(jobs), SETTLE_S_MAX)
        except TimeoutError:
            print(f"  {self.fault}: not everybody has settled within {SETTLE_S_MAX:.0f} s")
