"""`stepwell dead-letters`: jobs that were given up, to look at, replay or discard."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Annotated, Any

import typer

from jobs.cli.finding import find_platform
from jobs.cli.ids import find_job_id, short
from jobs.cli.letter_tables import groups_table, letter_page, letters_table
from jobs.cli.options import AsJson, JobId
from jobs.cli.speech import Code, Complaint, count, emit, out, say, span
from jobs.client import Client
from store.states import JobClass, LetterState

# How many letters a confirmation counts before it says "more than".
COUNTED_MAX = 2_000
REPLAYS_MAX = 10_000

app = typer.Typer(
    help="List jobs that were given up; show, replay or discard one, or replay many.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

OfAgent = Annotated[str | None, typer.Option("--agent", help="Of this agent only.")]
OfPrint = Annotated[
    str | None, typer.Option("--fingerprint", help="Only failures that look the same.")
]
OfDependency = Annotated[
    str | None, typer.Option("--dependency", help="Only calls of this dependency, such as openai.")
]


@app.callback(invoke_without_command=True)
def list_letters(
    context: typer.Context,
    state: Annotated[LetterState | None, typer.Option(help="In this state only.")] = None,
    error_class: Annotated[
        str | None, typer.Option("--class", help="With this class of error only.")
    ] = None,
    agent: OfAgent = None,
    fingerprint: OfPrint = None,
    dependency: OfDependency = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    as_json: AsJson = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    with find_platform().client() as client:
        found = client.dead_letters(
            state=state and state.value,
            agent=agent,
            error_class=error_class,
            fingerprint=fingerprint,
            dependency=dependency,
            limit=limit,
        )
    if as_json:
        emit(found)
    elif found:
        out.print(letters_table(found))
    else:
        say("No dead letters.")


@app.command()
def show(job: JobId, as_json: AsJson = False) -> None:
    """Show why a job was given up, and how to go on."""
    with find_platform().client() as client:
        letter = client.dead_letter(find_letter_id(client, job))
    if as_json:
        emit(letter)
    else:
        out.print(letter_page(letter))


@app.command()
def discard(job: JobId, as_json: AsJson = False) -> None:
    """Close a dead letter: nobody will replay it."""
    with find_platform().client() as client:
        letter = client.discard(find_letter_id(client, job))
    if as_json:
        emit(letter)
    else:
        say(f"the dead letter of job {short(letter['job_id'])} is discarded")


@app.command()
def replay(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="The failed job, as `show` takes it.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every open letter that fits, as background work.")
    ] = False,
    chosen_class: Annotated[
        str | None,
        typer.Option(
            "--class",
            help="With JOB: how urgent the new job is. With --all: of this class of error only.",
        ),
    ] = None,
    agent: OfAgent = None,
    fingerprint: OfPrint = None,
    dependency: OfDependency = None,
    per_second: Annotated[
        float, typer.Option(min=0.1, max=100, help="With --all: how many each second.")
    ] = 5.0,
    is_sure: Annotated[bool, typer.Option("--yes", "-y", help="With --all: do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a failed job again from the failed step; what it had done before stays done."""
    if (job is None) is not everything:
        raise Complaint("Name one JOB, or give --all.", hint="stepwell dead-letters replay JOB")
    with find_platform().client() as client:
        if job is None:
            wanted = {
                "agent": agent,
                "error_class": chosen_class,
                "fingerprint": fingerprint,
                "dependency": dependency,
            }
            _replay_all(client, wanted, per_second, is_sure=is_sure, as_json=as_json)
            return
        if (agent, fingerprint, dependency) != (None, None, None):
            raise Complaint(
                "--agent, --fingerprint and --dependency go with --all; one JOB needs no choosing."
            )
        urgency = _read_urgency(chosen_class)
        made = client.replay(find_letter_id(client, job), job_class=urgency)
    if as_json:
        emit(made)
    else:
        out.print(made["id"])
        say(
            f"goes on from step {made['forked_from_seq']}; watch it: "
            f"stepwell watch {short(made['id'])}"
        )


def find_letter_id(client: Client, typed: str) -> str:
    """The job whose letter was meant; `last` is the newest letter."""
    if typed.strip() != "last":
        return find_job_id(client, typed)
    newest = client.dead_letters(limit=1)
    if not newest:
        raise Complaint("There are no dead letters.")
    return str(newest[0]["job_id"])


def _replay_all(
    client: Client, wanted: dict[str, Any], per_s: float, *, is_sure: bool, as_json: bool
) -> None:
    if not is_sure:
        found = client.dead_letters(state="open", limit=COUNTED_MAX, **wanted)
        if found:
            _confirm(found, per_s)
    planned = client.replay_all(per_s=per_s, limit=REPLAYS_MAX, **wanted)
    if as_json:
        emit(planned)
        return
    if not planned["planned"]:
        say("No open dead letter fits, so there is nothing to do.")
        return
    say(
        f"{count(planned['planned'], 'dead letter')} lined up for replay, {per_s:g} each second: "
        f"the last has its turn in {span(planned['takes_s'])}"
    )
    if planned["planned"] == REPLAYS_MAX:
        say("That is as many as are taken at once. There may be more: ask again for those.")


def _confirm(found: list[dict[str, Any]], per_s: float) -> None:
    groups = Counter((each["agent"], each["class"], each["fingerprint"]) for each in found)
    more = "more than " if len(found) == COUNTED_MAX else ""
    say(groups_table(groups))
    question = f"Replay {more}{count(len(found), 'job')}, {per_s:g} each second?"
    if not sys.stdin.isatty():
        raise Complaint(f"{question} Nobody is here to say yes.", hint="the same with --yes")
    if not typer.confirm(question, err=True):
        say("Nothing was changed.")
        raise typer.Exit(Code.REFUSED)


def _read_urgency(given: str | None) -> str | None:
    known = [each.value for each in JobClass]
    if given is None or given in known:
        return given
    raise Complaint(
        f"{given!r} says nothing about how urgent the new job is: --class is one of "
        f"{', '.join(known)}. To choose letters by their class of error, use --all."
    )
