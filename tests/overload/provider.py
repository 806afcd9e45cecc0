"""The provider: models and a second dependency on loopback, told over HTTP how to behave.

    python -m tests.overload.provider --at-once 6 --takes-s 0.25

It serves so many calls at once and lets the others wait in line, as a provider with a fixed number
of machines does. `POST /control` changes how a place behaves from now on; `GET /seen` tells of
every request that has come in: amplification is counted where nothing can be left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from threading import Event
from time import time
from typing import Any, Literal

import httpx

from tests.overload.history import Wired
from tests.provider import Call, Provider, Refuses, Says
from tests.provider.completions import as_error
from tests.provider.replies import Asked
from tests.provider.server import _reply
from tests.provider.wire import Gone, Request, Wire

MODEL, CRM = "model", "crm"
# The part of a call after which its first token comes.
FIRST_TOKEN = 0.25
CRM_AT_ONCE = 200
CONTROL_S_MAX = 10.0

Mood = Literal["well", "fails", "limits"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a place behaves: seconds a call takes, its mood, and how many requests a second it
    bears before it asks to slow down. Requests that it refuses count, too."""

    takes_s: float
    mood: Mood = "well"
    retry_after_s: int = 2
    per_s_max: float = float("inf")


@dataclass
class Place:
    """One dependency: its behaviour, its machines and its line."""

    name: str
    behaviour: Behaviour
    machines: asyncio.Semaphore
    recent: deque[float] = field(default_factory=deque)

    def refuse(self) -> Refuses | None:
        """The error this request gets, or None when it is served."""
        match self.behaviour.mood:
            case "fails":
                return Refuses(500, "The server had an error.", "server_error")
            case "limits":
                return self._slow_down()
            case _:
                return self._slow_down() if self._is_over_rate() else None

    def _is_over_rate(self) -> bool:
        now = time()
        self.recent.append(now)
        while self.recent[0] < now - 1.0:
            self.recent.popleft()
        return len(self.recent) > self.behaviour.per_s_max

    def _slow_down(self) -> Refuses:
        after_s = self.behaviour.retry_after_s
        return Refuses(429, "Too many requests.", "rate_limit_exceeded", after_s)


class Supplier(Provider):
    """The provider of the tests with machines of its own, a memory, and a second place."""

    def __init__(self, at_once: int, takes_s: float, crm_takes_s: float) -> None:
        super().__init__(self._say)
        self._places = {
            MODEL: Place(MODEL, Behaviour(takes_s), asyncio.Semaphore(at_once)),
            CRM: Place(CRM, Behaviour(crm_takes_s), asyncio.Semaphore(CRM_AT_ONCE)),
        }
        self._seen: list[Wired] = []

    async def _respond(self, wire: Wire, request: Request) -> None:
        match request.method, request.path:
            case "POST", "/control":
                self._change(**json.loads(request.body))
                await wire.answer(200, {})
            case "GET", "/seen":
                await wire.answer(200, {"data": [asdict(wired) for wired in self._seen]})
            case "POST", "/crm":
                await self._consult(wire, request)
            case _:
                await super()._respond(wire, request)

    def _change(self, place: str, **behaviour: Any) -> None:
        found = self._places[place]
        found.behaviour = replace(found.behaviour, **behaviour)

    async def _complete(self, wire: Wire, request: Request) -> None:
        asked = Asked(len(self._seen), request.headers, json.loads(request.body))
        async with self._served(MODEL, token_of(asked), len(asked.returned) + 1) as refuses:
            await _reply(wire, asked, refuses or self._say(asked))

    async def _consult(self, wire: Wire, request: Request) -> None:
        async with self._served(CRM, json.loads(request.body)["token"], 1) as refuses:
            if refuses is not None:
                await wire.answer(refuses.status, as_error(refuses))
                return
            await asyncio.sleep(self._places[CRM].behaviour.takes_s)
            await wire.answer(200, {"found": "a customer"})

    @asynccontextmanager
    async def _served(self, name: str, token: str, call: int) -> AsyncIterator[Refuses | None]:
        """Remember the request, and wait for a machine; gives the error it gets, if any."""
        place = self._places[name]
        wired = Wired(name, token, call, time())
        self._seen.append(wired)
        refuses = place.refuse()
        try:
            if refuses is not None:
                yield refuses
            else:
                async with place.machines:
                    wired.began_at = time()
                    is_out = place.behaviour.mood == "fails"
                    refuses = place.refuse() if is_out else None
                    yield refuses
            wired.status = 200 if refuses is None else refuses.status
        except Gone:
            wired.status = 0
            raise
        finally:
            wired.ended_at = time()

    def _say(self, asked: Asked) -> Says:
        """A call of the agent's tool until the job has made all but one of its calls."""
        takes_s = self._places[MODEL].behaviour.takes_s
        times = {"first_token_s": takes_s * FIRST_TOKEN, "takes_s": takes_s, "pieces": 1}
        token = token_of(asked)
        if asked.tools and len(asked.returned) < calls_of(token) - 1:
            return Says(calls=(Call(asked.tools[0], {"token": token}),), **times)
        return Says("Done.", **times)


def token_of(asked: Asked) -> str:
    """The job's token, which is all that the user says."""
    (said,) = [each["content"] for each in asked.messages if each["role"] == "user"]
    return str(said)


def calls_of(token: str) -> int:
    return int(token.partition("x")[2])


@dataclass(frozen=True, slots=True)
class Remote:
    """The provider as the harness speaks to it."""

    url: str

    def change(self, place: str, **behaviour: Any) -> None:
        """Let the place behave like this from now on; see `Behaviour`."""
        body = {"place": place, **behaviour}
        httpx.post(f"{self.url}/control", json=body, timeout=CONTROL_S_MAX).raise_for_status()

    def seen(self) -> list[Wired]:
        answer = httpx.get(f"{self.url}/seen", timeout=CONTROL_S_MAX).raise_for_status()
        return [Wired(**each) for each in answer.json()["data"]]


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until told to stop; the first line says where."""
    args = _parse(argv)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Supplier(args.at_once, args.takes_s, args.crm_takes_s) as supplier:
        print(f"provider ready {supplier.base_url.removesuffix('/v1')}", flush=True)
        stop.wait()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.overload.provider")
    parser.add_argument("--at-once", type=int, default=6, help="model calls served at once")
    parser.add_argument("--takes-s", type=float, default=0.25, help="what each of them takes")
    parser.add_argument("--crm-takes-s", type=float, default=0.1, help="what a question takes")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
