"""Policy rules: what a tenant asks for before calls of its agents, every version ever, append-only.

A rule that is changed or removed gets a further version; the ones before stay as they were, so that
a judgement of the past can be understood. The newest version of an id is the rule, unless it says
that the rule is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, text
from sqlalchemy.dialects.postgresql import distinct_on

from store.errors import NotFound, TooLarge
from store.schema import policy_rules
from store.states import RuleVerdict

_TENANT = text("current_setting('stepwell.tenant_id')::uuid")
_OF_THIS_TENANT = policy_rules.c.tenant_id == _TENANT
_COLUMNS = [c for c in policy_rules.c if c.name != "tenant_id"]
# Changes of one tenant's rules follow one another: they are counted and numbered.
_ONE_AT_A_TIME = text(
    "select pg_advisory_xact_lock(hashtextextended("
    "'stepwell.policy_rules ' || current_setting('stepwell.tenant_id'), 0))"
)


@dataclass(frozen=True, slots=True)
class PolicyRuleRow:
    """One version of a rule. `quorum` and `role` count where the verdict is `approve`."""

    id: str
    version: int
    tool: str
    expression: str
    verdict: RuleVerdict
    role: str | None
    quorum: int
    is_removed: bool
    decided_by: str
    decided_at: datetime


def list_current(tx: Connection) -> list[PolicyRuleRow]:
    """The rules that hold now, by id."""
    return [rule for rule in _rows(tx, _newest()) if not rule.is_removed]


def list_versions(tx: Connection, rule_id: str) -> list[PolicyRuleRow]:
    """Every version there was of a rule, the first one first; empty when there never was one."""
    query = select(*_COLUMNS).where(_OF_THIS_TENANT, policy_rules.c.id == rule_id)
    return _rows(tx, query.order_by(policy_rules.c.version))


def put(
    tx: Connection,
    rule_id: str,
    *,
    tool: str,
    expression: str,
    verdict: RuleVerdict,
    role: str | None,
    quorum: int,
    by: str,
    rules_max: int,
) -> PolicyRuleRow:
    """Make this the rule of that id. The same again changes nothing.

    Raises `TooLarge` when it would be one rule more than the tenant may have.
    """
    tx.execute(_ONE_AT_A_TIME)
    found = _find_newest(tx, rule_id)
    wanted = {
        "tool": tool,
        "expression": expression,
        "verdict": verdict.value,
        "role": role,
        "quorum": quorum,
        "is_removed": False,
    }
    if found is not None and all(getattr(found, name) == wanted[name] for name in wanted):
        return found
    if (found is None or found.is_removed) and len(list_current(tx)) >= rules_max:
        raise TooLarge(f"There are {rules_max} rules already, which is as many as there may be.")
    return _append(tx, rule_id, found, wanted, by)


def remove(tx: Connection, rule_id: str, *, by: str) -> PolicyRuleRow:
    """Let the rule hold no longer; raises `NotFound` when it does not hold."""
    tx.execute(_ONE_AT_A_TIME)
    found = _find_newest(tx, rule_id)
    if found is None or found.is_removed:
        raise NotFound(f"There is no rule {rule_id!r}.")
    kept = {"tool": found.tool, "expression": found.expression, "verdict": found.verdict.value}
    told = {**kept, "role": found.role, "quorum": found.quorum, "is_removed": True}
    return _append(tx, rule_id, found, told, by)


def _append(
    tx: Connection,
    rule_id: str,
    before: PolicyRuleRow | None,
    told: Mapping[str, object],
    by: str,
) -> PolicyRuleRow:
    version = 1 if before is None else before.version + 1
    row = tx.execute(
        insert(policy_rules)
        .values(tenant_id=_TENANT, id=rule_id, version=version, decided_by=by, **told)
        .returning(*_COLUMNS)
    ).one()
    return _rule(row)


def _find_newest(tx: Connection, rule_id: str) -> PolicyRuleRow | None:
    return next(iter(_rows(tx, _newest().where(policy_rules.c.id == rule_id))), None)


def _newest() -> Select[Any]:
    """The newest version of each id."""
    return (
        select(*_COLUMNS)
        .where(_OF_THIS_TENANT)
        .ext(distinct_on(policy_rules.c.id))
        .order_by(policy_rules.c.id, policy_rules.c.version.desc())
    )


def _rows(tx: Connection, query: Select[Any]) -> list[PolicyRuleRow]:
    return [_rule(row) for row in tx.execute(query)]


def _rule(row: Row[Any]) -> PolicyRuleRow:
    told = dict(row._mapping)
    return PolicyRuleRow(verdict=RuleVerdict(told.pop("verdict")), **told)
