"""The rulebook: the rules a tenant keeps, and a call that is judged by hand before it is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from pydantic import ValidationError

from jobs.agent.agent import Agent
from jobs.agent.registry import Program, Registry
from jobs.agent.tool import Tool
from jobs.errors import InvalidInput
from jobs.lifecycle.desk import Desk
from jobs.policy.judge import judge
from jobs.policy.judgement import Judgement
from jobs.policy.tenant_rules import RULES_MAX, TenantRule, check_rule
from store import policy_rules
from store.doors import Doors
from store.errors import NotFound
from store.invocation import Invocation
from store.policy_rules import PolicyRuleRow
from store.states import Origin, RuleVerdict


@dataclass(frozen=True, slots=True)
class Trial:
    """A call that somebody thinks of: which tool, with what, and from a job that came to be how."""

    tool: str
    args: dict[str, Any]
    agent: str | None = None
    origin: Origin = Origin.API
    origins_above: tuple[Origin, ...] = ()
    requester: str | None = None
    roles: frozenset[str] = frozenset()


def read_rules(doors: Doors, tenant_id: UUID) -> tuple[TenantRule, ...]:
    """The rules that hold for this tenant now, for the judge."""
    with doors.as_tenant(tenant_id) as tx:
        return tuple(TenantRule.of(row) for row in policy_rules.list_current(tx))


def put_rule(doors: Doors, tenant_id: UUID, rule: TenantRule, *, by: str) -> PolicyRuleRow:
    """Keep this rule under its id; raises `BadRule` for one that could not work."""
    check_rule(rule)
    with doors.as_tenant(tenant_id) as tx:
        return policy_rules.put(
            tx,
            rule.id,
            tool=rule.tool,
            expression=rule.expression,
            verdict=RuleVerdict(rule.verdict),
            role=rule.role,
            quorum=rule.quorum,
            by=by,
            rules_max=RULES_MAX,
        )


def remove_rule(doors: Doors, tenant_id: UUID, rule_id: str, *, by: str) -> PolicyRuleRow:
    """Let a rule hold no longer; raises `NotFound`."""
    with doors.as_tenant(tenant_id) as tx:
        return policy_rules.remove(tx, rule_id, by=by)


def try_call(desk: Desk, tenant_id: UUID, trial: Trial) -> Judgement:
    """How such a call would be judged now. Nothing is called, and nothing is written.

    Raises `NotFound` for a tool nobody has here, `InvalidInput` for arguments that do not fit.
    """
    tool = _find_tool(desk.registry, trial)
    try:
        args = tool.validate(trial.args)
    except ValidationError as error:
        said = error.errors(include_url=False, include_context=False, include_input=False)
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in said[:10])
        raise InvalidInput(f"The arguments do not fit {tool.name!r}: {told}.") from None
    invocation = Invocation(
        origin=trial.origin,
        root_id=uuid4(),
        origins_above=trial.origins_above,
        parent_job_id=uuid4() if trial.origins_above else None,
        requester=trial.requester,
        roles=trial.roles,
    )
    return judge(tool, args, trial.args, invocation, read_rules(desk.doors, tenant_id))


def _find_tool(registry: Registry, trial: Trial) -> Tool:
    programs = registry.agents
    if trial.agent is not None:
        programs = {trial.agent: registry.find(trial.agent)}
    found = {
        name: tool
        for name in sorted(programs)
        for tool in _tools_of(programs[name])
        if tool.name == trial.tool
    }
    if not found:
        names = sorted({tool.name for each in programs.values() for tool in _tools_of(each)})
        raise NotFound(f"No tool is named {trial.tool!r}. There are: {', '.join(names) or 'none'}.")
    if len({id(tool) for tool in found.values()}) > 1:
        raise InvalidInput(
            f"{', '.join(found)} each have a {trial.tool!r} of their own. Say which agent is meant."
        )
    return next(iter(found.values()))


def _tools_of(program: Program) -> Iterator[Tool]:
    steps = program.tools if isinstance(program, Agent) else program.steps
    return (step for step in steps if isinstance(step, Tool))
