"""Policy: the rules of a tenant, and how a call would be judged under them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from jobs.lifecycle import rulebook
from jobs.web.asked import TheCaller, TheDesk, TheTenant
from jobs.web.refusals import NotYours
from jobs.web.shapes import Page
from jobs.web.shapes_of_policy import PolicyJudgement, PolicyRule, PolicyRuleRequest, TrialRequest
from store import policy_rules
from store.approvals import OPERATOR

router = APIRouter(prefix="/policy", tags=["policy"])


def _who_may_change(caller: TheCaller) -> str:
    """Who changes rules: whoever holds the platform's token, or a caller who is an operator."""
    if not caller.is_operator:
        raise NotYours(f"Rules are changed by people with the role {OPERATOR!r}.")
    return caller.requester


By = Annotated[str, Depends(_who_may_change)]
RuleId = Annotated[str, Path(max_length=64, pattern=r"^[a-z0-9][a-z0-9_.-]*$")]


@router.get("/rules", summary="The rules that hold for this tenant")
def list_rules(desk: TheDesk, tenant_id: TheTenant) -> Page[PolicyRule]:
    with desk.doors.as_tenant(tenant_id) as tx:
        return Page(data=[PolicyRule.of(row) for row in policy_rules.list_current(tx)])


@router.get("/rules/{rule_id}/versions", summary="Every version there was of a rule")
def list_versions(rule_id: RuleId, desk: TheDesk, tenant_id: TheTenant) -> Page[PolicyRule]:
    with desk.doors.as_tenant(tenant_id) as tx:
        return Page(data=[PolicyRule.of(row) for row in policy_rules.list_versions(tx, rule_id)])


@router.put(
    "/rules/{rule_id}",
    responses={403: {}, 413: {}},
    summary="Ask for something before certain calls; a rule can only make a policy stricter",
)
def put_rule(
    rule_id: RuleId, asked: PolicyRuleRequest, desk: TheDesk, tenant_id: TheTenant, by: By
) -> PolicyRule:
    """A rule that is there is replaced; the same again changes nothing."""
    row = rulebook.put_rule(desk.doors, tenant_id, asked.as_rule(rule_id), by=by)
    return PolicyRule.of(row)


@router.delete(
    "/rules/{rule_id}", responses={403: {}, 404: {}}, summary="Let a rule hold no longer"
)
def remove_rule(rule_id: RuleId, desk: TheDesk, tenant_id: TheTenant, by: By) -> PolicyRule:
    return PolicyRule.of(rulebook.remove_rule(desk.doors, tenant_id, rule_id, by=by))


@router.post(
    "/test", responses={404: {}, 413: {}}, summary="How a call would be judged; nothing is called"
)
def try_call(asked: TrialRequest, desk: TheDesk, tenant_id: TheTenant) -> PolicyJudgement:
    return PolicyJudgement.of(rulebook.try_call(desk, tenant_id, asked.as_trial()))
