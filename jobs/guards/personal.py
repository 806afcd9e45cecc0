"""Personal data: addresses, telephone numbers, accounts and cards, where they would leave.

Accounts and cards are told from other long numbers by their check digits. What stands in the job's
own input is known to whoever asked, and is left as it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from jobs.guards.guard import Context, Stage, Verdict, allow, block, replace
from jobs.guards.texts import texts_in, with_texts

Mode = Literal["mask", "block", "allow"]

# Written in ways that nobody writes a quantity in: with a plus, or with a zero and groups.
PHONE = (
    r"(?<![\w.,+-])(?:\+\d{1,3}[ ./-]?(?:\(\d{1,4}\)[ ./-]?)?|\(?0\d{1,4}\)?[ /-])"
    r"\d{1,4}(?:[ ./-]?\d{2,4}){1,4}(?![\w.,]?\d)"
)


def passes_luhn(digits: str) -> bool:
    """The check digit of card numbers (ISO/IEC 7812-1, annex B)."""
    doubled = [int(d) * (2 if at % 2 else 1) for at, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def is_card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and passes_luhn(digits)


def is_iban(text: str) -> bool:
    """Whether the check digits fit (ISO 13616: the rearranged number is 1 modulo 97)."""
    written = re.sub(r"\s", "", text).upper()
    if not 15 <= len(written) <= 34:
        return False
    moved = written[4:] + written[:4]
    return int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1


def is_phone(text: str) -> bool:
    return 8 <= len(re.sub(r"\D", "", text)) <= 15


def is_address(text: str) -> bool:
    return len(text) <= 254


SHAPES: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "email": (
        re.compile(r"[A-Za-z0-9._%+'-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"),
        is_address,
    ),
    "iban": (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){3,8}(?: ?[A-Z0-9]{1,4})?\b"), is_iban),
    "card": (re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w]|\.\d)"), is_card),
    "phone": (re.compile(PHONE), is_phone),
}


@dataclass(frozen=True)
class PersonalData:
    """What to do with each kind (`email`, `phone`, `iban`, `card`): `mask`, `block` or `allow`."""

    modes: Mapping[str, Mode] = field(default_factory=lambda: dict.fromkeys(SHAPES, "mask"))
    name: str = "personal-data"
    stages: frozenset[Stage] = frozenset({Stage.TOOL_ARGS, Stage.JOB_POST})

    def check(self, stage: Stage, value: Any, context: Context) -> Verdict:
        if stage is Stage.TOOL_ARGS and context.effect == "read":
            return allow()
        known = " ".join(texts_in(context.asked))
        found: Counter[str] = Counter()
        masked = with_texts(value, lambda text: mask(text, found, self._looked_for, known))
        if not found:
            return allow()
        told = {"kinds": dict(found)}
        reason = f"It holds personal data: {', '.join(sorted(found))}."
        if any(self.modes[kind] == "block" for kind in found):
            return block(reason, **told)
        return replace(masked, reason, **told)

    @property
    def _looked_for(self) -> tuple[str, ...]:
        return tuple(kind for kind in SHAPES if self.modes.get(kind, "allow") != "allow")


# Written in groups of digits, so that what follows may look like one more.
IN_GROUPS = ("iban", "card")


def heads_of(text: str) -> Iterator[str]:
    """The text, and then without its last word, and so on: a shape may swallow what follows."""
    words = text.split(" ")
    for count in range(len(words), 0, -1):
        yield " ".join(words[:count])


def mask(text: str, found: Counter[str], kinds: tuple[str, ...], known: str = "") -> str:
    """The text with a mark in the place of personal data that is not `known`; counts its kinds."""

    def mark(kind: str, match: re.Match[str]) -> str:
        _, is_one = SHAPES[kind]
        for written in heads_of(match[0]) if kind in IN_GROUPS else (match[0],):
            if is_one(written):
                break
        else:
            return match[0]
        if written in known:
            return match[0]
        found[kind] += 1
        return f"[personal: {kind}]{match[0].removeprefix(written)}"

    for kind in kinds:
        shape, _ = SHAPES[kind]
        text = shape.sub(partial(mark, kind), text)
    return text
