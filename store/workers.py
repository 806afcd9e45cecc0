"""Workers: one row per process incarnation, believed for as long as it beats.

The id is new at every start, so nobody can be taken for an earlier self. Only the database's clock
counts: a worker never says what time it is. A worker that was found lost is never live again; it
has to come back under a new id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from store.doors import HotConnection
from store.rows import WorkerRow
from store.schema import workers
from store.states import Work, WorkerState


def register(
    tx: Connection,
    worker_id: UUID,
    *,
    name: str,
    work: Work,
    slots: int,
    version: str,
    serves: Mapping[str, str] | None = None,
    begins: Mapping[str, Any] | None = None,
) -> None:
    """Enter a new incarnation; it is live from here on. `serves` is agent name to version.

    `begins` is what a new job of each agent begins with (see store/schedules.py).
    """
    tx.execute(
        insert(workers).values(
            id=worker_id,
            name=name,
            work=work.value,
            slots=slots,
            version=version,
            state=WorkerState.LIVE.value,
            serves=dict(serves or {}),
            begins=dict(begins or {}),
        )
    )


def is_served(tx: Connection, agent: str, version: str | None = None) -> bool:
    """Whether some live worker serves the agent, at that version if one is given."""
    served = workers.c.serves[agent].astext
    found = select(workers.c.id).where(
        workers.c.state == WorkerState.LIVE.value,
        served.is_not(None) if version is None else served == version,
    )
    return bool(tx.execute(select(found.exists())).scalar_one())


def beat(connection: HotConnection, worker_id: UUID) -> bool:
    """Say that this worker is alive; False when it has been found lost."""
    row = connection.execute(
        "update stepwell.workers set beaten_at = clock_timestamp() "
        "where id = %b and state in ('live', 'draining') returning 1",
        (worker_id,),
    ).fetchone()
    return row is not None


def move(tx: Connection, worker_id: UUID, state: WorkerState) -> None:
    """Change the state of a worker that has not been found lost."""
    tx.execute(
        update(workers)
        .where(workers.c.id == worker_id, workers.c.state != WorkerState.LOST.value)
        .values(state=state.value)
    )


def list_live(tx: Connection) -> list[WorkerRow]:
    """The workers that are live or draining, oldest first."""
    rows = tx.execute(
        select(
            workers.c.id,
            workers.c.name,
            workers.c.work,
            workers.c.slots,
            workers.c.version,
            workers.c.state,
            workers.c.started_at,
            func.extract("epoch", func.clock_timestamp() - workers.c.beaten_at).label("age"),
        )
        .where(workers.c.state.in_([WorkerState.LIVE.value, WorkerState.DRAINING.value]))
        .order_by(workers.c.started_at)
    )
    return [
        WorkerRow(
            id=row.id,
            name=row.name,
            work=Work(row.work),
            slots=row.slots,
            version=row.version,
            state=WorkerState(row.state),
            started_at=row.started_at,
            beaten_age_s=float(row.age),
        )
        for row in rows
    ]


def forget_gone(tx: Connection, older_than_s: float) -> int:
    """Delete the rows of workers that are gone and hold nothing. Needs the operator's door."""
    return tx.execute(
        text(
            "delete from stepwell.workers w where w.state in ('lost', 'stopped') "
            "and w.beaten_at < now() - make_interval(secs => :age) "
            "and not exists (select from stepwell.checkpoints c "
            "where c.worker_id = w.id and c.state = 'running')"
        ),
        {"age": older_than_s},
    ).rowcount
