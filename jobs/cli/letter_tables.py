"""Dead letters as tables for a person's eyes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.cli.ids import SHOWN, short
from jobs.cli.speech import ago, one_line, out, plain, status_text
from jobs.cli.tables import WIDE
from jobs.cli.waiting import left

GROUPS_SHOWN = 10


def letters_table(letters: list[dict[str, Any]]) -> Table:
    """Dead letters, one a line, newest first."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    is_wide = out.width >= WIDE
    shows_state = is_wide or any(each["state"] != "open" for each in letters)
    table.add_column("job", no_wrap=True, min_width=SHOWN)
    titles = ("agent", "step", "class", *["alike"] * is_wide, *["state"] * shows_state, "died")
    for title in titles:
        table.add_column(title, no_wrap=True)
    table.add_column("why", no_wrap=True, overflow="ellipsis", ratio=1)
    for each in letters:
        table.add_row(
            short(each["job_id"]),
            one_line(each["agent"], 20),
            one_line(f"{each['seq']} {each['step']}", 28),
            one_line(each["class"], 20),
            *[each["fingerprint"]] * is_wide,
            *[status_text(each["state"])] * shows_state,
            ago(each["created_at"]),
            one_line(each["message"], 400),
        )
    return table


def letter_page(letter: Mapping[str, Any]) -> Group:
    """Everything about one dead letter, and how to go on."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("job", Text(letter["job_id"], "bold"))
    facts.add_row("agent", plain(letter["agent"]))
    facts.add_row("died at", f"step {letter['seq']}, {plain(letter['step'])}")
    facts.add_row("when", f"{letter['created_at']}  ({ago(letter['created_at'])})")
    facts.add_row("class", plain(letter["class"]))
    if letter["dependency"]:
        facts.add_row("called", plain(letter["dependency"]))
    facts.add_row("why", Text(plain(letter["message"]), "red"))
    if letter["hint"]:
        facts.add_row("try", plain(letter["hint"]))
    facts.add_row("alike", f"{letter['fingerprint']}  (failures that look the same have it)")
    facts.add_row("state", _standing(letter))
    hints = Table.grid(padding=(0, 2, 0, 0))
    hints.add_column(overflow="fold")
    hints.add_column(style="dim", overflow="fold")
    for command, what in _hints(letter):
        hints.add_row(command, what)
    return Group(
        facts,
        Text(),
        Text("how to go on", "bold"),
        Padding(hints, (0, 0, 0, 2)),
    )


def groups_table(groups: Counter[tuple[str, str, str]]) -> Table:
    """How many letters look the same, the most first."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("letters", justify="right")
    for title in ("agent", "class", "alike"):
        table.add_column(title, no_wrap=True)
    for (agent, error_class, fingerprint), number in groups.most_common(GROUPS_SHOWN):
        table.add_row(f"{number:,}", one_line(agent, 40), one_line(error_class, 40), fingerprint)
    if len(groups) > GROUPS_SHOWN:
        rest = groups.total() - sum(number for _, number in groups.most_common(GROUPS_SHOWN))
        table.add_row(f"{rest:,}", f"of {len(groups) - GROUPS_SHOWN} other kinds", "", "")
    return table


def _standing(letter: Mapping[str, Any]) -> Text:
    text = status_text(letter["state"])
    if letter["replayed_as"]:
        text.append(f" as job {letter['replayed_as']}")
    if letter["replay_at"]:
        text.append(f", its turn: {left(letter['replay_at'])}")
    if letter["decided_at"]:
        by = f" by {one_line(letter['decided_by'], 40)}" if letter["decided_by"] else ""
        text.append(f" ({ago(letter['decided_at'])}{by})")
    return text


def _hints(letter: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    name = short(letter["job_id"])
    yield f"stepwell show {name}", "every step it did"
    if letter["replayed_as"]:
        yield f"stepwell show {short(letter['replayed_as'])}", "what became of the replay"
    if letter["state"] in ("open", "replaying"):
        yield f"stepwell dead-letters replay {name}", "go on from the failed step"
        yield f"stepwell dead-letters discard {name}", "close it"
    if letter["state"] == "open":
        alike = f"stepwell dead-letters replay --all --fingerprint {letter['fingerprint']}"
        yield alike, "the same for all that look like it"
    if letter["state"] == "open" and letter["dependency"]:
        called = plain(letter["dependency"])
        yield (
            f"stepwell dead-letters replay --all --dependency {called}",
            f"the same for all calls of {called}, once it is well",
        )
