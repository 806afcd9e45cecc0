"""What a gate looks like from outside: its state, its times, its minutes, for people to read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from redis import Redis

PREFIX = "stepwell:gate"
NAMES = f"{PREFIX}:names"
MINUTES_KEPT = 60
AMPLIFICATION_MINUTES = 10
# A ratio of fewer calls than that worries nobody.
AMPLIFICATION_CALLS_MIN = 20
NAMES_KEPT_S = 86_400


def key_of(kind: str, dependency: str) -> str:
    """Where Redis keeps one kind of thing about one gate."""
    return f"{PREFIX}:{kind}:{dependency}"


class Standing(StrEnum):
    """Whether calls go."""

    OPEN = "open"
    SHUT = "shut"
    # The time is over: the next call goes alone, and decides.
    PROBING = "probing"


@dataclass(frozen=True, slots=True)
class Usual:
    """How long something took, over the last successful calls, in seconds."""

    p50_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class Minute:
    """What happened at a gate in one minute; `ago` counts from the current one, which is 0.

    `calls` went out, `firsts` of them for the first try of their step; `slow` ones are also `ok`;
    `busy_s` is what the `ok` ones took in sum.
    """

    ago: int
    calls: float = 0
    firsts: float = 0
    ok: float = 0
    slow: float = 0
    failed: float = 0
    rate_limited: float = 0
    quota: float = 0
    turned_away: float = 0
    busy_s: float = 0


@dataclass(frozen=True, slots=True)
class GateState:
    """A gate as it stands. `minutes` are those of the last hour in which anything happened."""

    dependency: str
    standing: Standing
    reason: str
    shut_for_s: float
    limit: int
    in_flight: int
    waiting: int
    first: Usual | None
    total: Usual | None
    first_timeout_s: float | None
    total_timeout_s: float | None
    minutes: tuple[Minute, ...]
    # Above it the calls that go out are too many for those that were wanted.
    amplification_alert: float = math.inf

    @property
    def is_amplified(self) -> bool:
        """Whether so many more calls go out than were wanted that somebody has to look."""
        lately = sum(each.calls for each in self.minutes if each.ago < AMPLIFICATION_MINUTES)
        is_known = lately >= AMPLIFICATION_CALLS_MIN
        return is_known and (self.amplification() or 0) > self.amplification_alert

    def amplification(self, minutes: int = AMPLIFICATION_MINUTES) -> float | None:
        """Calls on the wire for each that was wanted, lately; None when there were none."""
        lately = [each for each in self.minutes if each.ago < minutes]
        calls = sum(each.calls for each in lately)
        return calls / max(1.0, sum(each.firsts for each in lately)) if calls else None


def read(redis: Redis, amplification_alert: float = math.inf) -> list[GateState]:
    """Every gate that was asked within a day, by name; raises what redis-py raises."""
    seconds, micros = redis.time()
    now = seconds + micros / 1e6
    redis.zremrangebyscore(NAMES, "-inf", now - NAMES_KEPT_S)
    names = sorted(str(each) for each in redis.zrange(NAMES, 0, -1))
    return [_read_one(redis, name, now, amplification_alert) for name in names]


def _read_one(redis: Redis, name: str, now: float, amplification_alert: float) -> GateState:
    minute = int(now // 60)
    with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(key_of("state", name))
        pipe.zcount(key_of("flight", name), now, "+inf")
        pipe.zcard(key_of("line", name))
        pipe.lrange(key_of("firsts", name), 0, -1)
        pipe.lrange(key_of("totals", name), 0, -1)
        for ago in range(MINUTES_KEPT):
            pipe.hgetall(f"{key_of('minute', name)}:{minute - ago}")
        state, in_flight, waiting, firsts, totals, *minutes = pipe.execute()
    reason = state.get("reason", "")
    shut_for_s = max(0.0, float(state.get("closed_until", 0)) - now) if reason else 0.0
    stretch = float(state.get("stretch", 1))
    return GateState(
        dependency=name,
        standing=_standing(reason, shut_for_s),
        reason=reason,
        shut_for_s=shut_for_s,
        limit=int(float(state.get("limit", 0))),
        in_flight=in_flight,
        waiting=waiting,
        first=_usual(firsts),
        total=_usual(totals),
        first_timeout_s=_stretched(state.get("first_timeout_s"), stretch),
        total_timeout_s=_stretched(state.get("total_timeout_s"), stretch),
        minutes=tuple(_read_minutes(minutes)),
        amplification_alert=amplification_alert,
    )


def _standing(reason: str, shut_for_s: float) -> Standing:
    if not reason:
        return Standing.OPEN
    return Standing.SHUT if shut_for_s > 0 else Standing.PROBING


def _usual(sample: Sequence[str]) -> Usual | None:
    if not sample:
        return None
    took = sorted(float(each) for each in sample)
    return Usual(took[math.ceil(0.5 * len(took)) - 1], took[math.ceil(0.99 * len(took)) - 1])


def _stretched(timeout_s: str | None, stretch: float) -> float | None:
    return None if timeout_s is None else float(timeout_s) * stretch


def _read_minutes(minutes: Iterable[Mapping[str, Any]]) -> Iterable[Minute]:
    counted = {each.name for each in fields(Minute)} - {"ago"}
    for ago, counts in enumerate(minutes):
        if counts:
            yield Minute(ago, **{k: float(v) for k, v in counts.items() if k in counted})
