"""Tools and jobs for judging: a payment, and jobs that came to be in any way."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from jobs import Tool, tool
from jobs.policy.judge import judge
from jobs.policy.judgement import Judgement
from jobs.policy.rules import Policy
from jobs.policy.tenant_rules import TenantRule
from store.invocation import Invocation
from store.states import Origin

ROOT, PARENT = UUID(int=1), UUID(int=2)
ARGS: dict[str, Any] = {"amount": 250, "to": ["ann@example.org"]}


def payment(policy: Policy | None = None, *, effect: Any = "external") -> Tool:
    """A tool that pays, under these rules."""

    @tool(effect=effect, policy=policy)
    def pay(amount: float, to: list[str], note: str | None = None, urgent: bool = False) -> str:
        """Pay somebody."""
        return "paid"

    return pay


def came(*doors: str, requester: str | None = "ann", roles: tuple[str, ...] = ()) -> Invocation:
    """A job that came through the last of these doors, those above it through the others."""
    *above, origin = [Origin(door) for door in doors or ("api",)]
    return Invocation(
        origin=origin,
        root_id=ROOT,
        origins_above=tuple(above),
        parent_job_id=PARENT if above else None,
        requester=requester,
        roles=frozenset(roles),
    )


def judged(
    made: Tool,
    args: dict[str, Any] | None = None,
    job: Invocation | None = None,
    rules: tuple[TenantRule, ...] = (),
) -> Judgement:
    """The judgement on a call as a worker would have it made."""
    given = ARGS if args is None else args
    return judge(made, made.validate(given), given, job or came(), rules)
