"""The judge: every rule is asked about a call, what they ask for is joined, and that is frozen.

    no rule is declared   a read may be made, anything else is confirmed by the requester
    rules of the tool     what they ask for; a list that has nothing to say lets the call through
    rules of the tenant   are joined to that, and can only add to it

A call is judged as its own job's, and as though each of the jobs above it had made it. Whatever
a rule makes of how a job came to be, a child can therefore never do more than its parent could.

The judge changes nothing, reads nothing and knows no clock: the same call under the same rules gets
the same judgement. What fails is written down as failed and counts as more severe, never as less.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from jobs.policy.expressions import Facts
from jobs.policy.fingerprints import sha256_of
from jobs.policy.judgement import Demand, Judgement, Verdict, join, role_of
from jobs.policy.rules import Args, Rule
from jobs.policy.tenant_rules import TenantRule
from store.invocation import Invocation
from store.jsonb import keepable

# A part of every version: what is judged otherwise by another judge is of another policy.
JUDGE = 1
DEFAULT = "default"
DEFAULT_REASON = "It changes something, and its tool declares no policy."
REASON_CHARS_MAX = 300
VERSION_CHARS = 16


class Judged(Protocol):
    """What is looked at of a tool."""

    @property
    def name(self) -> str: ...
    @property
    def effect(self) -> str: ...
    @property
    def function(self) -> Callable[..., Any]: ...
    @property
    def policy(self) -> tuple[Rule, ...] | None: ...
    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _Spoken:
    """What one rule asked for, and why."""

    rule: str
    demand: Demand
    reason: str


def judge(
    tool: Judged,
    args: Args,
    raw_args: Any,
    invocation: Invocation,
    tenant_rules: Sequence[TenantRule] = (),
) -> Judgement:
    """What this call needs before it may be made.

    Args:
        tool: the tool as it is declared here and now.
        args: its arguments as the tool would get them, validated.
        raw_args: the same as the JSON that is frozen with the step; the hash is over these.
        invocation: how the job that makes the call came to be.
        tenant_rules: all rules of the tenant; those about other tools are passed over.

    Raises `TypeError` for raw arguments that are not JSON; no rule can make it raise.
    """
    line = jobs_of(invocation)
    given = {**_defaults_of(tool.function), **args}
    consulted = sorted((each for each in tenant_rules if each.is_about(tool.name)), key=_id_of)
    # The tenant first: a rule of the tool is Python, which could change what it was given.
    of_tenant = list(_ask_tenant(tool, given, line, consulted))
    spoken = [*_ask_tool(tool, given, line), *of_tenant]
    spoken.sort(key=lambda each: each.demand.verdict.severity, reverse=True)
    demand = join(each.demand for each in spoken)
    return Judgement(
        verdict=demand.verdict,
        role=role_of(demand.roles),
        quorum=demand.quorum,
        reasons=tuple(f"{each.rule}: {each.reason}" for each in spoken),
        rules=tuple(each.rule for each in spoken),
        policy_version=version_of(tool, consulted),
        args_sha256=sha256_of(raw_args),
        tool_sha256=tool.sha256,
    )


def jobs_of(invocation: Invocation) -> list[Invocation]:
    """How this job came to be, and then how those above it did, the nearest first."""
    chain = (*invocation.origins_above, invocation.origin)
    above = [
        replace(
            invocation,
            origin=chain[depth],
            origins_above=chain[:depth],
            parent_job_id=invocation.parent_job_id if depth else None,
        )
        for depth in reversed(range(invocation.depth))
    ]
    return [invocation, *above]


def version_of(tool: Judged, consulted: Sequence[TenantRule]) -> str:
    """A fingerprint of every rule that is asked about the tool, whether it spoke or not."""
    own = None if tool.policy is None else [[rule.id, rule.face] for rule in tool.policy]
    face = [JUDGE, own, tool.effect if own is None else None, [each.face for each in consulted]]
    return sha256_of(face)[:VERSION_CHARS]


# --- the rules of the tool ------------------------------------------------------------------------


def _ask_tool(tool: Judged, args: Args, line: Sequence[Invocation]) -> Iterator[_Spoken]:
    if tool.policy is None:
        if tool.effect != "read":
            yield _Spoken(DEFAULT, Demand.plain(Verdict.CONFIRM), DEFAULT_REASON)
        return
    for rule in tool.policy:
        answers = [_ask(rule, args, each) for each in line]
        yield from _join_answers(rule.id, answers, line)


def _ask(rule: Rule, args: Args, invocation: Invocation) -> tuple[Demand, str] | None:
    try:
        demand = rule.ask(args, invocation)
    except Exception as error:  # noqa: BLE001 - whatever it was, the call is not let through for it
        return rule.demand_of_failure, failed(error)
    return None if demand is None else (demand, rule.reason or f"says {demand.verdict}.")


# --- the rules of the tenant ----------------------------------------------------------------------


def _ask_tenant(
    tool: Judged, args: Args, line: Sequence[Invocation], consulted: Sequence[TenantRule]
) -> Iterator[_Spoken]:
    if not consulted:
        return
    asked = [Facts.of(args, each, tool=tool.name, effect=tool.effect) for each in line]
    for rule in consulted:
        answers = [_ask_expression(rule, facts) for facts in asked]
        yield from _join_answers(rule.shown_id, answers, line)


def _ask_expression(rule: TenantRule, facts: Facts) -> tuple[Demand, str] | None:
    try:
        applies = rule.applies_to(facts)
    except Exception as error:  # noqa: BLE001 - the same: a rule that cannot be read has spoken
        return rule.demand.escalated(), failed(error)
    return (rule.demand, rule.expression) if applies else None


# --- what was said --------------------------------------------------------------------------------


def _join_answers(
    rule: str, answers: Sequence[tuple[Demand, str] | None], line: Sequence[Invocation]
) -> Iterator[_Spoken]:
    """What a rule asks for over the whole line of jobs, and the first reason for all of that."""
    given = [(answer, job) for answer, job in zip(answers, line, strict=True) if answer is not None]
    if not given:
        return
    demand = join(answer[0] for answer, _ in given)
    (_, reason), job = max(given, key=lambda each: each[0][0].verdict.severity)
    if job is not line[0]:
        reason = f"as for the job above it that came by {job.origin}: {reason}"
    yield _Spoken(rule, demand, keepable(reason)[:REASON_CHARS_MAX])


def failed(error: Exception) -> str:
    """Why a rule speaks that could not tell."""
    try:
        told = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - an error may even fail to say what it is
        told = ""
    return f"it failed ({type(error).__name__}{': ' * bool(told)}{told}), so it counts as stricter."


def _defaults_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    """What the arguments are that nobody has given."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def _id_of(rule: TenantRule) -> str:
    return rule.id
