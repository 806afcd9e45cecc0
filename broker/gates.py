"""Gates: what stands before each dependency, shared by all workers through Redis.

A dependency is something outside that steps call: a model provider, a tool server, the mail relay.
Its gate decides whether one more call may go now, from three things that it learns by itself:

    limit     how many calls at once the other side bears: more by one for each full round that
              went well, less by a third when it says to slow down or most answers become slow
    breaker   shut when calls fail or crawl, or the other side names a time; then one call goes
              as a probe, and when that went well the limit grows again from small
    times     how long a first token and a whole answer usually take, from which timeouts follow

A call that may not go is told when to come back, by its place in the line, and holds nothing until
then. A holder that died gives its pass back by the lease that it asked for, and a step that asks
again has no call out. Time is Redis' own. The rules are in `gate_scripts`, one script a verb, so
that each is one step for everybody.

Redis is a hint here too. Without it each process lets a few calls go at once, keeps to the closing
times that it has heard of, allows no retries, and remembers which passes it could not give back.
When Redis comes back empty, the gates begin anew: open, and with the first limit.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.resources import files
from threading import Lock
from time import monotonic
from uuid import UUID

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from broker import gate_states
from broker.errors import BrokerDown
from broker.gate_states import NAMES, GateState, key_of
from broker.scripts import Scripts
from broker.settings import BrokerSettings

log = structlog.get_logger(__name__)

FALLBACK_AT_ONCE = 4
FALLBACK_WAIT_S = 2.0
FALLBACK_SHUT_S, FALLBACK_SHUT_MAX_S = 2.0, 600.0
OWED_MAX = 1_000
BUDGET_ENOUGH = 5.0


class Answer(StrEnum):
    """What the gate says to who wants to call."""

    GO = "go"
    PROBE = "probe"
    FULL = "full"
    CLOSED = "closed"


class Came(StrEnum):
    """How a call came out, as far as it says something about the dependency."""

    OK = "ok"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    # It was refused as it was, or stopped: nothing is learned.
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Pass:
    """The right to make one call now, or when to come back.

    `reason` says what keeps it shut: `limit`, `rate_limited`, `quota`, `breaker`, `slow`, or
    `unknown` while Redis is away. The timeouts are what the dependency's answers so far call for;
    None while they are too few.
    """

    dependency: str
    holder: str
    answer: Answer
    wait_s: float = 0.0
    reason: str = ""
    first_token_s: float | None = None
    total_s: float | None = None
    is_hearsay: bool = False

    @property
    def is_open(self) -> bool:
        return self.answer in (Answer.GO, Answer.PROBE)


@dataclass
class _Hearsay:
    """What one process knows of the gates by itself, for when Redis is away."""

    in_flight: Counter[str] = field(default_factory=Counter)
    closed_until: dict[str, float] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def enter(self, dependency: str, holder: str) -> Pass:
        with self.lock:
            shut_for_s = self.closed_until.get(dependency, 0.0) - monotonic()
            if shut_for_s > 0:
                return Pass(dependency, holder, Answer.CLOSED, shut_for_s, "unknown")
            if self.in_flight[dependency] >= FALLBACK_AT_ONCE:
                return Pass(dependency, holder, Answer.FULL, FALLBACK_WAIT_S, "unknown")
            self.in_flight[dependency] += 1
        return Pass(dependency, holder, Answer.GO, is_hearsay=True)

    def leave(self, dependency: str, came: Came, retry_after_s: float | None) -> None:
        with self.lock:
            self.in_flight[dependency] -= 1
        if came in (Came.RATE_LIMITED, Came.QUOTA):
            self.hear_shut(dependency, retry_after_s or FALLBACK_SHUT_S)

    def hear_shut(self, dependency: str, for_s: float) -> None:
        """Keep in mind that a gate stays shut for so long."""
        self.closed_until[dependency] = monotonic() + min(FALLBACK_SHUT_MAX_S, for_s)

    def hear_open(self, dependency: str) -> None:
        self.closed_until.pop(dependency, None)


class Gates:
    """The gates as one process sees them. Safe to use from many threads.

    Only `look` ever raises: everything else goes on by hearsay when Redis does not answer.
    """

    def __init__(self, settings: BrokerSettings, draw: random.Random | None = None) -> None:
        self._settings = settings
        self._redis = Redis.from_url(
            settings.redis_url.get_secret_value(),
            socket_timeout=settings.redis_timeout_s,
            socket_connect_timeout=settings.redis_timeout_s,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._draw = draw or random.SystemRandom()
        self._hearsay = _Hearsay()
        # Passes that Redis may hold and nobody uses: a lost answer, or one given back in vain.
        self._owed: deque[tuple[str, str]] = deque(maxlen=OWED_MAX)
        folder = files("broker") / "gate_scripts"
        self._scripts = Scripts(self._redis, folder, ("enter", "leave", "spend"))

    def enter(
        self,
        dependency: str,
        holder: str,
        *,
        lease_s: float,
        is_first_try: bool = True,
        rank: int = 0,
        left_s: float | None = None,
    ) -> Pass:
        """Ask for one call, or come back for it. The pass comes free by itself after `lease_s`.

        Where there is little room, a lower `rank` goes before a higher one; 0 is the most urgent.
        In a rank, all whose `holder` begins with the same word (up to a colon) share alike with
        others. `left_s` is by when the call must be over, if there is such a time.
        """
        kinds = ("state", "flight", "line", "due", "minute", "since", "ranks")
        try:
            self._give_back_what_is_owed()
            said = self._scripts.run(
                "enter",
                keys=[*(key_of(kind, dependency) for kind in kinds), NAMES],
                args=[
                    *(dependency, holder, lease_s, int(is_first_try)),
                    *(self._draw.random(), self._settings.gate_limit_first, rank),
                    "" if left_s is None else left_s,
                ],
            )
        except RedisError:
            self._owed.append((dependency, holder))
            return self._hearsay.enter(dependency, holder)
        passed = _read_pass(dependency, holder, said)
        if passed.answer is Answer.CLOSED:
            self._hearsay.hear_shut(dependency, passed.wait_s)
        else:
            self._hearsay.hear_open(dependency)
        return passed

    def leave(
        self,
        held: Pass,
        came: Came,
        *,
        tenant_id: UUID | None = None,
        first_s: float | None = None,
        total_s: float | None = None,
        took_s: float | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Give an open pass back, and say how the call came out and what it took.

        The gate learns from `first_s` and `total_s`; where these say little of the other side they
        are left out, and `took_s` says how long the call was out all the same.
        A call that went well pays a little into the retry budget of its tenant.
        """
        if held.is_hearsay:
            self._hearsay.leave(held.dependency, came, retry_after_s)
            return
        kinds = ("state", "flight", "minute", "results", "firsts", "totals", "since")
        was_probe = int(held.answer is Answer.PROBE)
        times = (first_s, total_s, total_s if took_s is None else took_s, retry_after_s)
        told = ["" if each is None else each for each in times]
        try:
            event, reason, for_s = self._scripts.run(
                "leave",
                keys=[
                    *(key_of(kind, held.dependency) for kind in kinds),
                    _budget_of(held.dependency, tenant_id),
                ],
                args=[
                    *(held.holder, came.value, was_probe, *told),
                    *(self._draw.random(), self._settings.gate_limit_max),
                ],
            )
        except RedisError:
            self._owed.append((held.dependency, held.holder))
            return
        if reason and float(for_s) > 0:
            self._hearsay.hear_shut(held.dependency, float(for_s))
        _tell(held.dependency, event, reason, float(for_s))

    def step_out(self, refused: Pass) -> None:
        """Give up the place in line: whoever was turned away will not come back."""
        try:
            for kind in ("line", "due", "ranks"):
                self._redis.zrem(key_of(kind, refused.dependency), refused.holder)
        except RedisError:
            return

    def spend(self, dependency: str, tenant_id: UUID) -> bool:
        """Pay for a failed call; whether enough is left of the budget for a retry."""
        try:
            left = self._scripts.run("spend", [_budget_of(dependency, tenant_id)], [])
        except RedisError:
            return False
        return float(left) > BUDGET_ENOUGH

    def look(self) -> list[GateState]:
        """Every gate there is, by name, for people; `BrokerDown` when Redis does not answer."""
        try:
            return gate_states.read(self._redis, self._settings.amplification_alert)
        except RedisError as error:
            raise BrokerDown(f"Redis does not answer ({type(error).__name__}).") from None

    def close(self) -> None:
        self._redis.close()

    def _give_back_what_is_owed(self) -> None:
        while self._owed:
            try:
                dependency, holder = self._owed.popleft()
            except IndexError:
                return  # another thread was quicker
            try:
                for kind in ("flight", "since"):
                    self._redis.zrem(key_of(kind, dependency), holder)
            except RedisError:
                self._owed.append((dependency, holder))
                raise


def _budget_of(dependency: str, tenant_id: UUID | None) -> str:
    return key_of("budget", f"{tenant_id}:{dependency}")


def _read_pass(dependency: str, holder: str, said: list[str]) -> Pass:
    answer, wait_s, reason, first_token_s, total_s = said
    return Pass(
        dependency,
        holder,
        Answer(answer),
        float(wait_s),
        reason,
        float(first_token_s) if first_token_s else None,
        float(total_s) if total_s else None,
    )


def _tell(dependency: str, event: str, reason: str, for_s: float) -> None:
    if event == "shut":
        log.warning("gate.shut", dependency=dependency, reason=reason, for_s=round(for_s, 1))
    elif event == "reopened":
        log.info("gate.reopened", dependency=dependency)
