"""The front door of a run: the real API for all tenants, with a plain intake where that is asked.

    python -m tests.overload.front --policy ours

Everybody has the operator's token here, and says in a header whose job it is; that is all that
differs for ours.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import uvicorn
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send
from uuid_utils.compat import uuid7

from broker.envelope import Envelope
from broker.lanes import lane_of
from jobs.lifecycle import intake
from jobs.lifecycle.desk import Desk
from jobs.lifecycle.intake import Submission, Submitted
from jobs.web.app import create_app
from jobs.web.refusals import Busy
from store import jobs
from store.jobs import NewJob
from store.states import JobClass, Origin, Work
from tests.overload.policies import POLICIES, Policy

TENANT_HEADER = "x-tenant"
BACKLOG = 512
PLAIN_LANE = lane_of(JobClass.DEFAULT, Work.WAITS)


class TenantOfHeader:
    """ASGI middleware inside the product's door: the caller is of the tenant the header names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = Headers(scope=scope).get(TENANT_HEADER) if scope["type"] == "http" else None
        if named is not None:
            state = scope["state"]
            state["caller"] = replace(state["caller"], tenant_id=UUID(named))
        await self._app(scope, receive, send)


def intake_of(policy: Policy) -> None:
    """Put the plain intake in the place of the product's, where the policy says so."""
    if not policy.is_plain:
        return

    def submit(desk: Desk, tenant_id: UUID, submission: Submission) -> Submitted:
        if policy.depth_max is not None:
            check_depth(desk, policy.depth_max)
        return submit_plainly(desk, tenant_id, submission)

    intake.submit = submit


def check_depth(desk: Desk, depth_max: int) -> None:
    """Refuse when so many messages wait on the only lane; raises `Busy`."""
    depth = desk.gauge.measure([PLAIN_LANE])[PLAIN_LANE]
    if depth >= depth_max:
        raise Busy(f"{depth} steps wait already. Try again shortly.")


def submit_plainly(desk: Desk, tenant_id: UUID, submission: Submission) -> Submitted:
    """Store the job and ring for it on the one lane, whoever asks and however long that lane is."""
    program = desk.registry.find(submission.agent)
    (first,) = program.first_steps()
    new = NewJob(
        tenant_id=tenant_id,
        id=uuid7(),
        agent=program.name,
        agent_version=program.version,
        model=None,
        job_class=JobClass.DEFAULT,
        origin=Origin.API,
        input=submission.input,
        idempotency_key=None,
        request_sha256=None,
        first_steps=(first,),
        is_rung=True,
    )
    with desk.doors.as_tenant(tenant_id) as tx:
        created = jobs.create(tx, new)
    assert created is not None, "a job without a key is always new"
    desk.bell.ring([Envelope(tenant_id, new.id, 1, first.name, new.job_class, first.work)])
    return Submitted(created, True)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve on a free port of loopback until told to stop; the first line says where."""
    parser = argparse.ArgumentParser(prog="python -m tests.overload.front")
    parser.add_argument("--policy", choices=sorted(POLICIES), default="ours")
    intake_of(POLICIES[parser.parse_args(argv).policy])
    app = create_app()
    app.user_middleware.append(Middleware(TenantOfHeader))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(BACKLOG)
    print(f"front ready http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_config=None, access_log=False, backlog=BACKLOG)
    uvicorn.Server(config).run(sockets=[listening])
    return 0


if __name__ == "__main__":
    sys.exit(main())
