"""Secrets: keys, tokens and passwords in what passes are masked, by what they look like.

Two ways to be one: a shape that nothing else has (a private key's armour, the prefix a provider
gives its keys), or a value that looks drawn at random and is given a name such as `password`. The
values of this process's own secrets are known, and masked wherever they turn up.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from jobs.guards.guard import EVERYWHERE, Context, Stage, Verdict, allow, block, replace
from jobs.guards.texts import with_texts
from store.secrets import hide

Mode = Literal["mask", "block", "allow"]

# Each shape with words one of which it always holds, so that a text without them is not searched.
SHAPES = {
    "private key": (
        ("-----BEGIN",),
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
            r"(?:[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----|[\s\S]*)"
        ),
    ),
    "AWS key": (("AKIA", "ASIA"), re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    "GitHub token": (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})"),
    ),
    "GitLab token": (("glpat-",), re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}")),
    "Slack token": (("xox",), re.compile(r"\bxox[abposr]-[A-Za-z0-9-]{10,}")),
    "model key": (("sk-",), re.compile(r"\bsk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{20,}")),
    "Google key": (("AIza",), re.compile(r"\bAIza[0-9A-Za-z_-]{35}")),
    "Stripe key": (
        ("k_live_", "k_test_"),
        re.compile(r"\b(?:sk|rk)_(?:live|test)_[0-9A-Za-z]{16,}"),
    ),
    "web token": (
        ("eyJ",),
        # It begins once a run and gives nothing back: no run is searched twice.
        re.compile(
            r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}+\.eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+"
        ),
    ),
    "password in a URL": (
        ("://",),
        re.compile(r"(?<=://)[^\s/:@]{1,100}:[^\s/@]{1,200}(?=@)"),
    ),
    "bearer token": (
        ("earer ", "EARER "),
        re.compile(r"(?i)(?<=\bbearer )[A-Za-z0-9._~+/-]{20,}=*"),
    ),
}
NAMES = ("passw", "secret", "token", "key")
NAMED = re.compile(
    r"(?i)(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key)"
    r"[\w.-]{0,20}[\"']?\s{0,3}(?:=>|:=|[:=])\s{0,3}[\"']?(?P<value>[^\s\"',;&<>]{12,500})"
)
# The names of fields that hold one; where a list of pages goes on is none.
FIELD = re.compile(
    r"(?i)(?<!page)(?<!page[_-])(?:password|passwd|secret|token|api[_-]?key|access[_-]?key"
    r"|private[_-]?key)$"
)
CHARS_MIN = 12
NAMED_KIND = "named secret"
MARK = f"[secret: {NAMED_KIND}]"
# What people number things with, such as order-2024-00017.
NUMBERED = re.compile(r"(?:[A-Za-z]+|\d{1,8})(?:[-_./:](?:[A-Za-z]+|\d{1,8}))*")
# Below it, per character, a value is a word or a date rather than something drawn at random.
ENTROPY_MIN_BITS = 3.0


@dataclass(frozen=True)
class Secrets:
    """Masks secrets, or blocks what holds one, or only tells of it."""

    mode: Mode = "mask"
    name: str = "secrets"
    stages: frozenset[Stage] = EVERYWHERE

    def check(self, stage: Stage, value: Any, context: Context) -> Verdict:
        found: Counter[str] = Counter()
        masked = mask_all(value, found)
        if not found:
            return allow()
        told: dict[str, Any] = {"kinds": dict(found)}
        reason = f"It holds secrets: {', '.join(sorted(found))}."
        match self.mode:
            case "mask":
                return replace(masked, reason, **told)
            case "block":
                return block(reason, **told)
            case "allow":
                return allow(**told)


def mask_all(value: Any, found: Counter[str]) -> Any:
    """The JSON value with every secret in it masked."""
    return with_texts(_mask_fields(value, found), lambda text: mask(text, found))


def keep_out(value: Any, guards: Iterable[Any]) -> Any:
    """The JSON value as it may be kept, where any of these guards keeps secrets out."""
    is_kept_out = any(isinstance(each, Secrets) and each.mode != "allow" for each in guards)
    return mask_all(value, Counter()) if is_kept_out else value


def _mask_fields(value: Any, found: Counter[str]) -> Any:
    """What is drawn at random and stands in a field with such a name, masked."""
    if isinstance(value, list | tuple):
        return [_mask_fields(item, found) for item in value]
    if not isinstance(value, dict):
        return value
    named = {name for name, item in value.items() if _is_named_secret(name, item)}
    found.update([NAMED_KIND] * len(named))
    return {
        name: MARK if name in named else _mask_fields(item, found) for name, item in value.items()
    }


def _is_named_secret(name: Any, item: Any) -> bool:
    is_text = isinstance(name, str) and isinstance(item, str)
    return is_text and bool(FIELD.search(name)) and len(item) >= CHARS_MIN and looks_random(item)


def mask(text: str, found: Counter[str]) -> str:
    """The text with a mark in the place of each secret; counts their kinds."""
    for kind, (words, shape) in SHAPES.items():
        if not any(word in text for word in words):
            continue
        text, count = shape.subn(f"[secret: {kind}]", text)
        if count:
            found[kind] += count
    lowered = text.casefold()
    if any(name in lowered for name in NAMES):
        text = NAMED.sub(lambda match: _mask_named(match, found), text)
    hidden = hide(text)
    if hidden != text:
        found["key of this process"] += 1
    return hidden


def _mask_named(match: re.Match[str], found: Counter[str]) -> str:
    value = match["value"]
    if value.startswith("[secret:") or not looks_random(value):
        return match[0]
    found[NAMED_KIND] += 1
    return match[0].removesuffix(value) + MARK


def looks_random(value: str) -> bool:
    """Whether the value has letters and digits mixed, and too many different ones for a word."""
    if re.search(r"\s", value) or not (re.search(r"\d", value) and re.search(r"[A-Za-z]", value)):
        return False
    if NUMBERED.fullmatch(value):
        return False
    return entropy_bits(value) >= ENTROPY_MIN_BITS


def entropy_bits(text: str) -> float:
    """Shannon's entropy of the text's characters, in bits per character."""
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts)
