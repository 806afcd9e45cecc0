"""Delegation: a tool by which a model hands a part of its work to another agent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from jobs.agent.tool import Tool, tool
from jobs.agent.waiting import Child, Delegate
from jobs.errors import Misdeclared
from jobs.policy.rules import ALLOW
from store.states import Origin


def delegate_to(
    *agents: str,
    name: str = "delegate",
    origins: Iterable[Origin | str] | None = None,
    expires_s: float | None = None,
) -> Tool:
    """A tool that makes a job for one of these agents, and is done when that job has ended.

    The model gives the agent's name and its input. Its own job is parked meanwhile and holds
    nothing; several calls in one answer run at once. What comes back is how the job ended:
    `[{"job_id", "status", "output", "error"}]`. A job that is cancelled takes those it asked for
    along. How deep and how many they may be is bounded where they are made, whoever asks.

    Args:
        agents: the names of agents or pipelines; the model can name no other. Its own is allowed.
        name: what the model calls the tool.
        origins: as for `@tool`.
        expires_s: seconds after which a job that was asked for ends as expired.

    Raises `Misdeclared`.
    """
    _check_agents(agents)

    def delegate(agent: str, input: dict[str, Any]) -> Delegate:  # noqa: A002 - the model's word
        return Delegate(Child(agent, input), expires_s=expires_s)

    delegate.__name__ = name
    delegate.__annotations__["agent"] = Literal[agents]
    delegate.__doc__ = _DESCRIPTION
    # It changes what is ours: a job is made. A second call makes none, as jobs appear only with
    # the commit that parks the call. Nobody is asked: what the job does is judged in its own right.
    return tool(effect="write", idempotency="safe", name=name, origins=origins, policy=ALLOW)(
        delegate
    )


_DESCRIPTION = """Hand a part of the work to another agent, and get its result back.

Args:
    agent: who is to do it.
    input: what that agent takes; for most, {"ask": "what is wanted, in full"}.
"""


def _check_agents(agents: tuple[str, ...]) -> None:
    if not agents:
        raise Misdeclared("delegate_to needs the name of at least one agent.")
    for agent in agents:
        if not isinstance(agent, str) or not agent.strip():
            raise Misdeclared(f"delegate_to takes the names of agents, not {agent!r}.")
    if len(set(agents)) < len(agents):
        raise Misdeclared("delegate_to was given the same agent twice.")
