"""Bare Celery for comparison: a task that sends the next one, until it has hopped enough."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bare", broker=os.environ["BARE_REDIS_URL"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_transport_options=(
        {"ack_emulation": False} if os.environ.get("BARE_TUNED") == "yes" else {}
    ),
)


@app.task(name="hop")
def hop(left: int) -> None:
    if left:
        hop.delay(left - 1)
    else:
        app.backend_done()


def _note_done() -> None:
    with app.connection_for_write() as connection:
        connection.default_channel.client.incr("bare.done")


app.backend_done = _note_done
