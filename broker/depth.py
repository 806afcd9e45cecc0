"""How much each lane holds, and whether there is room for more."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from broker.errors import BrokerDown
from broker.lanes import ALL_LANES
from broker.settings import BrokerSettings

# A depth is a moving thing; this is how long one measurement is good enough to ring by.
FRESH_S = 0.25


class Gauge:
    """Measures the lanes. Safe to use from many threads."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._redis = Redis.from_url(
            settings.redis_url.get_secret_value(),
            socket_timeout=settings.redis_timeout_s,
            socket_connect_timeout=settings.redis_timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._measured: dict[str, int] = {}
        self._measured_at = float("-inf")

    def measure(self, lanes: Iterable[str] = ALL_LANES) -> dict[str, int]:
        """Messages in each lane; `BrokerDown` when Redis does not answer."""
        names = list(lanes)
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for lane in names:
                    pipe.llen(lane)
                return dict(zip(names, pipe.execute(), strict=True))
        except RedisError as error:
            raise BrokerDown(f"Redis does not answer ({type(error).__name__}).") from None

    def has_room(self, lane: str, most: int | None = None) -> bool:
        """Whether to ring for a new job at once, who is then counted; False when unknown.

        `most` is how many messages the lane should hold, where that is less than it may hold.
        """
        if monotonic() - self._measured_at > FRESH_S:
            try:
                self._measured = self.measure()
            except BrokerDown:
                return False
            self._measured_at = monotonic()
        depth_max = self._settings.lane_depth_max
        if self._measured.get(lane, 0) >= (depth_max if most is None else min(most, depth_max)):
            return False
        self._measured[lane] = self._measured.get(lane, 0) + 1
        return True

    def server_version(self) -> str:
        """The version of the server at the other end; `BrokerDown` when it does not answer."""
        try:
            info = self._redis.info("server")
        except RedisError as error:
            raise BrokerDown(f"Redis does not answer ({type(error).__name__}).") from None
        if "valkey_version" in info:
            return f"Valkey {info['valkey_version']}"
        return f"Redis {info['redis_version']}"

    def close(self) -> None:
        self._redis.close()
