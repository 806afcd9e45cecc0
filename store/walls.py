"""Who may do what: three roles, forced row-level security, and the grants between them.

    stepwell_owner     owns the tables; used by migrations only; nobody logs in as it
    stepwell_app       the runtime: walled by tenant on every table that has a tenant
    stepwell_operator  the scheduler and the people who run the platform: sees across tenants

A login is a member of one or both of the last two and takes the role on when it connects. The
policies read a setting that is local to a transaction; reading it when it was never set raises,
so a forgotten tenant is loud, never an empty list.
"""

from __future__ import annotations

from collections.abc import Iterator

from store.schema import metadata

OWNER, APP, OPERATOR = "stepwell_owner", "stepwell_app", "stepwell_operator"
TENANT_SETTING = "stepwell.tenant_id"

# What the walled role may do with each table, if anything; the operator's rights follow below.
APP_GRANTS = {
    "tenants": "select",
    "jobs": "select, insert, update",
    "checkpoints": "select, insert, update",
    "workers": "select, insert, update",
    "events": "select, insert",
    "usage": "select, insert",
    "artifacts": "select, insert, update, delete",
    "artifact_chunks": "select, insert, delete",
    "waits": "select, insert, update",
    "signals": "select, insert, update",
    "dead_letters": "select, insert, update",
    "census": "select",
    "tenant_census": "select",
    "load": "select",
    "turns": "",
    "refusals": "select, insert",
    "schedules": "select, insert, update, delete",
    "ticks": "select, insert, update",
    "policy_rules": "select, insert",
    "approvals": "select, insert, update",
    "decisions": "select, insert",
    "audit": "select, insert",
    "audit_chains": "select, insert, update",
    "budgets": "select, insert, update",
    "budget_entries": "select, insert, update",
    "guard_verdicts": "select, insert",
}
OPERATOR_GRANTS = "select, insert, update, delete"
# What nobody may take back, the operator no more than anybody else.
KEPT_GRANTS = {
    "decisions": "select, insert",
    "audit": "select, insert",
    "audit_chains": "select, insert, update",
}


def walled_tables() -> list[str]:
    """Every table that has a tenant, by name."""
    return sorted(t.name for t in metadata.tables.values() if "tenant_id" in t.columns)


def operator_grants(table: str) -> str:
    """What the operator may do with a table."""
    return KEPT_GRANTS.get(table, OPERATOR_GRANTS)


def role_statements() -> Iterator[str]:
    """Create the three roles where they are missing, and let this login act as the owner."""
    for role in (OWNER, APP, OPERATOR):
        yield (
            "do $$ begin "
            f"if not exists (select from pg_roles where rolname = '{role}') then "
            f"create role {role} nologin; end if; end $$"
        )
    yield f"grant {OWNER} to current_user"
