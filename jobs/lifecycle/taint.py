"""Taint: what a job's model has read of texts from outside, and what a step hands on of them.

It is known in three ways: the mark on the output of each step that brought one (or that called a
tool which is not trusted now), what the job has inherited, and for a call what was written beside
its arguments when it was planned. So it holds for the call for good, whatever its siblings bring in
meanwhile, and no worker can forget it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.agent.agent import Agent
from jobs.agent.registry import Program
from jobs.agent.tool import Tool
from jobs.guards import trust
from jobs.lifecycle.arguments import find_tool
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted
from store import checkpoints, guard_verdicts, jobs
from store.rows import CheckpointRow
from store.states import Origin
from store.transitions import Claim


@dataclass(frozen=True, slots=True)
class Read:
    """What the model of a job has read by now, in `steps`, and where of it came from outside.

    The job's input may have come from there as well. What is `late` was thought to be of our own
    when it was brought, and is told with the model's next step.
    """

    steps: Sequence[CheckpointRow]
    taint: tuple[str, ...]
    is_input_tainted: bool = False
    late: tuple[str, ...] = ()

    def marks(self) -> dict[str, Any]:
        """What is written of it beside a call, as JSON; nothing where nothing came from outside."""
        if not self.taint:
            return {}
        return {"taint": list(self.taint), "input_tainted": self.is_input_tainted}


def read_of(held: Claim, agent: Agent, steps: Sequence[CheckpointRow], house: House) -> Read:
    """Looked up before a model is asked, whose answer costs something. Raises `Unreachable`."""
    late = trust.late_taint_of(steps, agent.outside)
    if not held.origins_above and held.origin != Origin.SCHEDULE:
        # It cannot have inherited any.
        return Read(steps, trust.taint_of(steps, agent.outside), late=late)
    with house.doors.as_tenant(held.tenant_id) as tx:
        job = jobs.read(tx, held.job_id)
    taint = trust.taint_of(steps, agent.outside, job.tainted_by)
    return Read(steps, taint, job.input_tainted, late)


def known_of(marks: Mapping[str, Any]) -> dict[str, Any]:
    """What guards may know of what was read, from what was written of it.

    The version before has written nothing of the input, so nobody knows, and it is not believed.
    """
    taint = tuple(marks.get("taint", ()))
    return {"taint": taint, "is_input_tainted": marks.get("input_tainted", bool(taint))}


def taint_of_children(held: Claim, house: House) -> tuple[str, ...]:
    """What the jobs had read from outside that this step has waited for, if it has for any."""
    if held.woken is None:
        return ()
    with house.doors.as_tenant(held.tenant_id) as tx:
        return tuple(guard_verdicts.list_taint_of_children(tx, held.job_id, held.seq))


def mark_outside(program: Program, tool: Tool | None, acted: Acted) -> Acted:
    """The step, marked when its result came from outside, whether or not the call worked.

    An agent's model is shown the mark; a pipeline has nobody to show it to.
    """
    sources = sorted({*_outside(tool), *acted.taints})
    if not sources:
        return acted
    acted = replace(acted, taints=tuple(sources))
    if not isinstance(program, Agent):
        return acted
    return replace(acted, output=acted.output | {trust.MARK: sources})


def hands_on(held: Claim, program: Program, house: House) -> tuple[str, ...]:
    """Where texts came from that may be in what a step asks of other jobs. Raises `Unreachable`.

    That is what the call has brought itself, and what the model had read when it asked for it. What
    a pipeline has read before is on its row.
    """
    before: tuple[str, ...] = known_of(held.input)["taint"]
    if isinstance(program, Agent) and program.outside and not before:
        read = [step for step in settled(held, house) if step.seq < (held.parent_seq or 0)]
        before = trust.taint_of(read, program.outside)
    return tuple(sorted({*_outside(find_tool(held, program)), *before}))


def inherited_by(held: Claim, house: House) -> tuple[str, ...]:
    """What the job has been tainted by so far, as its row says. Raises `Unreachable`."""
    with house.doors.as_tenant(held.tenant_id) as tx:
        return tuple(jobs.read(tx, held.job_id).tainted_by)


def _outside(tool: Tool | None) -> tuple[str, ...]:
    return () if tool is None or tool.trusted else (tool.name,)


def tell_taint(acted: Acted) -> dict[str, Any]:
    """What the step taints its job with, as a part of the event that settles it."""
    return {"taint": list(acted.taints)} if acted.taints else {}


def settled(held: Claim, house: House) -> list[CheckpointRow]:
    """The settled steps of the job, in order. Raises `Unreachable`."""
    with house.doors.as_tenant(held.tenant_id) as tx:
        return checkpoints.list_settled(tx, held.job_id)
