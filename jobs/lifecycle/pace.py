"""Pace: whether the next step may ride along in the Celery task that planned it.

A hop through Redis costs about a millisecond, which is nothing beside a model call and a great deal
beside a step that only adds two numbers. So a step rides only when its name is known to be quick
here, and only while the quantum that began with the Celery task lasts. Everything that takes real
time, and everything with an effect on the world, is a Celery task of its own, visible in Flower.
"""

from __future__ import annotations

# How much the newest duration counts against all earlier ones.
NEWEST = 0.2
# A step this short is told of when it is done; that it had begun would be no news.
QUICK_MS = 20.0


class Pace:
    """What each step name usually takes in this process, in milliseconds. Threads may race on it:
    a lost update costs one measurement."""

    def __init__(self, quantum_ms: float) -> None:
        self.quantum_ms = quantum_ms
        self._usual_ms: dict[str, float] = {}

    def note(self, name: str, took_ms: float) -> None:
        """Remember what a step took."""
        usual = self._usual_ms.get(name)
        self._usual_ms[name] = took_ms if usual is None else usual + NEWEST * (took_ms - usual)

    def is_quick(self, name: str) -> bool:
        """Whether steps of this name are known to end before anybody could watch them run."""
        usual = self._usual_ms.get(name)
        return usual is not None and usual < QUICK_MS

    def has_time_for(self, name: str, spent_ms: float) -> bool:
        """Whether a step of this name would end within the quantum, as far as is known."""
        usual = self._usual_ms.get(name)
        return usual is not None and spent_ms + usual < self.quantum_ms
