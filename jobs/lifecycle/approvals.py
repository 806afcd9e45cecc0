"""Approvals: a call that people have to say yes to waits, and runs with what they were shown.

    judged     when a call is planned: the verdict is frozen with the step, and the questions that
               come of it appear in the commit that plans it; free calls run, the others wait
    approved   when the step is claimed: the yes it has, whose arguments are those of the call
    gate       before it acts: judged again, as nothing that a row says is believed alone
    begin      consumes the yes, in the statement that begins the call (effects.py)

The more severe of the two verdicts counts, so a policy that was tightened meanwhile is kept, and
one that was loosened lets nothing through that people were to be asked about. A yes covers the call
when it was given for these arguments and this tool, by the people that the verdict now asks for.
Otherwise they are asked anew: the arguments or the tool are others, or the row was never judged.

A step of a pipeline knows its value when it is claimed, so it is judged then for the first time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from pydantic import ValidationError

from jobs.agent.agent import Agent
from jobs.agent.pipeline import Pipeline
from jobs.agent.registry import Program
from jobs.agent.tool import Tool
from jobs.guards.guard import Kind
from jobs.guards.round import Round
from jobs.lifecycle.arguments import args_of, find_tool, is_edited
from jobs.lifecycle.consent import refused
from jobs.lifecycle.guarded_calls import pass_args
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted, Broke, Park
from jobs.lifecycle.parking import what_woke
from jobs.lifecycle.results import given_to
from jobs.policy.judge import judge
from jobs.policy.judgement import Demand, Judgement, Verdict, role_of, roles_in
from jobs.policy.tenant_rules import TenantRule
from store import approvals
from store.approvals import Asking
from store.invocation import Invocation
from store.rows import ApprovalRow
from store.states import ApprovalEnding, Decision, StepKind, Tier, WaitKind
from store.transitions import Claim, Plan, Wait

log = structlog.get_logger(__name__)


# What the rule of a guard begins with, which no expiry may grant.
GUARD = "guard "

# The rules of a tenant, which are joined to those of a tool.
Rules = Sequence[TenantRule]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as it would be made: `args` is JSON, as people are shown it; `values` are typed."""

    tool: Tool
    args: Any
    values: dict[str, Any]


# --- when a call is planned -----------------------------------------------------------------------


def judged(plan: Plan, held: Claim, agent: Agent, rules: Rules, found: Round) -> Plan:
    """The plan of a tool call, with its judgement, and with what people are asked if they are.

    `found` is what its guards said: one that wants a confirmation is a rule like any other.
    """
    tool = agent.find_tool(plan.input["tool"])
    call = None if tool is None else _call_of_agent(tool, plan.input["args"])
    if call is None:
        # It will not be made: the model is told what does not fit.
        return plan
    judgement = with_guards(judge_call(call, held.invocation, rules), found)
    if judgement.verdict is Verdict.ALLOW and not judgement.rules:
        return plan
    frozen = {**plan.input, "judgement": judgement.as_json()}
    asking = None if tier_of(judgement) is None else asking_for(call, judgement).as_json()
    return replace(plan, input=frozen, approval=asking)


def judge_call(call: ToolCall, invocation: Invocation, rules: Rules) -> Judgement:
    return judge(call.tool, call.values, call.args, invocation, rules)


def with_guards(judgement: Judgement, found: Round | None) -> Judgement:
    """The judgement, joined with the confirmation that guards want, if any does."""
    if found is None or found.kind is not Kind.CONFIRM:
        return judgement
    demand = judgement.demand.joined(Demand.plain(Verdict.CONFIRM))
    return replace(
        judgement,
        verdict=demand.verdict,
        role=role_of(demand.roles),
        quorum=demand.quorum,
        reasons=(
            *judgement.reasons,
            *(f"{GUARD}{name}: {said.reason}" for name, said in found.loud),
        ),
        rules=(*judgement.rules, *(f"{GUARD}{name}" for name, _ in found.loud)),
    )


def tier_of(judgement: Judgement) -> Tier | None:
    """Who has to say yes, or None when nobody has to, or nobody can."""
    match judgement.verdict:
        case Verdict.CONFIRM:
            return Tier.CONFIRM
        case Verdict.APPROVE:
            return Tier.APPROVE
        case _:
            return None


def asking_for(call: ToolCall, judgement: Judgement) -> Asking:
    """The question about a call; where nobody has to be asked, it is one for confirmation."""
    return Asking(
        tool=call.tool.name,
        args=call.args,
        args_sha256=judgement.args_sha256,
        tool_sha256=judgement.tool_sha256,
        tier=tier_of(judgement) or Tier.CONFIRM,
        role=judgement.role,
        quorum=max(1, judgement.quorum),
        reasons=judgement.reasons,
        rules=judgement.rules,
        policy_version=judgement.policy_version,
        fallback=fallback_of(call, judgement),
        expires_s=call.tool.approval_s,
    )


def fallback_of(call: ToolCall, judgement: Judgement) -> Decision:
    """What it comes to when nobody decides: never a yes where a guard has asked."""
    return Decision.REJECT if _rules_of_guards(judgement) else Decision(call.tool.unapproved)


def _rules_of_guards(judgement: Judgement) -> list[str]:
    return [rule for rule in judgement.rules if rule.startswith(GUARD)]


# --- when the step is claimed ---------------------------------------------------------------------


def approved(held: Claim, program: Program, house: House) -> Claim:
    """The claim with the yes that its call has been given, if any. Raises `Unreachable`."""
    if not _is_asked_about(held, program, house):
        return held
    with house.doors.as_tenant(held.tenant_id) as tx:
        found = approvals.find_granted(tx, held.job_id, held.seq)
    return replace(held, granted=found)


def _is_asked_about(held: Claim, program: Program, house: House) -> bool:
    if find_tool(held, program) is None:
        return False
    woken = what_woke(held)
    if _frozen_in(held) is not None or (woken is not None and woken.kind is WaitKind.APPROVAL):
        return True
    if held.epoch > 1:
        # A worker that was lost may have made use of what woke it.
        return True
    judgement = judgement_of(held, program, house)
    return judgement is not None and judgement.verdict is not Verdict.ALLOW


def gate(held: Claim, program: Program, house: House) -> Acted | Broke | Park | None:
    """What the step comes to when its call may not be made as it is; None when it may."""
    found = _pass_guards(held, program, house)
    if isinstance(found, Acted | Park):
        return found
    judgement = judgement_of(held, program, house, found)
    if judgement is None:
        return None
    if judgement.verdict is Verdict.DENY:
        why = " ".join(judgement.reasons) or "The policy does not allow it."
        return refused(program, f"This call is not allowed. {why}")
    if judgement.verdict is Verdict.ALLOW and held.granted is None:
        return None
    return None if covers(held.granted, judgement) else ask_anew(held, program, house, found)


def _pass_guards(held: Claim, program: Program, house: House) -> Round | Acted | Park | None:
    """What the guards of an agent say of its call; None where there are none, or no call."""
    tool = find_tool(held, program)
    if tool is None or not isinstance(program, Agent):
        return None
    return pass_args(held, program, tool, args_of(held), house, what_woke(held))


def covers(granted: ApprovalRow | None, judgement: Judgement) -> bool:
    """Whether this yes is one to exactly this call, by the people whom the verdict asks for."""
    if granted is None:
        return False
    if granted.ending is ApprovalEnding.EXPIRED and _rules_of_guards(judgement):
        # Silence is no yes to what a guard wants confirmed.
        return False
    shown = (granted.args_sha256, granted.tool_sha256)
    if shown != (judgement.args_sha256, judgement.tool_sha256):
        return False
    given = Demand(Verdict(granted.tier.value), roles_in(granted.role), granted.quorum)
    return given.joined(judgement.demand) == given


def ask_anew(held: Claim, program: Program, house: House, found: Round | None = None) -> Park:
    """Ask about the call as it would be made now; `found` is what its guards said."""
    call = call_of(held, program)
    judgement = judgement_of(held, program, house, found)
    assert call is not None and judgement is not None  # noqa: S101, PT018 - only calls come here
    log.info("approval asked", job=str(held.job_id), step=held.seq, tool=call.tool.name)
    asking = asking_for(call, judgement)
    # Silence is no yes to what nobody has planned.
    asking = replace(asking, fallback=Decision.REJECT) if is_edited(held) else asking
    return Park(wait_for_people(asking))


def wait_for_people(asking: Asking) -> Wait:
    return Wait(
        WaitKind.APPROVAL,
        asking.tool,
        prompt={"tool": asking.tool, "args_sha256": asking.args_sha256},
        wake_in_s=asking.expires_s,
        approval=asking.as_json(),
    )


def judgement_of(
    held: Claim, program: Program, house: House, found: Round | None = None
) -> Judgement | None:
    """The verdict on the call as it would be made now; None when the step makes none."""
    call = call_of(held, program)
    if call is None:
        return None
    now = with_guards(judge_call(call, held.invocation, house.rules(held.tenant_id)), found)
    frozen = _frozen_in(held)
    return now if frozen is None else more_severe(now, frozen)


def more_severe(now: Judgement, other: Judgement) -> Judgement:
    """The judgement of now, as severe as the other where that is more.

    The reasons are those of the severer one; a guard that spoke in either is remembered.
    """
    both = now.demand.joined(other.demand)
    severer, milder = (now, other) if both == now.demand else (other, now)
    guards = [rule for rule in _rules_of_guards(milder) if rule not in severer.rules]
    return replace(
        now,
        verdict=both.verdict,
        role=role_of(both.roles),
        quorum=both.quorum,
        reasons=severer.reasons,
        rules=(*severer.rules, *guards),
    )


def _frozen_in(held: Claim) -> Judgement | None:
    if held.kind is not StepKind.TOOL:
        return None
    told = held.input.get("judgement")
    return None if told is None else Judgement.from_json(told)


# --- the call of a step ---------------------------------------------------------------------------


def call_of(held: Claim, program: Program) -> ToolCall | None:
    """The call as it would be made now; None for one that cannot be: its arguments do not fit."""
    tool = find_tool(held, program)
    if tool is None:
        return None
    if isinstance(program, Pipeline):
        return _call_of_pipeline(tool, held, program)
    return _call_of_agent(tool, held.granted.args if held.granted else held.input["args"])


def _call_of_agent(tool: Tool, args: Any) -> ToolCall | None:
    try:
        return ToolCall(tool, args, tool.validate(args))
    except ValidationError:
        return None


def _call_of_pipeline(tool: Tool, held: Claim, pipeline: Pipeline) -> ToolCall | None:
    try:
        value = given_to(held, pipeline)
        return ToolCall(tool, value, tool.values_as_step(value))
    except ValidationError:
        return None
