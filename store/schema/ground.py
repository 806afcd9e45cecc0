"""What every table stands on: the schema, the names of its laws, and kinds of column."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import Column, DateTime, MetaData, Text, text
from sqlalchemy.dialects.postgresql import DOMAIN

from store.states import JobClass, Work

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


class Word(DOMAIN):
    """A text that is one of a few words."""

    operator_classes = Text.operator_classes


def word(name: str, values: type[StrEnum]) -> Word:
    """A type of its own for the words of an enum; its law is called `NAME_is_known`.

    As a CHECK of the table the same law is dearer: Postgres reads all the checks of a table anew
    for every statement that writes to it.
    """
    return Word(
        name,
        Text(),
        schema=SCHEMA,
        constraint_name=f"{name}_is_known",
        check=text(one_of("value", values)),
        create_type=False,
    )


JOB_CLASS = word("job_class", JobClass)
WORK = word("work", Work)


def moment(name: str, *, default: bool = False, nullable: bool = True) -> Column[object]:
    return Column(
        name,
        DateTime(timezone=True),
        server_default=NOW if default else None,
        nullable=nullable and not default,
    )
