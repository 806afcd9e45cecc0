"""Which walls hold around confined children on this machine, for `stepwell doctor`."""

from __future__ import annotations

from jobs.datasets.confine import Limits, Walls, run_confined


def walls_here() -> Walls:
    """Start one child and ask; raises `ConfinementError` if none can be started."""
    return run_confined("jobs.datasets.probe:do_nothing", {}, limits=Limits(wall_clock_s=10)).walls


def do_nothing() -> None:
    """The errand: the answer's walls are what is asked for."""
