"""The Celery app, each setting with its reason.

Postgres is the queue of record, so a message is a hint: it may be lost, doubled or late. That turns
most of Celery's usual settings round, because nothing here needs the broker to be careful.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.entity import Queue

from broker.lanes import ALL_LANES
from broker.settings import BrokerSettings

# The one task. What a step is called is in the message's `shadow`, which is what Flower shows.
STEP_TASK = "step"


def create_app(settings: BrokerSettings) -> Celery:
    """A Celery app for this Redis."""
    app = Celery("stepwell", broker=settings.redis_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        # Results live in Postgres; a result backend would be a second, lesser truth.
        result_backend=None,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # Ids only, so JSON is enough, and nothing that could run code is accepted.
        task_serializer="json",
        accept_content=["json"],
        # Unroutable messages must not create queues that nobody reads.
        task_create_missing_queues=False,
        task_queues=[_queue(lane) for lane in ALL_LANES],
        task_default_queue=next(iter(ALL_LANES)),
        # Late acks only so that the prefetch count caps what is in flight in the thread pool.
        task_acks_late=True,
        task_acks_on_failure=True,
        task_acks_on_timeout=True,
        # A lost worker's steps come back through the lease in Postgres, not through the broker.
        task_reject_on_worker_lost=False,
        # A slot takes one message at a time: what waits should wait where others can take it.
        worker_prefetch_multiplier=1,
        worker_enable_prefetch_count_reduction=False,
        # Publishing is best effort: the dispatch round rings whatever was not heard.
        task_publish_retry=False,
        broker_pool_limit=10,
        broker_pool_acquire_timeout=settings.redis_timeout_s,
        # A worker outlives any outage of Redis, at start too.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport="broker.transport:Transport" if settings.transport_tuned else None,
        broker_transport_options=_transport_options(settings),
        # Events double the cost of a tiny task; Flower switches them on when it is there.
        worker_send_task_events=False,
        task_send_sent_event=False,
        # Deadlines are ours: the thread pool knows no time limits.
        task_time_limit=None,
        task_soft_time_limit=None,
        # Logs are structlog's, and tracebacks may hold a tenant's data.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_log_color=False,
        timezone="UTC",
    )
    return app


def _queue(lane: str) -> Queue:
    # No exchange of its own: publishing to a named exchange whose binding Redis has lost drops
    # the message without a word.
    return Queue(lane, exchange="", routing_key=lane)


def _transport_options(settings: BrokerSettings) -> dict[str, Any]:
    if not settings.transport_tuned:
        return {}
    return {
        # No unacked bookkeeping: three times the messages, no duplicates by visibility timeout,
        # and no crash of the worker when Redis goes away under a task.
        "ack_emulation": False,
        # One priority: a lane is a class already, and each further one is a key more to wait on.
        "priority_steps": [0],
        "socket_timeout": max(settings.redis_timeout_s, 2.0) + 3.0,
        "socket_connect_timeout": settings.redis_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 10,
        # One try: whoever publishes must not wait for Redis to come back.
        "max_retries": 0,
        "interval_start": 0,
        "interval_step": 0.1,
        "interval_max": 0.2,
    }


def __getattr__(name: str) -> Celery:
    """`broker.app:app`, made when Celery's own command line asks for it."""
    if name == "app":
        return create_app(BrokerSettings())
    raise AttributeError(name)
