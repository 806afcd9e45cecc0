"""Rules of tenants: versions that only grow, bounded in number, seen by nobody else."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from jobs.policy.judgement import Verdict
from store import policy_rules
from store.doors import Doors
from store.errors import NotFound, TooLarge
from store.policy_rules import PolicyRuleRow
from store.states import RuleVerdict
from tests.conftest import Database
from tests.running import at_once

RULES_MAX = 3


def put(doors: Doors, tenant_id: UUID, rule_id: str = "large", **more: Any) -> PolicyRuleRow:
    told = {
        "tool": "pay",
        "expression": "args.amount > 100",
        "verdict": RuleVerdict.APPROVE,
        "role": "finance",
        "quorum": 2,
        "by": "ann",
        "rules_max": RULES_MAX,
    }
    with doors.as_tenant(tenant_id) as tx:
        return policy_rules.put(tx, rule_id, **told | more)


def remove(doors: Doors, tenant_id: UUID, rule_id: str = "large") -> PolicyRuleRow:
    with doors.as_tenant(tenant_id) as tx:
        return policy_rules.remove(tx, rule_id, by="bob")


def current(doors: Doors, tenant_id: UUID) -> list[str]:
    with doors.as_tenant(tenant_id) as tx:
        return [rule.id for rule in policy_rules.list_current(tx)]


def versions(doors: Doors, tenant_id: UUID, rule_id: str = "large") -> list[PolicyRuleRow]:
    with doors.as_tenant(tenant_id) as tx:
        return policy_rules.list_versions(tx, rule_id)


def test_a_rule_is_its_newest_version_and_all_of_them_are_kept(doors: Doors, tenant: UUID) -> None:
    first = put(doors, tenant)
    assert (first.version, first.is_removed, first.decided_by) == (1, False, "ann")
    second = put(doors, tenant, quorum=3)
    with doors.as_tenant(tenant) as tx:
        assert policy_rules.list_current(tx) == [second]
    assert versions(doors, tenant) == [first, second]
    gone = remove(doors, tenant)
    assert (gone.version, gone.is_removed, gone.decided_by) == (3, True, "bob")
    assert current(doors, tenant) == []
    again = put(doors, tenant)
    assert versions(doors, tenant) == [first, second, gone, again]
    assert current(doors, tenant) == ["large"]


def test_the_same_again_is_no_new_version(doors: Doors, tenant: UUID) -> None:
    first = put(doors, tenant)
    assert put(doors, tenant, by="bob") == first
    assert versions(doors, tenant) == [first]


def test_what_does_not_hold_cannot_be_removed(doors: Doors, tenant: UUID) -> None:
    with pytest.raises(NotFound, match="no rule 'large'"):
        remove(doors, tenant)
    put(doors, tenant)
    remove(doors, tenant)
    with pytest.raises(NotFound, match="no rule 'large'"):
        remove(doors, tenant)
    assert len(versions(doors, tenant)) == 2


def test_there_are_only_so_many(doors: Doors, tenant: UUID) -> None:
    for n in range(RULES_MAX):
        put(doors, tenant, f"r{n}")
    with pytest.raises(TooLarge, match="3 rules already"):
        put(doors, tenant, "one-more")
    put(doors, tenant, "r0", quorum=5)
    remove(doors, tenant, "r1")
    put(doors, tenant, "one-more")
    assert current(doors, tenant) == ["one-more", "r0", "r2"]


def test_at_once_they_are_still_counted_and_numbered(doors: Doors, tenant: UUID) -> None:
    def add(n: int) -> bool:
        try:
            put(doors, tenant, f"r{n}")
        except TooLarge:
            return False
        return True

    assert sum(at_once([lambda n=n: add(n) for n in range(6)])) == RULES_MAX
    assert len(current(doors, tenant)) == RULES_MAX
    one = current(doors, tenant)[0]
    at_once([lambda n=n: put(doors, tenant, one, quorum=n) for n in (3, 4, 5, 6)])
    assert [row.version for row in versions(doors, tenant, one)] == [1, 2, 3, 4, 5]


def test_tenants_do_not_see_or_count_each_others(
    doors: Doors, tenant: UUID, other_tenant: UUID
) -> None:
    for n in range(RULES_MAX):
        put(doors, other_tenant, f"r{n}")
    put(doors, tenant)
    assert current(doors, tenant) == ["large"]
    assert versions(doors, tenant, "r0") == []
    with pytest.raises(NotFound):
        remove(doors, tenant, "r0")


def test_a_row_that_would_allow_something_cannot_be_written(doors: Doors, tenant: UUID) -> None:
    with pytest.raises(IntegrityError, match="rule_only_tightens"):
        put(doors, tenant, verdict=Verdict.ALLOW)
    with pytest.raises(IntegrityError, match="rule_quorum_is_small"):
        put(doors, tenant, quorum=0)


@pytest.mark.parametrize("statement", ["update {} set verdict = 'confirm'", "delete from {}"])
def test_versions_cannot_be_rewritten_by_the_walled_role(
    doors: Doors, tenant: UUID, statement: str
) -> None:
    put(doors, tenant)
    with pytest.raises(ProgrammingError, match="permission denied"), doors.as_tenant(tenant) as tx:
        tx.execute(text(statement.format("stepwell.policy_rules")))


def test_the_lock_is_the_tenants_own(database: Database, doors: Doors, tenant: UUID) -> None:
    """Somebody who changes their rules for long holds up nobody else."""
    other = UUID(int=7)
    with psycopg.connect(database.admin_url) as admin:
        admin.execute(
            "select pg_advisory_xact_lock(hashtextextended('stepwell.policy_rules ' || %s, 0))",
            (str(other),),
        )
        assert put(doors, tenant).version == 1
