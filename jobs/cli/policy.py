"""`stepwell policy`: the rules of this tenant, and how a call would be judged under them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.cli.finding import find_platform
from jobs.cli.given import read_object, refuse_what_is_not_json
from jobs.cli.options import AsJson
from jobs.cli.speech import ago, count, emit, one_line, out, plain, say
from store.states import Origin, RuleVerdict

STYLES = {"allow": "green", "confirm": "yellow", "approve": "magenta", "deny": "red"}

app = typer.Typer(
    help="Ask for something before calls of tools, and see how a call would be judged.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


RuleId = Annotated[str, typer.Argument(metavar="RULE", help="The id of the rule.")]


@app.command("list")
def list_rules(as_json: AsJson = False) -> None:
    """List the rules that hold for this tenant."""
    with find_platform().client() as client:
        found = client.policy_rules()
    if as_json:
        emit(found)
    elif found:
        out.print(rules_table(found))
    else:
        say("No rules: only those of the tools hold. Add one: stepwell policy add --help")


@app.command()
def add(
    rule: RuleId,
    tool: Annotated[str, typer.Option(help="A tool's name, or a pattern such as 'send_*'.")],
    when: Annotated[
        str, typer.Option(metavar="CEL", help="Which calls: 'args.amount > 100', or 'true'.")
    ],
    verdict: Annotated[RuleVerdict, typer.Option("--then", help="What such a call needs.")],
    role: Annotated[str | None, typer.Option(help="With approve: who approves.")] = None,
    quorum: Annotated[
        int | None, typer.Option(min=1, help="With approve: how many of them.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a rule, or replace the one of that id. It can only make the policy stricter."""
    with find_platform().client() as client:
        made = client.put_policy_rule(
            rule, tool=tool, expression=when, verdict=verdict.value, role=role, quorum=quorum
        )
    if as_json:
        emit(made)
    else:
        say(f"rule {made['id']} holds, in version {made['version']}: {_needs(made)}")


@app.command()
def remove(rule: RuleId, as_json: AsJson = False) -> None:
    """Let a rule hold no longer; its versions stay on record."""
    with find_platform().client() as client:
        gone = client.remove_policy_rule(rule)
    if as_json:
        emit(gone)
    else:
        say(f"rule {gone['id']} holds no longer")


@app.command("test")
def try_call(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="Which tool is called.")],
    raw_args: Annotated[
        str, typer.Option("--args", metavar="JSON|@FILE", help="The arguments of the call.")
    ] = "{}",
    agent: Annotated[
        str | None, typer.Option(help="Whose tool, where several agents have one.")
    ] = None,
    origin: Annotated[Origin, typer.Option(help="How the job came to be.")] = Origin.API,
    above: Annotated[
        list[Origin] | None, typer.Option(help="How the jobs above it did, the first one first.")
    ] = None,
    requester: Annotated[str | None, typer.Option(help="Who asked for it.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="What the requester is.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a call by hand: what it would need, and why. Nothing is called."""
    args = read_object(raw_args, "--args")
    refuse_what_is_not_json(args, "The arguments")
    with find_platform().client() as client:
        judged = client.judge(
            tool,
            args,
            agent=agent,
            origin=origin.value,
            origins_above=[each.value for each in above or ()],
            requester=requester,
            roles=role or (),
        )
    if as_json:
        emit(judged)
    else:
        out.print(judgement_page(judged))


def rules_table(rules: list[dict[str, Any]]) -> Table:
    """Rules, one a line."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    for title in ("rule", "tool", "needs"):
        table.add_column(title, no_wrap=True)
    table.add_column("when", overflow="fold", ratio=1)
    table.add_column("since", no_wrap=True)
    for rule in rules:
        table.add_row(
            one_line(rule["id"], 40),
            one_line(rule["tool"], 30),
            Text(_needs(rule), STYLES[rule["verdict"]]),
            plain(rule["expression"]),
            ago(rule["decided_at"]),
        )
    return table


def judgement_page(judged: Mapping[str, Any]) -> Group:
    """The verdict, why, and of which policy it is."""
    title = Text(_needs(judged), f"bold {STYLES[judged['verdict']]}")
    reasons = judged["reasons"] or ["No rule has anything to say about it."]
    lines = [Padding(Text(plain(reason)), (0, 0, 0, 2), expand=False) for reason in reasons]
    return Group(title, *lines, Text(f"policy {judged['policy_version']}", "dim"))


def _needs(asked: Mapping[str, Any]) -> str:
    """What a rule or a judgement asks for: `approve by 2 of finance`."""
    if asked["verdict"] != "approve":
        return str(asked["verdict"])
    people = count(asked["quorum"], "person").replace("persons", "people")
    return f"approve by {people} of {plain(asked['role'] or 'operator')}"
