"""Consent: what a step comes to by what people said about its call."""

from __future__ import annotations

from jobs.agent.agent import Agent
from jobs.agent.registry import Program
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted, Broke
from jobs.lifecycle.results import conclude_with, tool_failed
from jobs.lifecycle.verdicts import ErrorClass, GiveUp
from jobs.lifecycle.verdicts import as_json as error_json
from store.states import Decision
from store.transitions import Claim, Woken


def heard(held: Claim, woken: Woken, program: Program, house: House) -> Acted | Broke | None:
    """What the step came to by what was said; None for whatever the gate has to look at."""
    said = woken.result or {}
    match said.get("decision"):
        case Decision.REJECT:
            why = said.get("reason") or "No reason was given."
            return refused(program, f"This call was not approved. {why}")
        case Decision.RESPOND:
            return conclude_with(held, program, said.get("answer"), house)
        case _:
            return None


def refused(program: Program, message: str) -> Acted | Broke:
    """A call that is not made: a model is told why, the job of a pipeline ends with it."""
    if isinstance(program, Agent):
        return tool_failed(program, message, outcome="denied")
    return Broke(GiveUp(error_json(ErrorClass.DENIED, message), ErrorClass.DENIED))
