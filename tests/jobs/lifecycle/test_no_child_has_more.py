"""Whatever the family: no job has a tool, an origin, a budget or a deadline that its parent lacked.

Each example draws tools and the doors they are for, agents with some of the tools and budgets of
their own, and a family: who hands what to whom, and by when it is wanted. The models of all of them
call every tool that there is, whether it was offered or not.

What the models were offered and what the tools did is written into the ledger. It is held against
what this test knows by itself: the door that the first job came through, and what was drawn.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from jobs import Agent, Child, Delegate, Limits, ToolContext, tool
from jobs.agent.tool import Tool
from store import budgets
from store import jobs as stored
from store.budgets import Account
from store.rows import JobRow
from store.states import BudgetUnit, JobStatus, Origin, StepKind, StepState
from tests.budgeted import TOKENS_IN, TOKENS_OUT
from tests.budgeting import JOB, STEPS, TOKENS, USD, Bookkeeper
from tests.housing import Household
from tests.programs import note

TOOLS = ("fetch", "file", "phone")
AGENTS = ("ada", "bob", "cyd")
DOORS = sorted(set(Origin) - {Origin.AGENT})
ROLES = ("finance",)
JOBS_MAX = 100


# --- what is drawn --------------------------------------------------------------------------------


class Task(BaseModel):
    """What a job is to hand on, to whom, and by when; its name says where in the family it is."""

    name: str = "0"
    agent: str
    deadline_s: float | None = None
    tasks: list[Task] = []

    def named(self, name: str) -> Task:
        below = [each.named(f"{name}.{n}") for n, each in enumerate(self.tasks)]
        return self.model_copy(update={"name": name, "tasks": below})

    def all(self) -> Iterator[Task]:
        yield self
        for each in self.tasks:
            yield from each.all()


@dataclass(frozen=True)
class Worker:
    """An agent: its tools, and what it may use at most, by unit."""

    tools: frozenset[str]
    caps: dict[str, Any]

    def cap(self, unit: BudgetUnit) -> Decimal | None:
        given = self.caps.get(CAP_NAMES[unit])
        return None if given is None else Decimal(given)


@dataclass(frozen=True)
class Family:
    """The doors of each tool, the agents, the first job's task and how it came."""

    doors: dict[str, frozenset[Origin] | None]
    workers: dict[str, Worker]
    task: Task
    origin: Origin
    wanted: dict[BudgetUnit, Decimal]

    @property
    def budget(self) -> dict[BudgetUnit, Decimal]:
        """What is asked for the first job: no more than its agent allows."""
        own = self.workers[self.task.agent]
        return {unit: min(cap, own.cap(unit) or cap) for unit, cap in self.wanted.items()}

    def is_for(self, name: str, line: frozenset[Origin]) -> bool:
        doors = self.doors[name]
        return doors is None or line - {Origin.AGENT} <= doors

    def offered(self, task: Task) -> set[str]:
        """What a job with this task has to be offered, and no more."""
        line = frozenset({self.origin})
        own = {name for name in self.workers[task.agent].tools if self.is_for(name, line)}
        return own | {"hand_on"}


DEADLINES = st.none() | st.sampled_from([300.0, 600.0, 900.0])
NAMES = st.sampled_from(AGENTS)
CAPS = st.fixed_dictionaries(
    {},
    optional={
        "steps_max": st.integers(5, 40),
        "tokens_max": st.sampled_from([6_000, 20_000, 90_000]),
        "cost_usd_max": st.sampled_from(["0.03", "0.10", "2.00"]),
    },
)
BUDGETS = st.fixed_dictionaries(
    {},
    optional={
        STEPS: st.sampled_from([Decimal(8), Decimal(30)]),
        TOKENS: st.sampled_from([Decimal(9_000), Decimal(50_000)]),
        USD: st.sampled_from([Decimal("0.05"), Decimal("0.5")]),
    },
)
CAP_NAMES = {STEPS: "steps_max", TOKENS: "tokens_max", USD: "cost_usd_max"}


def tasks(below: st.SearchStrategy[list[Task]]) -> st.SearchStrategy[Task]:
    return st.builds(Task, agent=NAMES, deadline_s=DEADLINES, tasks=below)


LEAVES = tasks(st.just([]))
BRANCHES = tasks(st.lists(LEAVES, min_size=1, max_size=2))
FAMILIES = st.builds(
    Family,
    doors=st.fixed_dictionaries(
        {name: st.none() | st.frozensets(st.sampled_from(DOORS), min_size=1) for name in TOOLS}
    ),
    workers=st.fixed_dictionaries(
        {name: st.builds(Worker, st.frozensets(st.sampled_from(TOOLS)), CAPS) for name in AGENTS}
    ),
    task=tasks(st.lists(LEAVES | BRANCHES, min_size=1, max_size=2)).map(lambda t: t.named("0")),
    origin=st.sampled_from(DOORS),
    wanted=BUDGETS,
)


# --- the programs ---------------------------------------------------------------------------------


def make_tool(name: str, doors: frozenset[Origin] | None) -> Tool:
    def use(ctx: ToolContext) -> str:
        note(json.dumps({"job": str(ctx.job_id), "did": name}))
        return "done"

    use.__doc__ = f"{name.title()} something."
    return tool(effect="read", name=name, origins=doors)(use)


def hand_on(task: dict[str, Any]) -> Delegate:
    """Let another one do it."""
    return Delegate(Child(task["agent"], {"task": task}, deadline_s=task["deadline_s"]))


class Given(BaseModel):
    """What a job is given."""

    task: Task


def try_everything(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Call every tool there is, hand on every task, and be done."""
    asked = messages[0]
    assert isinstance(asked, ModelRequest)
    prompt = next(str(p.content) for p in asked.parts if p.part_kind == "user-prompt")
    task = Given.model_validate_json(prompt[prompt.index("{") :]).task
    if any(isinstance(message, ModelResponse) for message in messages):
        return paid(TextPart("done"))
    offered = sorted(each.name for each in info.function_tools)
    note(json.dumps({"name": task.name, "offered": offered}))
    calls = [(name, {}) for name in TOOLS]
    calls += [("hand_on", {"task": each.model_dump()}) for each in task.tasks]
    return paid(*(ToolCallPart(name, args) for name, args in calls))


def paid(*parts: Any) -> ModelResponse:
    used = RequestUsage(input_tokens=TOKENS_IN, output_tokens=TOKENS_OUT)
    return ModelResponse(parts=parts, usage=used, provider_name="openai")


def serve(household: Household, family: Family) -> None:
    every = {name: make_tool(name, doors) for name, doors in family.doors.items()}
    hand = tool(effect="write", idempotency="safe", policy=[])(hand_on)
    for name, worker in family.workers.items():
        agent = Agent(
            name=name,
            model=FunctionModel(try_everything, model_name="gpt-5-mini"),
            instructions="Do everything.",
            tools=(hand, *(every[each] for each in sorted(worker.tools))),
            input_type=Given,
            limits=Limits(failed_tools_max=100, output_tokens_max=500, **worker.caps),
        )
        for registry in (household.house.registry, household.viewer.desk.registry):
            registry.agents[name] = agent


# --- what has to hold -----------------------------------------------------------------------------


@dataclass
class Relatives:
    """Every job of a family that came to be, and what it did."""

    family: Family
    household: Household
    books: Bookkeeper
    told: list[dict[str, Any]]
    seen: Counter[str]

    def check(self, root_id: UUID) -> None:
        tasks = {task.name: task for task in self.family.task.all()}
        line = self.read(root_id)
        by_id = {job.id: job for job in line}
        for job in line:
            task = tasks[job.input["task"]["name"]]
            self.check_tools(job, task)
            if job.parent_job_id is not None:
                parent = by_id[job.parent_job_id]
                self.check_invocation(job, parent)
                self.check_deadline(job, parent, task)
                self.check_budget(job, parent)
            self.check_steps(job, line)
        assert self.books.discrepancies() == []
        self.seen["jobs below jobs"] += len(line) - 1
        self.seen["jobs two deep"] += sum(job.depth == 2 for job in line)

    def read(self, root_id: UUID) -> list[JobRow]:
        viewer = self.household.viewer
        with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
            found = stored.list_newest(tx, limit=JOBS_MAX)
        return [job for job in found if job.root_id == root_id]

    def check_tools(self, job: JobRow, task: Task) -> None:
        """It was offered what is for its line, and whatever else it called did nothing."""
        allowed = self.family.offered(task)
        for each in self.told:
            if each.get("name") == task.name:
                assert set(each["offered"]) == allowed
            if each.get("job") == str(job.id):
                assert each["did"] in allowed
                self.seen["used"] += 1
        events = self.household.viewer.events(job.id)
        refused = {e.data["tool"] for e in events if e.type == "call.refused"}
        withheld = self.family.workers[task.agent].tools - allowed
        assert refused <= withheld
        if any(step.kind is StepKind.TOOL for step in self.household.viewer.steps(job.id)):
            assert refused == withheld, "each attempt is told of"
        self.seen["refused below"] += len(refused) * (job.parent_job_id is not None)

    def check_invocation(self, job: JobRow, parent: JobRow) -> None:
        above = [*parent.origins_above, parent.origin]
        assert (job.origin, job.origins_above) == (Origin.AGENT, above)
        assert above[0] == self.family.origin
        assert (job.requester, job.roles) == (parent.requester, parent.roles)

    def check_deadline(self, job: JobRow, parent: JobRow, task: Task) -> None:
        if parent.deadline_at is not None:
            assert job.deadline_at is not None
            assert job.deadline_at <= parent.deadline_at
            self.seen["due with its parent"] += job.deadline_at == parent.deadline_at
        assert (job.deadline_at is None) == (parent.deadline_at is None and not task.deadline_s)

    def check_budget(self, job: JobRow, parent: JobRow) -> None:
        """In every unit in which its parent is bounded it is, by no more, and from the same."""
        for unit in (STEPS, TOKENS, USD):
            above, own = self.account(parent, unit), self.account(job, unit)
            if above is None:
                continue
            assert own is not None
            assert own.cap <= above.cap
            assert own.spent <= above.spent, "what a child uses, its parent has used"
            wanted = self.family.workers[job.agent].cap(unit)
            self.seen["lent less than it may use"] += wanted is not None and own.cap < wanted

    def account(self, job: JobRow, unit: BudgetUnit) -> Account | None:
        viewer = self.household.viewer
        with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
            found = budgets.list_of_job(tx, job.id)
        return next((a for a in found if (a.scope, a.unit) == (JOB, unit)), None)

    def check_steps(self, job: JobRow, line: list[JobRow]) -> None:
        """A job and all below it have made no more steps than it may, counted by the rows."""
        account = self.account(job, STEPS)
        if account is not None:
            made = sum(self.steps_made(each) for each in line if self.is_below(each, job, line))
            assert made <= account.cap
            self.seen["stopped by its budget"] += job.status is JobStatus.FAILED

    def is_below(self, job: JobRow | None, top: JobRow, line: list[JobRow]) -> bool:
        while job is not None and job.id != top.id:
            above = job.parent_job_id
            job = next((each for each in line if each.id == above), None)
        return job is not None

    def steps_made(self, job: JobRow) -> int:
        """Answers of the model and uses of a tool: what is refused is not made."""
        steps = self.household.viewer.steps(job.id)
        turns = sum(s.kind is StepKind.MODEL and s.state is StepState.COMMITTED for s in steps)
        return turns + sum(each.get("job") == str(job.id) for each in self.told)


EXPECTED = {
    "jobs below jobs",
    "jobs two deep",
    "used",
    "refused below",
    "due with its parent",
    "lent less than it may use",
    "stopped by its budget",
}


@pytest.mark.timeout(600)
def test_no_child_has_a_tool_an_origin_or_a_budget_that_its_parent_lacked(
    household: Household, ledger: Path
) -> None:
    viewer, seen = household.viewer, Counter[str]()
    books = Bookkeeper(viewer.desk.doors, viewer.tenant_id)

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        database=None,
    )
    @given(FAMILIES)
    def check(family: Family) -> None:
        ledger.write_text("")
        serve(household, family)
        root_id = viewer.submit(
            family.task.agent,
            {"task": family.task.model_dump()},
            origin=family.origin,
            requester="ann",
            roles=ROLES,
            deadline_s=family.task.deadline_s,
            budget=family.budget,
        )
        household.run(root_id)
        told = [json.loads(line) for line in ledger.read_text().splitlines()]
        Relatives(family, household, books, told, seen).check(root_id)

    check()
    missing = EXPECTED - {what for what, count in seen.items() if count}
    assert not missing, seen
