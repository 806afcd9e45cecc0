"""`make overload`: more work than fits, an outage, a slow provider; ours beside plainer ways.

    python -m tests.overload                            every scene, some ten minutes
    python -m tests.overload --scenes overload,slow     only these
    python -m tests.overload --scale 0.3 --seed 7       shorter, and another trace

Tables are printed, the figures are in .stepwell/overload.json, the picture of them in
.stepwell/overload.png. The exit status is 1 when a promise was not kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from time import monotonic

from tests.overload.drawing import draw
from tests.overload.platform import Servers
from tests.overload.report import DRAWN, KEPT, Played, Report
from tests.overload.run import run
from tests.overload.scenes import SCENES, Scene

SEED = 1


def play(servers: Servers, scene: Scene, seed: int) -> Played:
    """Every policy of the scene, one after the other, under the same trace."""
    histories = {}
    for policy in scene.policies:
        say(f"{scene.name}: {policy.title}")
        histories[policy.name] = run(servers.lay(), policy, scene.plan, seed)
    figures = {name: scene.read(scene, history) for name, history in histories.items()}
    return Played(scene, histories, figures)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)
    began = monotonic()
    with Servers() as servers:
        played = [play(servers, SCENES[name](args.scale), args.seed) for name in args.scenes]
    report = Report(args.seed, monotonic() - began, played)
    report.show()
    report.keep()
    draw(played, DRAWN)
    print(f"\nThe same figures: {KEPT}; drawn: {DRAWN}. It took {report.took_s:.0f} s.")
    return 0 if report.is_borne_out else 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.overload")
    parser.add_argument(
        "--scenes", type=_scenes, default=list(SCENES), help="some of them, by comma"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="stretches the trace")
    parser.add_argument("--seed", type=int, default=SEED, help="what the trace follows from")
    return parser.parse_args(argv)


def _scenes(given: str) -> list[str]:
    names = given.split(",")
    unknown = set(names) - set(SCENES)
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no scene {unknown}; there are {list(SCENES)}")
    return names


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
