"""What every table stands on: the schema, the names of its laws, and two kinds of column."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import Column, DateTime, MetaData, text

SCHEMA = "stepwell"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(constraint_name)s",
    },
)

NOW = text("now()")


def one_of(column: str, values: Iterable[StrEnum]) -> str:
    listed = ", ".join(f"'{value}'" for value in sorted(values))
    return f"{column} in ({listed})"


def moment(name: str, *, default: bool = False, nullable: bool = True) -> Column[object]:
    return Column(
        name,
        DateTime(timezone=True),
        server_default=NOW if default else None,
        nullable=nullable and not default,
    )
