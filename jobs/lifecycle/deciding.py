"""Deciding: what a person says about a call, judged anew where they change its arguments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from jobs.agent.pipeline import Pipeline
from jobs.agent.registry import Program, Registry
from jobs.agent.tool import Tool
from jobs.errors import Refused
from jobs.lifecycle.approvals import ToolCall, asking_for, judge_call, more_severe
from jobs.policy.judgement import Judgement, Verdict
from jobs.policy.tenant_rules import TenantRule
from store import approvals, checkpoints, policy_rules
from store import jobs as stored
from store.approvals import Asking, Became, Said
from store.doors import Transaction
from store.errors import NotFound
from store.invocation import Invocation
from store.rows import ApprovalRow, JobRow
from store.states import Decision, Origin

ERRORS_SHOWN = 10


def decide(
    tx: Transaction,
    registry: Registry,
    tenant_id: UUID,
    asked: ApprovalRow,
    args_sha256: str,
    said: Said,
    *,
    args: Any = None,
    by: str,
    roles: frozenset[str],
) -> Became:
    """Say something about a call; `args` are those of an edit.

    Raises `Refused` for an edit whose arguments do not fit, or are not allowed to anybody.
    """
    if said.decision is Decision.EDIT:
        said = replace(said, edited=judge_edit(tx, registry, asked, args))
    which = asked.job_id, asked.seq, asked.n
    return approvals.decide(tx, tenant_id, which, args_sha256, said, by=by, roles=roles)


def judge_edit(tx: Transaction, registry: Registry, asked: ApprovalRow, args: Any) -> Asking:
    """The question about other arguments: never less strict than the one about the first."""
    job = stored.read(tx, asked.job_id)
    program = registry.find(job.agent)
    tool = _find_tool(tx, program, asked)
    call = _read_call(tool, args, is_step=isinstance(program, Pipeline))
    rules = [TenantRule.of(row) for row in policy_rules.list_current(tx)]
    judgement = more_severe(judge_call(call, invocation_of(job), rules), judgement_in(asked))
    if judgement.verdict is Verdict.DENY:
        why = " ".join(judgement.reasons) or "The policy denies it."
        raise Refused(f"The call is not allowed with these arguments. {why}")
    # Nobody has been asked about these arguments until now, so silence is no yes to them.
    return replace(asking_for(call, judgement), fallback=Decision.REJECT)


def judgement_in(asked: ApprovalRow) -> Judgement:
    """The judgement that a question was asked for."""
    return Judgement(
        verdict=Verdict(asked.tier.value),
        role=asked.role,
        quorum=asked.quorum,
        reasons=tuple(asked.reasons),
        rules=tuple(asked.rules),
        policy_version=asked.policy_version,
        args_sha256=asked.args_sha256,
        tool_sha256=asked.tool_sha256,
    )


def _find_tool(tx: Transaction, program: Program, asked: ApprovalRow) -> Tool:
    if not isinstance(program, Pipeline):
        tool = program.find_tool(asked.tool)
    else:
        (step,) = checkpoints.list_of(tx, asked.job_id, after_seq=asked.seq - 1, limit=1)
        tool = program.tool_at(step.input["position"])
    if tool is None:
        raise NotFound(f"There is no tool {asked.tool!r} any more.")
    return tool


def _read_call(tool: Tool, args: Any, *, is_step: bool) -> ToolCall:
    try:
        return ToolCall(tool, args, tool.values_as_step(args) if is_step else tool.validate(args))
    except ValidationError as error:
        said = error.errors(include_url=False, include_context=False, include_input=False)
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in said[:ERRORS_SHOWN])
        raise Refused(f"The arguments do not fit {tool.name!r}: {told}") from None


def invocation_of(job: JobRow) -> Invocation:
    """How the job came to be."""
    return Invocation(
        origin=job.origin,
        root_id=job.root_id,
        origins_above=tuple(map(Origin, job.origins_above)),
        parent_job_id=job.parent_job_id,
        requester=job.requester,
        roles=frozenset(job.roles),
    )
