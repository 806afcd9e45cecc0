"""`python -m tests.provider`: the provider as a process, answering every request alike.

Prints its base URL as the first line, and one line of JSON with what it saw when it is told to
stop (SIGTERM or SIGINT).
"""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Sequence
from threading import Event

from tests.provider import Provider, Says


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    args = _parse(argv)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    says = Says(
        args.text, first_token_s=args.first_token_s, takes_s=args.takes_s, pieces=args.pieces
    )
    with Provider(lambda _: says, args.port, together=args.together) as provider:
        print(provider.base_url, flush=True)
        stop.wait()
        seen = {"requests": len(provider.asked), "in_flight_max": provider.in_flight_max}
        print(json.dumps(seen), flush=True)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.provider")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--text", default="Done.", help="what every answer says")
    parser.add_argument("--takes-s", type=float, default=0.0, help="seconds to the last token")
    parser.add_argument("--first-token-s", type=float, default=0.0, help="seconds to the first")
    parser.add_argument("--pieces", type=int, default=4, help="pieces an answer is sent in")
    parser.add_argument(
        "--together", type=int, default=0, help="answer nobody until this many have asked"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
