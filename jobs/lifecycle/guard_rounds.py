"""Rounds of guards in the engine: what they may know of a step, and what they said of it.

What was said is noted under the claim, and taken along by whatever settles or parks the step. A
worker that dies first takes it with it; who claims the step next goes round again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from jobs.agent.agent import Agent
from jobs.agent.registry import Program
from jobs.errors import InvalidInput
from jobs.guards.guard import Context, Kind, Stage
from jobs.guards.round import NOTHING, Round, go_round
from jobs.lifecycle.house import CallKey, House
from store.transitions import Claim

# On a step's output: by which guards the model was told of something wrong; why it is to halt.
RETRIED, HALTED = "retried_by", "halted"


def take_round(
    stage: Stage,
    value: Any,
    held: Claim,
    agent: Agent,
    house: House,
    *,
    waived: frozenset[Kind] = NOTHING,
    **more: Any,
) -> Round:
    """Let the agent's guards look at the value, and note what they say; `more` is context."""
    context = context_of(held, agent, **more)
    found = go_round(stage, value, agent.all_guards, context, waived=waived)
    note(held, house, found.rows())
    return found


def context_of(held: Claim, agent: Agent, **more: Any) -> Context:
    """What guards may know of a step of this job."""
    return Context(
        agent=agent.name,
        input=held.job_input,
        invocation=held.invocation,
        confidence_min=agent.confidence_min,
        **more,
    )


def note(held: Claim, house: House, rows: list[dict[str, Any]]) -> None:
    """Note what was said, until it is written with the step."""
    house.spoken.setdefault(_key(held), []).extend(rows)


def loud_rows(held: Claim, house: House) -> list[dict[str, Any]]:
    """What was said under this claim so far, but for plain allows."""
    return [row for row in house.spoken.get(_key(held), ()) if row["verdict"] is not Kind.ALLOW]


def take_along(held: Claim, house: House) -> dict[str, Any]:
    """What was said under this claim, as a part of the event that settles it; it is told once."""
    rows = house.spoken.pop(_key(held), None)
    return {"guards": rows} if rows else {}


@contextmanager
def noting(held: Claim, house: House) -> Iterator[None]:
    """What is said under the claim inside the block is dropped at its end, if nobody took it."""
    try:
        yield
    finally:
        house.spoken.pop(_key(held), None)


def take_in(program: Program, asked: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A job's input as its guards let it pass, and what they said. Raises `InvalidInput`."""
    if not isinstance(program, Agent):
        return asked, []
    found = go_round(
        Stage.JOB_INPUT, asked, program.all_guards, Context(agent=program.name, input=asked)
    )
    if not found.passes:
        raise InvalidInput(f"The input was not taken: {found.reason}")
    if found.kind is Kind.REPLACE:
        _check_fits(program, found.value)
    return found.value, found.rows()


def _check_fits(agent: Agent, asked: Any) -> None:
    try:
        agent.input_type.model_validate(asked)
    except ValidationError:
        raise InvalidInput(
            "The input holds what must not be kept, and does not fit the agent without it."
        ) from None


def _key(held: Claim) -> CallKey:
    return held.job_id, held.seq, held.epoch
