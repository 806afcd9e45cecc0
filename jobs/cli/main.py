"""The command `stepwell`: every verb a person has, thin, with its exit code.

Data goes to standard output, talk to standard error; `--json` makes the data JSON. Exit codes:

    0    it worked (and a watched job completed)
    1    the watched job did not complete; the doctor found something bad; the platform did not run;
         a dry replay decided otherwise
    2    wrong usage, or the input was refused: nothing was created
    3    the platform cannot be reached
    75   there is no room now: nothing was created, and the same command may work later
    130  interrupted; a job that was being watched goes on
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from jobs import client as stepwell
from jobs.cli import (
    approvals,
    budgets,
    callers,
    dependencies,
    forking,
    guards,
    letters,
    pages,
    policy,
    questions,
    queues,
    schedules,
    submission,
    tables,
    watching,
)
from jobs.cli.finding import find_platform, home
from jobs.cli.given import read_span
from jobs.cli.ids import find_job_id, short
from jobs.cli.options import AsJson, JobId, Urgency, WatchIt
from jobs.cli.speech import Code, Complaint, complain, emit, out, plain, say, span
from store.states import JobStatus

app = typer.Typer(
    name="stepwell",
    help="AI agents as durable background jobs.",
    epilog="Exit codes: 0 ok, 1 the job failed, the doctor found something, or a replay differs, "
    "2 refused, 3 the platform cannot be reached, 75 no room now, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback with local variables would print tokens.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def up() -> None:
    """Run the whole platform here, in the foreground; Ctrl-C stops all of it."""
    from jobs.platform.foreground import run_foreground

    raise typer.Exit(run_foreground(home()))


@app.command()
def submit(
    agent: Annotated[str, typer.Argument(help="Whom to ask: see `stepwell agents`.")],
    file: Annotated[
        Path | None, typer.Option(help="A table to upload: CSV, TSV, JSON lines, Parquet, Excel.")
    ] = None,
    ask: Annotated[str | None, typer.Option(help="What you want to know, in plain words.")] = None,
    email: Annotated[str | None, typer.Option(help="Where to mail the answer.")] = None,
    raw_input: Annotated[
        str | None, typer.Option("--input", metavar="JSON|@FILE", help="The whole input as JSON.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="openai:..., anthropic:..., or offline.")
    ] = None,
    job_class: Urgency = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="30m", help="Begin nothing after this long; s, m, h and d are known."),
    ] = None,
    budget_usd: Annotated[
        str | None, typer.Option(metavar="2.50", help="Let it cost so many dollars at most.")
    ] = None,
    budget_tokens: Annotated[
        int | None, typer.Option(min=1, help="Let it use so many tokens at most, in and out.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Asking again with the same key asks for the same job.")
    ] = None,
    watch_it: WatchIt = False,
    as_json: AsJson = False,
) -> None:
    """Ask for a job. Prints its id; with --watch, follows it."""
    urgency = job_class and job_class.value
    deadline_s = None if deadline is None else read_span(deadline, "--deadline")
    wish = submission.Wish(
        agent, file, ask, email, raw_input, model, urgency, idempotency_key, deadline_s
    )
    wish = budgets.bounded(wish, budget_usd, budget_tokens)
    submission.check_before_asking(wish)
    with find_platform().client() as client:
        job = submission.submit(client, wish)
        say(f"accepted as job {job['id']}")
        if watch_it:
            watching.follow(client, job["id"], as_json=as_json)
            return
    if as_json:
        emit(job)
    else:
        out.print(job["id"])
        say(f"watch it: stepwell watch {short(job['id'])}")


@app.command()
def watch(job: JobId, as_json: AsJson = False) -> None:
    """Follow a job live; Ctrl-C leaves it running."""
    with find_platform().client() as client:
        watching.follow(client, find_job_id(client, job), as_json=as_json)


@app.command()
def show(job: JobId, as_json: AsJson = False) -> None:
    """Show one job: its checkpoint table, its output or error, and how to go on."""
    with find_platform().client() as client:
        job_id = find_job_id(client, job)
        found, steps = client.job(job_id), client.steps(job_id)
        waits = client.waits(job_id) if any(step["waits"] for step in steps) else []
        children = client.children(job_id) if found["children"] else []
        workers = client.workers()
        budget = client.budget(job_id)
    if as_json:
        emit({**found, "steps": steps, "waits": waits, "child_jobs": children, "budget": budget})
    else:
        out.print(pages.job_page(found, steps, workers, waits=waits, children=children))
        budgets.show_below(budget)


@app.command("jobs")
def list_jobs(
    status: Annotated[JobStatus | None, typer.Option(help="In this status only.")] = None,
    agent: Annotated[str | None, typer.Option(help="Of this agent only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with find_platform().client() as client:
        found = client.jobs(status=status and status.value, agent=agent, limit=limit)
    if as_json:
        emit(found)
    elif found:
        out.print(tables.jobs_table(found))
    else:
        say("No jobs." if status or agent else "No jobs yet: stepwell submit --help")


@app.command()
def cancel(job: JobId, as_json: AsJson = False) -> None:
    """Ask a job to stop at its next step."""
    with find_platform().client() as client:
        found = client.cancel(find_job_id(client, job))
    if as_json:
        emit(found)
    elif found["status"] in stepwell.ENDED:
        say(f"job {short(found['id'])} has ended: {found['status']}")
    else:
        say(f"job {short(found['id'])} was asked to stop")


app.command("questions")(questions.list_questions)
app.command()(questions.answer)
app.command()(questions.signal)
app.command()(forking.fork)
app.command("guards")(guards.list_verdicts)
app.command("dependencies")(dependencies.list_dependencies)
app.add_typer(letters.app, name="dead-letters")
app.add_typer(callers.app, name="callers")
app.add_typer(schedules.app, name="schedule")
app.add_typer(policy.app, name="policy")
approvals.add_to(app)
app.add_typer(budgets.app, name="budget")


@app.command()
def replay(
    job: JobId,
    dry: Annotated[
        bool, typer.Option("--dry", help="Ask the model again, compare, and change nothing.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Ask this one; by default the job's own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See whether an agent would decide again as it did, over the recorded results of its tools."""
    from jobs.cli.replaying import replay_dry

    if not dry:
        raise Complaint(
            "A replay only compares, so say --dry. To run a failed job again, or any job from one "
            "of its steps, there are commands of their own.",
            hint="stepwell dead-letters replay JOB, or stepwell fork JOB --from STEP",
        )
    raise typer.Exit(replay_dry(job, model, as_json=as_json))


@app.command()
def artifacts(
    job: JobId,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Download them here.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the files a job made, and with --save download them."""
    from jobs.cli.saving import save_all

    with find_platform().client() as client:
        found = client.artifacts(find_job_id(client, job))
        saved = save_all(client, found, save) if save is not None else {}
    if as_json:
        emit([{**each, **_saved_as(saved.get(each["id"]))} for each in found])
    elif found:
        out.print(tables.artifacts_table(found))
    else:
        say("It has made no files.")
    for path in saved.values():
        say(f"saved {path}")


@app.command()
def agents(
    name: Annotated[str | None, typer.Argument(help="Only this one, with all it takes.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the agents one may submit to."""
    with find_platform().client() as client:
        found = client.agents()
    if name is not None:
        found = [submission.pick_agent(found, name)]
    if as_json:
        emit(found)
    else:
        out.print(tables.agents_page(found, in_full=name is not None))


app.command()(queues.queues)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at everything the platform needs and say what is wrong with it."""
    from jobs.cli.doctor import examine, report

    checks = examine()
    if as_json:
        emit([check.as_json() for check in checks])
    else:
        out.print(report(checks))
    raise typer.Exit(Code.FAILED if any(check.is_bad for check in checks) else Code.OK)


@app.command()
def migrate(as_json: AsJson = False) -> None:
    """Bring the database of STEPWELL_DATABASE_URL to this version."""
    from jobs.cli.migrating import bring_up_to_date

    status = bring_up_to_date()
    if as_json:
        emit(status)
    else:
        say(f"The database is at migration {status['current']}, which is this version's.")


@app.command()
def demo(as_json: AsJson = False) -> None:
    """See one real job from question to mail, on a private platform that is stopped again."""
    from jobs.cli.demo import run_demo

    raise typer.Exit(run_demo(home(), as_json=as_json))


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    from importlib.metadata import version as version_of

    found = version_of("stepwell")
    if as_json:
        emit({"stepwell": found, "python": sys.version.split()[0]})
    else:
        out.print(found)


def _saved_as(path: Path | None) -> dict[str, str]:
    return {} if path is None else {"saved_as": str(path)}


def main() -> None:
    """Run the command and turn what may go wrong into a sentence and an exit code."""
    try:
        app()
    except Complaint as complaint:
        complain(str(complaint), complaint.hint)
        sys.exit(complaint.code)
    except stepwell.Overloaded as refusal:
        complain(str(refusal), f"the same again in {span(refusal.retry_after_s)}")
        sys.exit(Code.LATER)
    except stepwell.Refused as refusal:
        complain(str(refusal), _way_out(refusal))
        sys.exit(Code.REFUSED)
    except stepwell.Unreachable as error:
        complain(str(error), "stepwell doctor, or start it with `stepwell up`")
        sys.exit(Code.UNREACHABLE)
    except OSError as error:
        complain(f"{error.strerror or error}: {plain(error.filename or '')}".rstrip(": "))
        sys.exit(Code.REFUSED)
    except KeyboardInterrupt:
        # One that came while the command line was already on its way out.
        sys.exit(Code.INTERRUPTED)


def _way_out(refusal: stepwell.Refused) -> str:
    if refusal.status == 401:
        return "set STEPWELL_API_TOKEN to the token of that platform, or unset it to use its file"
    if refusal.status >= 500:
        return f"the platform's log has more, under request id {refusal.problem.get('request_id')}"
    return ""


if __name__ == "__main__":
    main()
