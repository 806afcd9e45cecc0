"""The tally: what became of every job, counted by what had struck it."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from tests.faults import capacity
from tests.faults.facts import Asked, Struck
from tests.faults.ledger import Began, read_begins, read_effects
from tests.faults.world import World

QUESTIONED, LOST, KILLED = "input_required", "lost", "worker killed"


@dataclass(slots=True)
class Row:
    """A fault, or a cell of fault and transition.

    Recovery is in seconds: `from_strike` from when it struck, `from_healed` from when whatever was
    broken worked again; `able` has those from the strike when somebody was there to take over.
    """

    fault: str
    transition: str = ""
    times: int = 0
    jobs: int = 0
    struck: int = 0
    lost: int = 0
    otherwise: dict[str, int] = field(default_factory=dict)
    from_strike: list[float] = field(default_factory=list)
    from_healed: list[float] = field(default_factory=list)
    able: list[float] = field(default_factory=list)

    def add(self, other: Row) -> None:
        """Count the other one's jobs and strikes in."""
        self.jobs += other.jobs
        self.struck += other.struck
        self.lost += other.lost
        self.from_strike += other.from_strike
        self.from_healed += other.from_healed
        self.able += other.able
        for said, times in other.otherwise.items():
            self.otherwise[said] = self.otherwise.get(said, 0) + times

    def as_json(self) -> dict[str, Any]:
        told = asdict(self)
        for name in ("from_strike", "from_healed", "able"):
            taken = told.pop(name)
            told |= {f"{name}_p{p}_s": rounded(percentile(taken, p)) for p in (50, 99)}
        return told


@dataclass(slots=True)
class Tally:
    """Everything that was counted over a world; `by_fault` sums the cells up."""

    cells: list[Row]
    jobs: int
    times: Counter[str]
    lost: int
    duplicated_commits: int
    repeated_effects: int
    # How often people were asked, by what; and how many jobs wait for them still.
    questions: dict[str, int]
    parked: int
    wrong: dict[str, int]
    violations: list[str]

    @property
    def faults(self) -> int:
        """How often something was broken."""
        return self.times.total()

    @property
    def by_fault(self) -> list[Row]:
        summed = {fault: Row(fault, times=times) for fault, times in self.times.items()}
        for cell in self.cells:
            summed.setdefault(cell.fault, Row(cell.fault)).add(cell)
        return sorted(summed.values(), key=lambda row: (not row.fault, row.fault))

    @property
    def killed(self) -> Row:
        """What became of the steps of killed workers."""
        return next((row for row in self.by_fault if row.fault == KILLED), Row(KILLED))

    @property
    def recovery_p99_s(self) -> float:
        """How soon steps of killed workers ran again where somebody could take over, 99 of 100."""
        return percentile(self.killed.able, 99)

    @property
    def is_clean(self) -> bool:
        faulty = self.lost or self.duplicated_commits or self.repeated_effects
        return not (faulty or self.wrong or self.violations)


def percentile(values: Sequence[float], p: float) -> float:
    """The smallest value that p percent of all do not exceed; nan when there are none."""
    if not values:
        return math.nan
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * p / 100) - 1)]


def rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)


@dataclass(frozen=True, slots=True)
class End:
    """How a job stands, and when it ended by the machine's monotonic clock."""

    status: str
    waiting_for: str | None
    ended_at: float | None
    output: Any
    error_class: str | None


def read_ends(world: World) -> dict[UUID, End]:
    """How every job stands now."""
    since_boot = time.time() - time.monotonic()
    rows = world.ask(
        "select id, status, waiting_for, extract(epoch from finished_at)::float8, output,"
        " error ->> 'class' from stepwell.jobs"
    )
    return {
        row[0]: End(row[1], row[2], None if row[3] is None else row[3] - since_boot, *row[4:])
        for row in rows
    }


def recovered_at(struck: Struck, begins: Iterable[Began], end: End | None) -> float | None:
    """When the job was at work again: its struck step anew, or else what follows it, or its end."""
    later = [each for each in begins if each.at > struck.at]
    again = [each.at for each in later if each.seq == struck.step]
    after = [each.at for each in later if each.seq > (struck.step or 0)]
    if again or after:
        return min(again or after)
    return end.ended_at if end is not None else None


def verdict(asked: Asked, end: End | None) -> str:
    """Empty when the job came to what it had to; otherwise what it came to instead."""
    if end is None:
        return LOST
    if end.ended_at is None:
        return "" if end.status == QUESTIONED else LOST
    if end.status not in asked.outcomes:
        return f"{end.status}: {end.error_class}" if end.error_class else end.status
    if end.status == "completed" and end.output != asked.expected:
        return "wrong output"
    return ""


def count(world: World) -> Tally:
    """Count a world that has come to rest, and hold the laws against it."""
    facts, ends = world.facts, read_ends(world)
    cells = Cells()
    for asked in facts.asked:
        cells.ask(asked, verdict(asked, ends.get(asked.job_id)))
    there = capacity.read(world)
    begins: dict[str, list[Began]] = defaultdict(list)
    for began in read_begins(facts.claims):
        begins[began.job].append(began)
    for struck in facts.struck:
        at = recovered_at(struck, begins[str(struck.job_id)], ends.get(struck.job_id))
        cells.strike(struck, at, is_able=there.could_take_over(struck.at))
    examined = world.examine()
    return Tally(
        cells=list(cells.rows.values()),
        jobs=len(facts.asked),
        times=world.faults,
        lost=max(cells.lost, examined.counts.lost),
        duplicated_commits=max(count_duplicated_commits(world), examined.counts.duplicated_commits),
        repeated_effects=max(count_repeated_effects(world), examined.counts.repeated_effects),
        questions=dict(Counter(answered.kind for answered in facts.answered)),
        parked=sum(end.status == QUESTIONED for end in ends.values()),
        wrong=dict(cells.wrong),
        violations=[str(violation) for violation in examined.violations],
    )


class Cells:
    """The rows, filled job by job and strike by strike."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.lost = 0
        self.wrong: Counter[str] = Counter()

    def _row(self, fault: str, transition: str) -> Row:
        return self.rows.setdefault((fault, transition), Row(fault, transition))

    def ask(self, asked: Asked, said: str) -> None:
        row = self._row(asked.fault, asked.transition)
        row.jobs += 1
        if said == LOST:
            row.lost += 1
            self.lost += 1
        elif said:
            row.otherwise[said] = row.otherwise.get(said, 0) + 1
            self.wrong[said] += 1

    def strike(self, struck: Struck, recovered: float | None, *, is_able: bool) -> None:
        row = self._row(struck.fault, struck.transition)
        row.struck += 1
        if recovered is not None:
            row.from_strike.append(max(0.0, recovered - struck.at))
            row.from_healed.append(max(0.0, recovered - struck.healed_at))
            if is_able:
                row.able.append(row.from_strike[-1])


def count_duplicated_commits(world: World) -> int:
    """Steps that were told of as completed more than once."""
    [(found,)] = world.ask(
        "select count(*) from (select 1 from stepwell.events where type = 'step.completed'"
        " group by tenant_id, job_id, data ->> 'seq' having count(*) > 1) twice"
    )
    return int(found)


def count_repeated_effects(world: World) -> int:
    """Effects without any idempotency that took place more than once."""
    times: dict[str, int] = defaultdict(int)
    for effect in read_effects(world.facts.ledger):
        if effect.phase == "end" and effect.idempotency == "none":
            times[effect.key] += 1
    return sum(count - 1 for count in times.values())
