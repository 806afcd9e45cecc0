"""The guard for tools that run SQL: only what the query guard lets through is called.

The statement is parsed where queries run, in a confined child: no worker reads SQL that anybody may
have written. That takes about as long as a small query.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.datasets.confine import ConfinementError, run_confined
from jobs.datasets.errors import RefusedQuery
from jobs.datasets.query import QueryLimits, confinement
from jobs.guards.guard import Context, Stage, Verdict, allow, block

MEMORY_MIB = 256
CONFINEMENT = confinement(QueryLimits(wall_clock_s=10.0, memory_mib=MEMORY_MIB))


@dataclass(frozen=True)
class OnlyReading:
    """`arguments` names the argument that is SQL, by the tool: `{"run_sql": "sql"}`."""

    arguments: Mapping[str, str]
    name: str = "only-reading"
    stages: frozenset[Stage] = frozenset({Stage.TOOL_ARGS})

    def check(self, stage: Stage, value: Any, context: Context) -> Verdict:  # noqa: ARG002 - a guard is asked so
        argument = self.arguments.get(context.tool or "")
        if argument is None:
            return allow()
        sql = value.get(argument)
        if not isinstance(sql, str):
            return block(f"{argument} is not a statement.")
        try:
            check_in_child(sql)
        except RefusedQuery as error:
            return block(f"The statement may not run: {error}")
        except ConfinementError as error:
            return block(f"The statement could not be read: {type(error).__name__}.")
        return allow()


def check_in_child(sql: str) -> None:
    """Raise `RefusedQuery` unless the statement only reads the table `data`."""
    run_confined(
        "jobs.datasets.query_errand:check_query",
        {"sql": sql, "memory_mib": MEMORY_MIB},
        limits=CONFINEMENT,
    )
