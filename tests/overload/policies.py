"""The policies: ours is the product as it is, the others are made of it from outside.

    ours    nothing is changed
    fifo    one lane in order of arrival: nobody is refused, no class, no deadline, no gate
    depth   the same, and whoever finds the lane too deep is refused
    naive   fifo, with the retries switched on that clients and Celery users usually have
    open    ours without gates: one pool for everybody, however slow what they wait for

What is changed is named in one place for each process: `PLAIN` ones are handed in by a front door
that stores and rings (`front.py`), and `has_gates` and `retries` are seen to by a worker of the
harness (`worker.py`). The product has no switch for any of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Plain rings are never repeated within a run, and lanes are as deep as they have to be.
PLAIN = {"STEPWELL_RING_AGAIN_S": "3600", "STEPWELL_LANE_DEPTH_MAX": "1000000"}


@dataclass(frozen=True)
class Policy:
    """How a run differs from the product: settings, a plain front door, a changed worker."""

    name: str
    title: str
    is_plain: bool = False
    depth_max: int | None = None
    has_gates: bool = True
    retries: bool = False
    settings: dict[str, str] = field(default_factory=dict)


OURS = Policy("ours", "ours")
FIFO = Policy("fifo", "first in, first out", is_plain=True, has_gates=False, settings=PLAIN)
# Well chosen: what waits in so long a line is worked off within the shortest deadline.
DEPTH = Policy(
    "depth", "a depth limit", is_plain=True, depth_max=40, has_gates=False, settings=PLAIN
)
NAIVE = Policy(
    "naive", "naive retries", is_plain=True, has_gates=False, retries=True, settings=PLAIN
)
OPEN = Policy("open", "no gates", has_gates=False)

POLICIES = {policy.name: policy for policy in (OURS, FIFO, DEPTH, NAIVE, OPEN)}
