"""Options: what a tool may be declared with. A slip in them would decide what happens twice."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, get_args

from jobs.errors import Misdeclared
from store.states import Work

Effect = Literal["read", "write", "external"]
Idempotency = Literal["safe", "key", "none"]
UnderTaint = Literal["confirm", "allow"]

MEMORY_BYTES_MAX = 1024**3
# Python with a module of agents takes about this much before the tool has done anything.
MEMORY_BYTES_MIN = 128 * 1024**2


def check_options(
    effect: str, idempotency: str | None, work: str, timeout_s: float, under_taint: str
) -> None:
    # A slip here would decide whether a call may happen twice.
    for given, known in (
        (effect, get_args(Effect)),
        (idempotency, (None, *get_args(Idempotency))),
        (work, tuple(Work)),
        (under_taint, get_args(UnderTaint)),
    ):
        if given not in known:
            raise Misdeclared(f"{given!r} is none of {', '.join(str(e) for e in known if e)}.")
    if timeout_s <= 0:
        raise Misdeclared(f"A tool cannot be given up after {timeout_s} seconds.")


def check_approval(approval_s: float, unapproved: str) -> None:
    if not 0 < approval_s < float("inf"):
        raise Misdeclared(f"A call cannot wait {approval_s:g} seconds for approval.")
    if unapproved not in ("reject", "approve"):
        raise Misdeclared(f"{unapproved!r} is neither reject nor approve.")


def check_lookup(effect: str, lookup: Callable[..., Any] | None) -> None:
    if lookup is None:
        return
    if effect == "read":
        raise Misdeclared("A read changes nothing, so there is nothing to look up. Leave it out.")
    try:
        inspect.signature(lookup).bind("key")
    except (TypeError, ValueError):
        raise Misdeclared(f"A lookup is a function of one key, unlike {lookup!r}.") from None


def check_memory(process: bool, memory_bytes_max: int | None) -> None:
    if memory_bytes_max is None:
        return
    if not process:
        raise Misdeclared("memory_bytes_max needs process=True: a thread has no memory of its own.")
    if memory_bytes_max < MEMORY_BYTES_MIN:
        raise Misdeclared(
            f"A child process cannot start in {memory_bytes_max:,} bytes. "
            f"Give it at least {MEMORY_BYTES_MIN:,}."
        )


def check_optional(optional: bool, budget_s: float | None, idempotency: str) -> None:
    if budget_s is not None and not optional:
        raise Misdeclared("budget_s needs optional=True: what is needed has a timeout_s.")
    if budget_s is not None and budget_s <= 0:
        raise Misdeclared(f"An optional tool cannot be left out after {budget_s} seconds.")
    if optional and idempotency == "none":
        raise Misdeclared(
            "A call that must not happen twice cannot be left out when nobody knows whether it "
            "happened. Give it an idempotency, or leave optional out."
        )
