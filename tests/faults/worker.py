"""The real worker with points around its moves: `python -m tests.faults.worker --work waits`.

Everything here happens to this process only, from outside the product: its clock can be put wrong,
and the functions by which a step is claimed, settled and parked are called through ones that may
stand still before and after. They stand where no connection is held, so that a step that stands
keeps nothing from the others.
"""

# The clock has to be put in place before anything can keep the true one.
# ruff: noqa: E402
from __future__ import annotations

import os
from pathlib import Path

from tests.faults import ledger, skew

skew.install(Path(os.environ["FAULTS_FOLDER"]))

import socket
import sys
from typing import Any
from uuid import UUID

from jobs import worker
from jobs.lifecycle import attempt, concluding
from store import transitions
from store.transitions import Parked
from tests.faults import proxy
from tests.faults.points import Point, stand, take_order_to_cut

FOLDER = Path(os.environ["FAULTS_FOLDER"])
CONTROL_PORT = int(os.environ.get("FAULTS_CONTROL_PORT", "0"))
CLAIMS, TOLD = FOLDER / "claims", FOLDER / "told"
# What was there already when a step was parked has woken it in the same breath.
LET_GO = (Parked.PARKED, Parked.WOKEN)


def lose_the_answer(connection: Any) -> None:
    """Lose the answer to what this thread is about to ask for, if it was told to."""
    if take_order_to_cut():
        with socket.socket(fileno=os.dup(connection.fileno())) as wire:
            port = wire.getsockname()[1]
        proxy.tell(CONTROL_PORT, f"cut {port}")


def surround_claim() -> None:
    real = attempt.claim

    def claim(tenant_id: UUID, job_id: UUID, seq: int, house: Any, **more: Any) -> Any:
        stand(Point.BEFORE_CLAIM, job_id, seq)
        held = real(tenant_id, job_id, seq, house, **more)
        if held is not None:
            ledger.note_begin(CLAIMS, job_id, seq, held.epoch, "claim")
            stand(Point.WAKING if held.woken else Point.AFTER_CLAIM, job_id, seq)
        return held

    attempt.claim = claim


def surround_settle() -> None:
    real = concluding.settle

    def settle(held: Any, settlement: Any, house: Any) -> Any:
        if settlement.is_joining:
            stand(Point.JOINING, held.job_id, held.seq)
        stand(Point.CANCELLING, held.job_id, held.seq)
        stand(Point.BEFORE_COMMIT, held.job_id, held.seq)
        settled = real(held, settlement, house)
        if settled is not None:
            became = settlement.state.value
            ledger.note_told(TOLD, held.job_id, held.seq, held.epoch, became, settlement.output)
            stand(Point.AFTER_COMMIT, held.job_id, held.seq)
            if settlement.is_inline and settled.planned:
                ledger.note_begin(CLAIMS, held.job_id, settled.first_seq, 1, "inline")
                stand(Point.AFTER_CLAIM, held.job_id, settled.first_seq)
        return settled

    concluding.settle = settle


def surround_park() -> None:
    real = concluding.park

    def park(held: Any, wait: Any, house: Any) -> Any:
        stand(Point.PARKING, held.job_id, held.seq)
        parked = real(held, wait, house)
        if parked in LET_GO:
            ledger.note_told(TOLD, held.job_id, held.seq, held.epoch, "waiting", None)
        stand(Point.PARKED, held.job_id, held.seq)
        return parked

    concluding.park = park


def surround_answers() -> None:
    """The statements whose answer may be lost on the way."""
    for name in ("claim", "commit", "start_effect", "park"):
        real = getattr(transitions, name)

        def ask(connection: Any, *args: Any, _real: Any = real, **more: Any) -> Any:
            lose_the_answer(connection)
            return _real(connection, *args, **more)

        setattr(transitions, name, ask)


def main() -> int:
    surround_claim()
    surround_settle()
    surround_park()
    surround_answers()
    return worker.main()


if __name__ == "__main__":
    sys.exit(main())
