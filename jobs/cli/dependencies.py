"""`stepwell dependencies`: what agents call outside, how it fares, and what if it were slower."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.cli.finding import find_platform
from jobs.cli.options import AsJson
from jobs.cli.speech import Complaint, count, emit, one_line, out, plain, say, span
from jobs.cli.tables import WIDE
from jobs.cli.waiting import left
from jobs.client import Client

# How many dead letters are counted before it says "more than".
LETTERS_COUNTED = 200
# More calls on the wire than this for each that was wanted is worth a look.
AMPLIFICATION_HIGH = 1.1
STYLES = {"open": "green", "shut": "red", "probing": "yellow", "unused": "dim"}
SIGNS = {"open": "✓", "shut": "✗", "probing": "?", "unused": "·"}
REASONS = {
    "rate_limited": "it said to come back later (429)",
    "quota": "its quota is used up",
    "breaker": "too many calls failed",
    "slow": "its answers crawl",
}
TIMES = re.compile(r"([^=]+)=(\d+(?:\.\d+)?)x?")


def list_dependencies(
    what_if: Annotated[
        str | None,
        typer.Option(metavar="NAME=10x", help="What if this one took so many times as long?"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what agents call outside: usual times, limits, what is shut and why."""
    asked = None if what_if is None else read_what_if(what_if)
    with find_platform().client() as client:
        if asked is not None:
            seen = client.what_if(*asked)
            emit(seen) if as_json else out.print(what_if_page(seen))
            return
        found = client.dependencies()
        names = [] if as_json else [each["name"] for each in found]
        letters = {name: count_letters(client, name) for name in names}
    if as_json:
        emit(found)
    elif found:
        out.print(dependencies_page(found, letters))
    else:
        say('Nothing outside is called. Tools name what they call: @tool(dependency="crm").')


def read_what_if(raw: str) -> tuple[str, float]:
    """Name and factor; a `Complaint` for what is neither.

    >>> read_what_if("openai=10x")
    ('openai', 10.0)
    """
    fits = TIMES.fullmatch(raw.strip())
    factor = float(fits[2]) if fits else 0.0
    if fits is None or not 0 < factor < math.inf:
        raise Complaint(
            f"--what-if takes a dependency and how many times as long, not {raw!r}.",
            hint="--what-if openai=10x",
        )
    return fits[1].strip(), factor


def count_letters(client: Client, name: str) -> int:
    """How many open dead letters name it, as far as they are counted."""
    return len(client.dead_letters(state="open", dependency=name, limit=LETTERS_COUNTED + 1))


def dependencies_page(found: list[dict[str, Any]], letters: Mapping[str, int]) -> Group:
    """All of them in a table, who uses each, and what to do about what is not well.

    `letters` is how many dead letters each has.
    """
    advice = [line for each in found for line in _advice(each, letters[each["name"]])]
    parts: list[RenderableType] = [_table_of(found), Text(), _users_of(found)]
    return Group(*parts, *([Text(), *advice] if advice else []))


def what_if_page(seen: Mapping[str, Any]) -> Group:
    """The answer in sentences."""
    title = Text.assemble("what if ", (plain(seen["name"]), "bold"))
    title.append(f" took {seen['factor']:g} times as long")
    lines = [*seen["sentences"], f"Used by: {_uses(seen['used_by'])}."]
    return Group(title, *(Padding(Text(plain(line)), (0, 0, 0, 2)) for line in lines))


def _table_of(found: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    is_wide = out.width >= WIDE
    table.add_column("dependency", no_wrap=True)
    table.add_column("state", no_wrap=True)
    titles = ("out", "waiting", *["first token"] * is_wide, "answer")
    for title in (*titles, *["given up after"] * is_wide, "on the wire"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in found:
        table.add_row(
            one_line(each["name"], 30),
            _state(each),
            "" if each["limit"] is None else f"{each['in_flight']}/{each['limit']}",
            f"{each['waiting']:,}" if each["waiting"] else "",
            *[_usual(each["first_token"])] * is_wide,
            _usual(each["total"]),
            *[_timeouts(each)] * is_wide,
            _on_the_wire(each),
        )
    return table


def _state(dependency: Mapping[str, Any]) -> Text:
    state = dependency["state"]
    text = Text(f"{SIGNS.get(state, ' ')} {state}", STYLES.get(state, ""))
    if dependency["until"] is not None:
        text.append(f", {left(dependency['until'])}")
    return text


def _usual(took: Mapping[str, Any] | None) -> str:
    """The usual time and that of the slowest in a hundred."""
    return "" if took is None else f"{span(took['p50_s'])} … {span(took['p99_s'])}"


def _timeouts(dependency: Mapping[str, Any]) -> str:
    told = [each["timeout_s"] for each in (dependency["first_token"], dependency["total"]) if each]
    return ", ".join(span(each) for each in told if each is not None)


def _on_the_wire(dependency: Mapping[str, Any]) -> Text:
    amplification = dependency["amplification"]
    if amplification is None:
        return Text()
    style = "bold yellow" if amplification > AMPLIFICATION_HIGH else ""
    return Text(f"{amplification:.2f}×", "bold red" if dependency["is_amplified"] else style)


def _users_of(found: list[dict[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for each in found:
        table.add_row(f"{one_line(each['name'], 30)} is used by", _uses(each["used_by"]))
    return table


def _uses(used_by: list[dict[str, Any]]) -> str:
    told = [
        f"{plain(use['agent'])} ({plain(use['by'])}{', optional' if use['is_optional'] else ''})"
        for use in used_by
    ]
    return ", ".join(told) or "no agent that is served here"


def _advice(dependency: Mapping[str, Any], letters: int) -> Iterator[Text]:
    name = plain(dependency["name"])
    is_shut = dependency["state"] in ("shut", "probing")
    if is_shut:
        why = REASONS.get(dependency["reason"], plain(dependency["reason"] or ""))
        then = "the next call goes alone, as a probe"
        waits = f", {count(dependency['waiting'], 'step')} will come back for it"
        yield Text(f"{name}: {why}; {then}{waits if dependency['waiting'] else ''}.", "red")
    if (dependency["amplification"] or 0) > AMPLIFICATION_HIGH:
        yield Text(
            f"{name}: {dependency['amplification']:.2f} calls go out for each that was wanted; "
            "retries eat its limit.",
            "yellow",
        )
    if letters:
        when = "when it is open again" if is_shut else "now that it is not shut"
        yield Text(f"{name}: {_counted(letters)} for it. Replay {when}:")
        yield Text(f"  stepwell dead-letters replay --all --dependency {name} --per-second 5")


def _counted(letters: int) -> str:
    if letters > LETTERS_COUNTED:
        return f"more than {count(LETTERS_COUNTED, 'dead letter')} wait"
    return f"{count(letters, 'dead letter')} {'waits' if letters == 1 else 'wait'}"
