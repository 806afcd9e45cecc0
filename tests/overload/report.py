"""The report: a table for every scene, the claims, and the same figures as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.overload.claims import Claim, judge
from tests.overload.history import History
from tests.overload.policies import POLICIES
from tests.overload.scenes import Scene
from tests.overload.trace import OTHERS

KEPT, DRAWN = Path(".stepwell/overload.json"), Path(".stepwell/overload.png")
WIDTH_MIN = 150
CLASSES = ("interactive", "default", "batch")


@dataclass
class Played:
    """One scene with the histories and figures of its policies, by name."""

    scene: Scene
    histories: Mapping[str, History]
    figures: Mapping[str, Mapping[str, Any]]


@dataclass
class Report:
    """Everything one run of the harness has found out."""

    seed: int
    took_s: float
    played: Sequence[Played]

    @property
    def claims(self) -> list[Claim]:
        return judge({each.scene.name: each.figures for each in self.played})

    @property
    def is_borne_out(self) -> bool:
        return all(claim.holds for claim in self.claims)

    def as_json(self) -> dict[str, Any]:
        """Per policy the figures of the overload; per scene and policy everything."""
        scenes = {each.scene.name: each for each in self.played}
        policies = scenes["overload"].figures if "overload" in scenes else {}
        return {
            "seed": self.seed,
            "took_s": round(self.took_s, 1),
            "policies": policies,
            "scenes": {
                name: {
                    "title": each.scene.title,
                    "capacity_calls_per_s": each.scene.plan.size.capacity_per_s,
                    "trouble_s": asdict(each.scene.trouble),
                    "policies": each.figures,
                }
                for name, each in scenes.items()
            },
            "claims": [asdict(claim) for claim in self.claims],
        }

    def keep(self, path: Path = KEPT) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(rounded(self.as_json()), indent=2) + "\n")

    def show(self) -> None:
        console = Console()
        console.width = max(console.width, WIDTH_MIN)
        for played in self.played:
            console.print(table_of(played))
            if played.scene.name == "overload":
                console.print(table_of_groups(played))
        console.print(table_of_claims(self.claims))


# Of each scene: the heading of a column, and the figure in it.
COLUMNS: dict[str, dict[str, str]] = {
    "overload": {
        "in\ndeadline": "in_deadline",
        "goodput": "goodput",
        "wasted": "wasted",
        "requests/\ncall": "amplification",
        "well\nagain after": "recovery_s",
        "batch\ngot": "batch_share",
        "in deadline\nwhile slow": "in_deadline_while_slow",
    },
    "outage": {
        "requests": "requests_in_outage",
        "requests/\ncall sent": "amplification",
        "requests/\ncall wished": "requests_per_wish",
        "well\nagain after": "recovery_s",
        "in deadline\nafter": "in_deadline_after",
        "requests/\ncall after": "amplification_after",
    },
    "slow": {
        "p50 before": "p50_before_s",
        "p50 slow": "p50_slow_s",
        "p99 before": "p99_before_s",
        "p99 slow": "p99_slow_s",
        "rise of p99": "p99_rise",
    },
    "comeback": {
        "came back": "returned",
        "let in then": "first_return_let_in",
        "Retry-After\nfrom": "retry_after_min_s",
        "to": "retry_after_max_s",
        "different\nones": "retry_after_distinct",
        "commonest": "retry_after_commonest",
    },
}
COUNTS = ("asked", "refused", "met", "late", "failed", "open")
# Figures that are no part of something.
PLAIN = ("amplification", "amplification_after", "requests_per_wish")


def table_of(played: Played) -> Table:
    """A row for each policy: its counts, and the figures of the scene."""
    table = Table(title=played.scene.title, title_justify="left")
    table.add_column("policy", no_wrap=True)
    for name in COUNTS:
        table.add_column(name, justify="right")
    columns = COLUMNS[played.scene.name]
    for heading in columns:
        table.add_column(heading, justify="right")
    for name, figures in played.figures.items():
        counts = [str(figures["counts"][each]) for each in COUNTS]
        told = [as_text(key, figures[key]) for key in columns.values()]
        table.add_row(POLICIES[name].title, *counts, *told)
    return table


def table_of_groups(played: Played) -> Table:
    """In deadline during the storm: per class of the quiet tenants, and per tenant."""
    table = Table(title="In deadline during the storm", title_justify="left")
    table.add_column("policy")
    for name in (*(f"others'\n{each}" for each in CLASSES), *(f"all of\n{t}" for t in OTHERS)):
        table.add_column(name, justify="right")
    table.add_column("all of\nnoisy", justify="right")
    for name, figures in played.figures.items():
        classes = [figures["classes_of_others"].get(each, math.nan) for each in CLASSES]
        tenants = [figures["tenants"].get(each, math.nan) for each in (*OTHERS, "noisy")]
        table.add_row(POLICIES[name].title, *(as_text("share", s) for s in (*classes, *tenants)))
    return table


def table_of_claims(claims: Sequence[Claim]) -> Table:
    table = Table(title="What is promised", title_justify="left")
    for name in ("scene", "what"):
        table.add_column(name)
    for name in ("measured", "wanted"):
        table.add_column(name, justify="right")
    table.add_column("holds")
    for claim in claims:
        holds = "[green]yes" if claim.holds else "[red]no"
        table.add_row(claim.scene, claim.what, claim.measured, claim.wanted, holds)
    return table


def as_text(key: str, value: float | None) -> str:
    """A figure as people read it, by what it is called."""
    if value is None:
        return "–" if key != "recovery_s" else "not yet"
    if isinstance(value, int):
        return f"{value:,}"
    if math.isnan(value):
        return "–"
    if key in PLAIN:
        return f"{value:.2f}"
    if key.endswith("_s"):
        return f"{value:.2f} s"
    return f"{value:.0%}"


def rounded(value: Any) -> Any:
    """The same with three digits after the point, and no NaN, which JSON does not know."""
    if isinstance(value, float):
        return None if math.isnan(value) or math.isinf(value) else round(value, 3)
    if isinstance(value, Mapping):
        return {str(key): rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return value
