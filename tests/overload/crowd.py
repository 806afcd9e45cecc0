"""The crowd: clients that ask over HTTP at the moments of the trace, and note what they hear.

A client that is refused goes away, or, when it is patient, comes back once `Retry-After` is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import time

import httpx

from tests.overload.front import TENANT_HEADER
from tests.overload.history import ADMITTED, Answer, Fate
from tests.overload.platform import TENANT_IDS, TOKEN
from tests.overload.trace import Ask

ANSWER_S_MAX = 20.0
CONNECTIONS_MAX = 64
REFUSALS = (429, 503)
# Nobody in the crowd comes back later than that.
PATIENCE_S = 45.0


def send_all(url: str, asks: Sequence[Ask], began_at: float, *, returns_max: int = 0) -> list[Fate]:
    """Ask for everything in its time; a refused client comes back so many times."""
    return asyncio.run(_send_all(url, asks, began_at, returns_max))


async def _send_all(url: str, asks: Sequence[Ask], began_at: float, returns_max: int) -> list[Fate]:
    fates = [Fate(ask) for ask in asks]
    limits = httpx.Limits(max_connections=CONNECTIONS_MAX)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        httpx.AsyncClient(
            base_url=url, headers=headers, limits=limits, timeout=ANSWER_S_MAX, trust_env=False
        ) as http,
        asyncio.TaskGroup() as clients,
    ):
        for fate in fates:
            # A task for each ask only once its time has come.
            await asyncio.sleep(began_at + fate.ask.at_s - time())
            clients.create_task(_insist(http, fate, returns_max))
    return fates


async def _insist(http: httpx.AsyncClient, fate: Fate, returns_max: int) -> None:
    fate.answers.append(await _send(http, fate.ask))
    for _ in range(returns_max):
        after_s = fate.answers[-1].retry_after_s
        if fate.is_admitted or after_s is None or after_s > PATIENCE_S:
            return
        await asyncio.sleep(after_s)
        fate.answers.append(await _send(http, fate.ask))


async def _send(http: httpx.AsyncClient, ask: Ask) -> Answer:
    at = time()
    body = {
        "agent": ask.kind.agent,
        "input": {"ask": ask.token},
        "class": ask.kind.job_class,
        "deadline_s": ask.kind.deadline_s,
    }
    headers = {TENANT_HEADER: str(TENANT_IDS[ask.tenant])}
    try:
        said = await http.post("/v1/jobs", json=body, headers=headers)
    except httpx.TransportError:
        return Answer(at, 0)
    if said.status_code not in (ADMITTED, *REFUSALS):
        raise RuntimeError(f"the front door said {said.status_code}: {said.text[:300]}")
    after = said.headers.get("retry-after")
    return Answer(at, said.status_code, None if after is None else float(after))
