"""`stepwell approvals`, `approve`, `reject`, `edit`, `audit`: tool calls that wait for people.

The id of a call is its job, its step and the beginning of the hash of its arguments, such as
`3f9a21:4:8c01d2ee`. So what is approved is what was read, whatever has happened in between.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.cli.finding import find_platform
from jobs.cli.given import read_json
from jobs.cli.ids import find_job_id, short
from jobs.cli.options import AsJson
from jobs.cli.speech import Code, Complaint, ago, emit, gist, one_line, out, plain, say
from jobs.cli.waiting import args_text, left
from jobs.client import Client

HASH_CHARS = 8
# What a line of the audit is shown with in columns of their own.
SHOWN_ALREADY = ("kind", "at", "job_id", "by")

CallId = Annotated[
    str, typer.Argument(metavar="ID", help="The call, as `stepwell approvals` shows it.")
]
Why = Annotated[str | None, typer.Option("--reason", help="Why; a model is told so.")]
Remember = Annotated[
    bool, typer.Option("--remember", help="Let this job make the same call again.")
]

audit_app = typer.Typer(help="The record of what people decided.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the command line."""
    app.command("approvals")(list_approvals)
    for command in (approve, reject, edit):
        app.command()(command)
    app.add_typer(audit_app, name="audit")


def list_approvals(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="Calls of this job, only.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the calls that wait for people: the tool, its arguments, why, and who may decide."""
    with find_platform().client() as client:
        found = client.approvals(None if job is None else find_job_id(client, job))
    if as_json:
        emit(found)
    elif found:
        out.print(approvals_page(found))
    else:
        say("No call waits for anybody now.")


def approve(
    call: CallId, remember: Remember = False, reason: Why = None, as_json: AsJson = False
) -> None:
    """Say yes to a call, with exactly the arguments that were shown."""
    _decide(call, "approve", as_json, reason=reason, remember=remember)


def reject(call: CallId, reason: Why = None, as_json: AsJson = False) -> None:
    """Say no to a call; the model is told why, and goes on."""
    _decide(call, "reject", as_json, reason=reason)


def edit(
    call: CallId,
    args: Annotated[str, typer.Option("--args", metavar="JSON|@FILE", help="The new ones.")],
    remember: Remember = False,
    reason: Why = None,
    as_json: AsJson = False,
) -> None:
    """Change the arguments of a call, and say yes to it; others may have to agree to them."""
    told = read_json(args, "--args")
    _decide(call, "edit", as_json, args=told, reason=reason, remember=remember)


def respond(call: str, answer: Any, *, as_json: bool) -> None:
    """Give the result of a call in the place of the tool, which is not called."""
    _decide(call, "respond", as_json, answer=answer)


@audit_app.command("list")
def list_audit(
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="About this job only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="The last so many lines.")] = 50,
    before: Annotated[int | None, typer.Option(min=1, help="The last before this line.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what people have decided, the last line last."""
    with find_platform().client() as client:
        job_id = None if job is None else find_job_id(client, job)
        found = client.audit(job_id, before=before, limit=limit)[::-1]
    if as_json:
        emit(found)
    elif found:
        out.print(audit_table(found))
    elif job is None and before is None:
        say("Nobody has decided anything yet.")
    else:
        say("The audit has no such line.")


@audit_app.command("verify")
def verify_audit(as_json: AsJson = False) -> None:
    """Walk the record from its first line, and say where it was changed, if it was."""
    with find_platform().client() as client:
        found = client.verify_audit()
    if as_json:
        emit(found)
    elif found["is_whole"]:
        say(f"The audit is whole: {found['lines']} lines, the last {found['sha256']}.")
    else:
        say(f"The audit is broken at line {found['broken_at']}: {plain(found['why'])}.")
    raise typer.Exit(Code.OK if found["is_whole"] else Code.FAILED)


def _decide(call: str, decision: str, as_json: bool, **said: Any) -> None:
    given = {name: value for name, value in said.items() if value not in (None, False)}
    if "answer" in said:
        given["answer"] = said["answer"]
    with find_platform().client() as client:
        asked = find_call(client, call)
        say(f"{plain(asked['tool'])} {one_line(args_text(asked['args']), 300)}")
        found = client.decide_call(asked, decision, **given)
    if as_json:
        emit(found)
    else:
        say(f"{decision}: {standing(found)}")


def find_call(client: Client, call: str) -> dict[str, Any]:
    """The call of this id; a `Complaint` when it is over, or its arguments are others now."""
    job, _, rest = call.partition(":")
    seq, _, sha = rest.partition(":")
    if not seq.isdigit() or len(sha) < HASH_CHARS:
        raise Complaint("A call is named as job:step:hash.", hint="stepwell approvals")
    job_id = find_job_id(client, job)
    at_step = [each for each in client.approvals(job_id) if each["seq"] == int(seq)]
    if not at_step:
        raise Complaint(f"Step {seq} of job {short(job_id)} waits for nobody now.")
    (asked,) = at_step
    if not asked["args_sha256"].startswith(sha):
        out.print(call_block(asked))
        raise Complaint("The arguments are others than those you name; look at them again.")
    return asked


def id_of(asked: dict[str, Any]) -> str:
    return f"{short(asked['job_id'])}:{asked['seq']}:{asked['args_sha256'][:HASH_CHARS]}"


def standing(found: dict[str, Any]) -> str:
    """How the question stands, in a few words."""
    if found["state"] != "pending":
        return f"the call of step {found['seq']} is {found['state']}"
    said = sum(each["decision"] == "approve" for each in found["decisions"])
    return f"{said} of {found['quorum']} have approved; its id is {id_of(found)}"


def approvals_page(found: list[dict[str, Any]]) -> RenderableType:
    parts: list[RenderableType] = []
    for each in found:
        parts += [call_block(each), Text()]
    return Group(*parts[:-1])


def call_block(asked: dict[str, Any]) -> RenderableType:
    """One call, with everything that a person has to know to decide about it."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("job", f"{asked['job_id']}, step {asked['seq']} of {plain(asked['agent'])}")
    facts.add_row("with", args_text(asked["args"]))
    for reason in asked["reasons"]:
        facts.add_row("why", plain(reason))
    if asked["rules"]:
        facts.add_row("rules", plain(", ".join(asked["rules"])))
    facts.add_row("decided by", plain(who_decides(asked)))
    for each in asked["decisions"]:
        facts.add_row("so far", f"{plain(each['by'])}: {each['decision']}, {ago(each['at'])}")
    facts.add_row("asked", ago(asked["created_at"]))
    if asked["expires_at"]:
        told = "approved" if asked["fallback"] == "approve" else "rejected"
        facts.add_row("until", f"{asked['expires_at']}  ({left(asked['expires_at'])}), then {told}")
    head = Text.assemble(("? ", "magenta"), (plain(asked["tool"]), "bold"), f"  {id_of(asked)}")
    return Group(head, Padding(facts, (0, 0, 0, 2)))


def who_decides(asked: dict[str, Any]) -> str:
    """Who may say yes or no."""
    requester = asked["requester"]
    if asked["tier"] == "confirm":
        return "an operator" if requester is None else f"{requester}, or an operator"
    who = "anybody" if asked["role"] is None else f"the role {asked['role']}"
    but = "" if requester is None else f", but not {requester}"
    return f"{asked['quorum']} of {who}{but}" if asked["quorum"] > 1 else f"{who}{but}"


def audit_table(lines: list[dict[str, Any]]) -> Table:
    """Lines of the audit, one a line: when, about which job, by whom, and what."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("n", justify="right")
    for title in ("when", "what", "job", "by"):
        table.add_column(title, no_wrap=True)
    table.add_column("told", overflow="fold", ratio=1)
    for line in lines:
        told, when = line["content"], line["at"][:19].replace("T", " ")
        job = "" if line["job_id"] is None else short(line["job_id"])
        by = plain(one_line(told.get("by") or "", 24))
        table.add_row(str(line["n"]), when, line["kind"], job, by, gist(_more_of(told), 400))
    return table


def _more_of(told: dict[str, Any]) -> dict[str, Any]:
    """What a line of the audit tells beside its columns, hashes by how they begin."""
    more = {n: value for n, value in told.items() if n not in SHOWN_ALREADY and value}
    return {
        name.removesuffix("_sha256"): value[:HASH_CHARS] if name.endswith("_sha256") else value
        for name, value in more.items()
    }
