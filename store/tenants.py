"""Whose rows these are: the tenants, and the one that a platform with a single tenant uses."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from store.schema import tenants

# Created by the first migration.
DEFAULT_TENANT = UUID("00000000-0000-4000-8000-000000000001")


def exists(tx: Connection, tenant_id: UUID) -> bool:
    """Whether there is such a tenant."""
    found = tx.execute(select(tenants.c.tenant_id).where(tenants.c.tenant_id == tenant_id))
    return found.one_or_none() is not None


def ensure(tx: Connection, tenant_id: UUID, name: str) -> None:
    """Create the tenant unless it exists. Needs the operator's door."""
    tx.execute(insert(tenants).values(tenant_id=tenant_id, name=name).on_conflict_do_nothing())
