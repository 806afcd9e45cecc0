"""What tests of gates share: calls through a gate, and making time pass in what Redis keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from redis import Redis

from broker.gate_states import GateState, key_of
from broker.gates import Answer, Came, Gates, Pass
from broker.settings import BrokerSettings

CRM = "crm"
LEASE_S = 600.0
# Small enough to be filled by hand.
NARROW = {"gate_limit_first": 16, "gate_limit_max": 200}
TIMES = (
    *("closed_until", "probe_until", "lowered_at", "too_many_at"),
    *("first_base_at", "total_base_at"),
)


@dataclass
class Keeper:
    """One gate, and a hand inside Redis."""

    gates: Gates
    redis: Redis
    names: Iterator[int]

    def enter(
        self,
        holder: str | None = None,
        *,
        lease_s: float = LEASE_S,
        rank: int = 0,
        left_s: float | None = None,
    ) -> Pass:
        name = holder or f"job:{next(self.names)}"
        return self.gates.enter(CRM, name, lease_s=lease_s, rank=rank, left_s=left_s)

    def fill(self, number: int) -> list[Pass]:
        """So many passes, all open."""
        held = [self.enter() for _ in range(number)]
        assert [each.answer for each in held] == [Answer.GO] * number
        return held

    def call(self, came: Came = Came.OK, **told: Any) -> Pass:
        """One call from beginning to end."""
        held = self.enter()
        assert held.is_open, held
        self.gates.leave(held, came, **told)
        return held

    def learn(self, *, total_s: float = 1.0, first_s: float | None = None, times: int = 20) -> None:
        for _ in range(times):
            self.call(total_s=total_s, first_s=first_s)

    def pass_time(self, seconds: float) -> None:
        """As if so much time had passed; a negative time is a clock that was set back."""
        state = self.kept()
        for name in TIMES:
            if float(state.get(name, 0)):
                self.set(**{name: float(state[name]) - seconds})
        for kind in ("flight", "since", "line", "due", "ranks"):
            for holder, at in self.redis.zrange(key_of(kind, CRM), 0, -1, withscores=True):
                self.redis.zadd(key_of(kind, CRM), {holder: at - seconds})
        results = key_of("results", CRM)
        for place, each in enumerate(self.redis.lrange(results, 0, -1)):
            word, at = each.split(":")
            self.redis.lset(results, place, f"{word}:{float(at) - seconds}")

    def kept(self) -> dict[str, str]:
        return dict(self.redis.hgetall(key_of("state", CRM)))

    def set(self, **fields: Any) -> None:
        self.redis.hset(key_of("state", CRM), mapping=fields)

    @property
    def state(self) -> GateState:
        (found,) = self.gates.look()
        return found

    @property
    def limit(self) -> float:
        return float(self.kept().get("limit", 16))


@contextmanager
def keeping(settings: BrokerSettings, draw: Random | None = None) -> Iterator[Keeper]:
    gates = Gates(settings.model_copy(update=NARROW), draw)
    url = settings.redis_url.get_secret_value()
    with Redis.from_url(url, decode_responses=True) as redis:
        yield Keeper(gates, redis, count(1))
    gates.close()
