"""The claims: what the platform promises about overload, and whether this run bears it out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Figures by scene and policy.
Figures = Mapping[str, Mapping[str, Mapping[str, Any]]]

OTHERS_IN_DEADLINE, GOODPUT, TIMES_FIFO = 0.97, 0.85, 2.0
BATCH_SHARE = 0.05
AMPLIFICATION_MAX, RECOVERY_S_MAX = 1.1, 30.0
P99_RISE_MAX = 0.10
RETURNS, COMMONEST_MAX = 0.90, 0.5


@dataclass(frozen=True, slots=True)
class Claim:
    """One promise: what was measured, what was wanted, and whether it holds."""

    scene: str
    what: str
    measured: str
    wanted: str
    holds: bool


def judge(figures: Figures) -> list[Claim]:
    """The claims about every scene that was played with the policies it needs."""
    judges = {
        "overload": _judge_overload,
        "outage": _judge_outage,
        "slow": _judge_slow,
        "comeback": _judge_comeback,
    }
    return [claim for name, of in figures.items() if "ours" in of for claim in judges[name](of)]


def _judge_overload(of: Mapping[str, Mapping[str, Any]]) -> list[Claim]:
    ours = of["ours"]
    others = ours["classes_of_others"].get("interactive", math.nan)
    claims = [
        _at_least("overload", "others' interactive jobs in deadline", others, OTHERS_IN_DEADLINE),
        _at_least("overload", "goodput", ours["goodput"], GOODPUT),
        _at_least("overload", "part of capacity that batch got", ours["batch_share"], BATCH_SHARE),
        Claim(
            "overload",
            "admitted jobs that were shed",
            str(ours["counts_of_the_run"]["failed"]),
            "0",
            ours["counts_of_the_run"]["failed"] == 0,
        ),
    ]
    if "fifo" in of:
        wanted = TIMES_FIFO * of["fifo"]["goodput"]
        claims.append(_at_least("overload", "goodput, twice fifo's", ours["goodput"], wanted))
    return claims


def _judge_outage(of: Mapping[str, Mapping[str, Any]]) -> list[Claim]:
    ours = of["ours"]
    claims = [
        _at_most("outage", "requests for each call sent", ours, "amplification"),
        _at_most("outage", "requests for each call wished for", ours, "requests_per_wish"),
        _at_most("outage", "95 % again after", ours, "recovery_s"),
    ]
    if "naive" in of:
        naive = of["naive"]
        is_worse = naive["amplification"] > AMPLIFICATION_MAX and not _recovers(naive)
        measured = f"{naive['amplification']:.2f}, {_seconds(naive['recovery_s'])}"
        what = "naive retries amplify, and do not recover in that time"
        claims.append(Claim("outage", what, measured, "neither", is_worse))
    return claims


def _judge_slow(of: Mapping[str, Mapping[str, Any]]) -> list[Claim]:
    rise = of["ours"]["p99_rise"]
    what = "rise of the p99 of jobs that do not use it"
    holds = rise <= P99_RISE_MAX
    return [Claim("slow", what, f"{rise:+.0%}", f"≤ {P99_RISE_MAX:+.0%}", holds)]


def _judge_comeback(of: Mapping[str, Mapping[str, Any]]) -> list[Claim]:
    ours = of["ours"]
    let_in, commonest = ours["first_return_let_in"], ours["retry_after_commonest"]
    if let_in is None or commonest is None:
        return [Claim("comeback", "somebody is refused, and comes back", "nobody", "some", False)]
    return [
        _at_least("comeback", "first returns that are let in", let_in, RETURNS),
        Claim(
            "comeback",
            "part of the commonest Retry-After",
            f"{commonest:.0%}",
            f"≤ {COMMONEST_MAX:.0%}",
            commonest <= COMMONEST_MAX,
        ),
    ]


LIMITS = {
    "amplification": AMPLIFICATION_MAX,
    "requests_per_wish": AMPLIFICATION_MAX,
    "recovery_s": RECOVERY_S_MAX,
}


def _at_most(scene: str, what: str, ours: Mapping[str, Any], key: str) -> Claim:
    found, limit = ours[key], LIMITS[key]
    text = _seconds if key.endswith("_s") else "{:.2f}".format
    return Claim(scene, what, text(found), f"≤ {text(limit)}", found is not None and found <= limit)


def _at_least(scene: str, what: str, found: float, wanted: float) -> Claim:
    return Claim(scene, what, f"{found:.0%}", f"≥ {wanted:.0%}", found >= wanted)


def _recovers(figures: Mapping[str, Any]) -> bool:
    found = figures["recovery_s"]
    return found is not None and found <= RECOVERY_S_MAX


def _seconds(found: float | None) -> str:
    return "not in this run" if found is None else f"{found:.1f} s"
