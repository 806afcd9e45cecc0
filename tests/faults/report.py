"""The report: two tables for people, and the same figures as JSON for whoever compares them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.comeback import Comeback
from tests.faults.mutants import Mutant
from tests.faults.points import Point
from tests.faults.tally import Row, Tally, percentile, rounded

KEPT = Path(".stepwell/faults.json")
WIDTH_MIN = 150
VIOLATIONS_SHOWN = 20
OTHERS = "(all others)"


@dataclass
class Report:
    """Everything one run has found out."""

    kind: str
    seed: int
    took_s: float
    tally: Tally
    comebacks: dict[str, Comeback] = field(default_factory=dict)
    mutants: Sequence[tuple[Mutant, bool]] = ()

    @property
    def is_clean(self) -> bool:
        return self.tally.is_clean and all(caught for _, caught in self.mutants)

    def as_json(self) -> dict[str, Any]:
        tally = self.tally
        return {
            "kind": self.kind,
            "seed": self.seed,
            "took_s": round(self.took_s, 1),
            "jobs": tally.jobs,
            "faults": tally.faults,
            "lost": tally.lost,
            "duplicated_commits": tally.duplicated_commits,
            "repeated_effects": tally.repeated_effects,
            "recovery_p99_s": rounded(tally.recovery_p99_s),
            "recovery_of_all_p99_s": rounded(percentile(tally.killed.from_strike, 99)),
            "parked": tally.parked,
            "questions": tally.questions,
            "ended_otherwise": tally.wrong,
            "violations": tally.violations,
            "mutants": len(self.mutants),
            "mutants_caught": sum(caught for _, caught in self.mutants),
            "comebacks": {
                name: {
                    "steps_per_s": round(each.steps_per_s, 1),
                    "back_s": None if math.isinf(each.back_s) else round(each.back_s, 1),
                }
                for name, each in self.comebacks.items()
            },
            "rows": [row.as_json() for row in tally.by_fault],
            "cells": [row.as_json() for row in tally.cells if row.transition],
        }

    def keep(self) -> None:
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(self.as_json(), indent=2) + "\n")

    def show(self) -> None:
        console = Console()
        console.width = max(console.width, WIDTH_MIN)
        console.print(faults_table(self.tally))
        if any(cell.transition in set(Point) for cell in self.tally.cells):
            console.print(cells_table(self.tally))
        for line in self._sentences():
            console.print(line, highlight=False)

    def _sentences(self) -> list[str]:
        tally = self.tally
        said = [
            f"{tally.jobs:,} jobs, {tally.faults} faults in {self.took_s:.0f} s, seed {self.seed}",
            f"{tally.lost} lost, {tally.duplicated_commits} commits duplicated",
            f"{tally.repeated_effects} effects repeated that must not be",
            f"{sum(tally.questions.values())} questions answered, {tally.parked} jobs still ask",
        ]
        if tally.killed.struck:
            said.append(self._recovery())
        for name, back in self.comebacks.items():
            said.append(f"{name}: {back.steps_per_s:,.0f} steps/s again after {back.back_s:.1f} s")
        if self.mutants:
            caught = sum(caught for _, caught in self.mutants)
            said.append(f"the checker caught {caught} of {len(self.mutants)} mutants of the store")
        said += [f"not caught: {mutant.name}" for mutant, caught in self.mutants if not caught]
        said += [f"ended otherwise: {times} × {what}" for what, times in tally.wrong.items()]
        shown = tally.violations[:VIOLATIONS_SHOWN]
        said += [f"broken: {violation}" for violation in shown]
        if len(tally.violations) > len(shown):
            said.append(f"… and {len(tally.violations) - len(shown)} violations more")
        return said

    def _recovery(self) -> str:
        killed = self.tally.killed
        able, of_all = self.tally.recovery_p99_s, percentile(killed.from_strike, 99)
        return (
            f"{killed.struck} steps of killed workers ran again within {of_all:.2f} s (p99); the "
            f"{len(killed.able)} that somebody was there to take over within {able:.2f} s"
        )


def faults_table(tally: Tally) -> Table:
    """A row for each fault: how many jobs, how many hit, what was lost, how soon they went on."""
    table = Table(title="What struck, and what became of it", title_justify="left")
    table.add_column("fault")
    for column in ("times", "jobs", "steps struck", "lost", "otherwise"):
        table.add_column(column, justify="right")
    for column in ("p50 s", "p99 s", "healed p50 s", "healed p99 s"):
        table.add_column(column, justify="right")
    for row in tally.by_fault:
        table.add_row(
            row.fault or OTHERS,
            str(row.times) if row.times else "",
            str(row.jobs) if row.jobs else "",
            str(row.struck) if row.struck else "",
            str(row.lost),
            str(sum(row.otherwise.values())),
            *[seconds(row.from_strike, p) for p in (50, 99)],
            *[seconds(row.from_healed, p) for p in (50, 99)],
        )
    return table


def cells_table(tally: Tally) -> Table:
    """Fault by transition: how many jobs were struck there, and how soon they went on."""
    table = Table(
        title="Jobs struck at each transition: seconds until at work again, p99 from when healed",
        title_justify="left",
    )
    known = {cell.transition for cell in tally.cells}
    transitions = [point.value for point in Point if point.value in known]
    table.add_column("fault")
    for name in transitions:
        table.add_column(name.replace("_", "\n"), justify="right")
    cells = {(cell.fault, cell.transition): cell for cell in tally.cells}
    for row in tally.by_fault:
        if row.fault:
            found = [cells.get((row.fault, name)) for name in transitions]
            table.add_row(row.fault, *map(cell_text, found))
    return table


def cell_text(cell: Row | None) -> str:
    if cell is None:
        return "–"
    bad = cell.lost + sum(cell.otherwise.values())
    return f"{cell.struck}: {seconds(cell.from_healed, 99)}" + (f" ({bad}!)" if bad else "")


def seconds(values: Sequence[float], p: float) -> str:
    found = percentile(values, p)
    return "" if math.isnan(found) else f"{found:.2f}"
