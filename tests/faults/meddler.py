"""A meddler at the lanes: takes messages before the workers do, and gives them back another way."""

from __future__ import annotations

import contextlib
import random
from threading import Event, Thread
from time import monotonic
from typing import Literal, Self

from redis import Redis
from redis.exceptions import RedisError

from broker.lanes import ALL_LANES

Way = Literal["duplicate", "delay", "reorder"]

# So many hands wait beside the workers' own, so that most messages come to the meddler.
HANDS = 8
COPIES = 3
DELAY_S = 2.5
HEAP = 12
HEAP_S_MAX = 0.5
TAKE_S = 0.2


class Meddler:
    """Open it as a context; whatever it still holds is given back at the end."""

    def __init__(self, redis_url: str, way: Way, seed: int = 0) -> None:
        self._way = way
        self._draw = random.Random(seed)
        self._redis = Redis.from_url(redis_url)
        # What a hand has given back must not come to it again: it would go round for ever.
        self._seen: set[bytes] = set()
        self._stop = Event()
        self._threads = [Thread(target=self._meddle, daemon=True) for _ in range(HANDS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._redis.close()

    def _meddle(self) -> None:
        held: list[tuple[float, bytes, bytes]] = []
        while not self._stop.is_set():
            with contextlib.suppress(RedisError):
                taken = self._redis.brpop(list(ALL_LANES), timeout=TAKE_S)
                if taken is not None:
                    self._take(held, *taken)  # type: ignore[misc]
                self._give_due(held)
        with contextlib.suppress(RedisError):
            self._give(held)

    def _take(self, held: list[tuple[float, bytes, bytes]], lane: bytes, message: bytes) -> None:
        if message in self._seen:
            self._redis.rpush(lane, message)
            # The workers' hands are slower than ours; let them have it.
            self._stop.wait(0.01)
            return
        self._seen.add(message)
        copies = COPIES if self._way == "duplicate" else 1
        held.extend([(monotonic(), lane, message)] * copies)

    def _give_due(self, held: list[tuple[float, bytes, bytes]]) -> None:
        if not held:
            return
        oldest_s = monotonic() - held[0][0]
        match self._way:
            case "duplicate":
                self._give(held)
            case "delay" if oldest_s > DELAY_S:
                self._give(held)
            case "reorder" if len(held) >= HEAP or oldest_s > HEAP_S_MAX:
                self._draw.shuffle(held)
                self._give(held)

    def _give(self, held: list[tuple[float, bytes, bytes]]) -> None:
        while held:
            _, lane, message = held.pop()
            self._redis.rpush(lane, message)
