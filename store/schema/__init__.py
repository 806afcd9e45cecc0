"""The database as it is, table by table, with its laws.

Every table that has a `tenant_id` is walled by forced row-level security (see `walls.py`); its
keys and foreign keys start with the tenant, because uniqueness checks and foreign keys look
through row security. The hot transitions over these tables are the functions in `sql/`.
"""

from __future__ import annotations

from store.schema.approvals import approvals, audit, audit_chains, decisions
from store.schema.artifacts import artifact_chunks, artifacts
from store.schema.budgets import budget_entries, budgets
from store.schema.ground import SCHEMA, metadata
from store.schema.guards import guard_verdicts
from store.schema.jobs import checkpoints, events, jobs, usage
from store.schema.load import census, load, refusals, tenant_census, turns
from store.schema.policy import policy_rules
from store.schema.residents import tenants, workers
from store.schema.schedules import schedules, ticks
from store.schema.waits import dead_letters, signals, waits

__all__ = [
    "SCHEMA",
    "approvals",
    "artifact_chunks",
    "artifacts",
    "audit",
    "audit_chains",
    "budget_entries",
    "budgets",
    "census",
    "checkpoints",
    "dead_letters",
    "decisions",
    "events",
    "guard_verdicts",
    "jobs",
    "load",
    "metadata",
    "policy_rules",
    "refusals",
    "schedules",
    "signals",
    "tenant_census",
    "tenants",
    "ticks",
    "turns",
    "usage",
    "waits",
    "workers",
]
