"""`make faults`: the matrix of every fault at every transition, or a storm of a given length.

    python -m tests.faults                              the matrix, the comebacks, the mutants
    python -m tests.faults --minutes 10 --seed 7        a storm for so long
    python -m tests.faults --jobs 10000 --seed 7        a storm of so many jobs and 300 faults

The same figures are in .stepwell/faults.json. The exit status is 1 when a law was broken.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from store.embedded import PrivatePostgres
from tests.faults import comeback, matrix, tally
from tests.faults.mutants import Mutant, run_mutants
from tests.faults.report import KEPT, Report
from tests.faults.storm import Length, Storm
from tests.faults.world import World

FAULTS_MIN = 300
STORM_SEED = 1


def run_matrix(keeps: bool) -> Report:
    """Everything that is measured without chance."""
    began = monotonic()
    say("breaking the store on purpose: does the checker notice?")
    mutants = try_mutants()
    with World(workers=2, keeps=keeps) as world:
        matrix.run(world, say=say)
        say("killing workers under load")
        world.add_worker(2)
        world.crew.wait_until_ready()
        comeback.kill_in_turn(world)
        say("losing all of Redis under load")
        comebacks = {
            "redis emptied under load": comeback.measure_redis(world, comeback.empty),
            "redis killed under load": comeback.measure_redis(world, comeback.kill),
        }
        counted = tally.count(world)
    return Report("matrix", 0, monotonic() - began, counted, comebacks, mutants)


def try_mutants() -> list[tuple[Mutant, bool]]:
    home = Path(tempfile.mkdtemp(prefix="sw-m-"))
    try:
        with PrivatePostgres(home, durable=False) as server:
            return run_mutants(server)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def run_storm(length: Length, seed: int, keeps: bool) -> Report:
    """A storm by this seed."""
    began = monotonic()
    with World(workers=3, schedulers=2, keeps=keeps) as world:
        Storm(world, seed, length).run(say)
        counted = tally.count(world)
    return Report("storm", seed, monotonic() - began, counted)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)
    if args.minutes or args.jobs:
        length = Length(args.minutes, args.jobs, args.faults)
        report = run_storm(length, args.seed, args.keep)
    else:
        report = run_matrix(args.keep)
    report.show()
    report.keep()
    print(f"\nThe same figures: {KEPT}")
    return 0 if report.is_clean else 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--minutes", type=float, default=0.0, help="a storm for so long")
    parser.add_argument("--jobs", type=int, default=0, help="a storm of at least so many jobs")
    parser.add_argument("--faults", type=int, default=FAULTS_MIN, help="and so many faults")
    parser.add_argument("--seed", type=int, default=STORM_SEED, help="what the storm follows from")
    parser.add_argument("--keep", action="store_true", help="leave the world's folder behind")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
