"""The real worker, without gates or with naive retries where the policy says so.

    python -m tests.overload.worker --policy naive --work waits --slots 5

Naive is what a client library and a Celery task do when nobody has thought about it: the library
tries three times, and the task, around it, four times, whatever the error was.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import Any

from broker.gates import Answer, Gates, Pass
from jobs import worker
from jobs.agent import model
from jobs.lifecycle import attempt, verdicts
from jobs.lifecycle.verdicts import ErrorClass, GiveUp, Retry
from tests.overload.policies import POLICIES

CLIENT_RETRIES, TASK_RETRIES = 2, 3
TASK_WAIT_FIRST_S = 0.5


def open_gates() -> None:
    """Let every call pass, and forget how it came out."""

    def enter(self: Gates, dependency: str, holder: str, **_: Any) -> Pass:
        return Pass(dependency, holder, Answer.GO)

    def let_be(self: Gates, *_: Any, **__: Any) -> None:
        return None

    def allow(self: Gates, *_: Any, **__: Any) -> bool:
        return True

    Gates.enter, Gates.leave, Gates.earn, Gates.spend = enter, let_be, let_be, allow


def retry_naively() -> None:
    """Retry in the client, and around it in the step, also when told to slow down."""
    settings = model.ModelSettings

    def with_retries(**given: Any) -> Any:
        return settings(**given | {"max_retries": CLIENT_RETRIES})

    def judge(
        error: BaseException, *, tries: int, draw: random.Random | None = None, **_: Any
    ) -> Retry | GiveUp:
        told = verdicts.as_json(ErrorClass.TRANSIENT, error)
        if tries < TASK_RETRIES:
            return Retry(TASK_WAIT_FIRST_S * 2**tries, told)
        return GiveUp(told, ErrorClass.TRANSIENT)

    model.ModelSettings = with_retries
    attempt.judge = judge


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.overload.worker")
    parser.add_argument("--policy", choices=sorted(POLICIES), default="ours")
    args, rest = parser.parse_known_args()
    policy = POLICIES[args.policy]
    if not policy.has_gates:
        open_gates()
    if policy.retries:
        retry_naively()
    return worker.main(rest)


if __name__ == "__main__":
    sys.exit(main())
