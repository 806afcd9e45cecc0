"""The matrix: every fault at every transition, on one world of real processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from tests.faults import people
from tests.faults.points import Point
from tests.faults.strikes import FAULTS, Fault
from tests.faults.wave import FLEETING, Wave
from tests.faults.world import World

EACH = 4
ROUNDS = {"worker killed": 2, "worker frozen": 2}


def run(
    world: World,
    faults: Sequence[Fault] = FAULTS,
    *,
    each: int = EACH,
    rounds: dict[str, int] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Strike with every fault in turn; then answer what people were asked, by the ledger."""
    for fault in faults:
        for _ in range((ROUNDS if rounds is None else rounds).get(fault.name, 1)):
            began = monotonic()
            standing = [p for p in fault.points if p not in FLEETING]
            fleeting = [p for p in fault.points if p in FLEETING]
            waves = [strike(world, fault, points, each) for points in (standing, fleeting)]
            aims = [aim for wave in waves for aim in wave.aims]
            struck = sum(aim.struck is not None for aim in aims)
            took_s = monotonic() - began
            say(f"{fault.name}: {struck} of {len(aims)} jobs struck; {took_s:.1f} s")
    people.answer_all(world)


def strike(world: World, fault: Fault, points: Sequence[Point], each: int) -> Wave:
    """One wave of one fault."""
    wave = Wave(world, fault.name)
    wave.aim(points, each, fault.spots)
    if wave.aims:
        wave.wait_until_all_stand()
        fault.strike(wave)
        wave.settle()
        world.crew.wait_until_ready()
    return wave
