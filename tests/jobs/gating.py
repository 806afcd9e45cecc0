"""Jobs of a served API whose call waits for a yes, brought about by hand through the store."""

from __future__ import annotations

from uuid import UUID

from store.approvals import Asking
from store.states import StepKind, Work
from store.transitions import Plan
from tests.approving import clerk, refunding
from tests.asking import Asker, asking
from tests.jobs.parking import take
from tests.jobs.serving import Served
from tests.programs import as_input

AGENTS = (clerk, refunding)


def asker_of(served: Served) -> Asker:
    return Asker(served.doors, served.hand.tenant_id)


def waiting(served: Served, question: Asking | None = None) -> UUID:
    """A job of the clerk whose second step waits for a yes."""
    question = question or asking({"amount": 500})
    with served.client as client:
        job_id = UUID(client.submit("clerk", as_input())["id"])
    step = {"tool": question.tool, "call_id": "c1", "args": question.args}
    plan = Plan(StepKind.TOOL, f"tool.{question.tool}", Work.WAITS, step, question.as_json())
    served.hand.commit(take(served, job_id), plan=(plan,))
    return job_id
