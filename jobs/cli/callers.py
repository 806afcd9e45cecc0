"""`stepwell callers`: who may ask the API, besides whoever holds the platform's own token.

The commands write and read the file that the API reads when it starts; they talk to no platform.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.table import Table

from jobs.cli.finding import home
from jobs.cli.options import AsJson
from jobs.cli.speech import Complaint, emit, out, say
from store.errors import NotReady

app = typer.Typer(
    help="List who may ask the API, or add somebody.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Door(StrEnum):
    """Through which door a caller may come."""

    CHAT = "chat"
    API = "api"
    WEBHOOK = "webhook"
    MCP = "mcp"


OfFile = Annotated[
    Path | None,
    typer.Option(
        "--file", help="The file; by default STEPWELL_CALLERS_FILE, or callers.toml in the home."
    ),
]


@app.callback(invoke_without_command=True)
def list_callers(context: typer.Context, file: OfFile = None, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is not None:
        return
    from jobs.web.callers import read_callers

    path = _path(file)
    try:
        found = [each.model_dump(mode="json") for each in read_callers(path)]
    except NotReady as error:
        if not path.exists():
            found = []
        else:
            raise Complaint(str(error)) from None
    if as_json:
        emit(found)
    elif found:
        out.print(_table(found))
    else:
        say("Nobody but whoever holds the platform's own token: stepwell callers add --help")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Who it is; several tokens may have the same name.")],
    role: Annotated[
        list[str] | None, typer.Option(help="A role they have; as often as needed.")
    ] = None,
    origin: Annotated[Door, typer.Option(help="Through which door they come.")] = Door.API,
    tenant: Annotated[
        UUID | None, typer.Option(help="Their tenant, by its id; the platform's own by default.")
    ] = None,
    file: OfFile = None,
    as_json: AsJson = False,
) -> None:
    """Let somebody in. Prints their token, this once: only its hash is kept."""
    from jobs.web.callers_file import add_caller

    path = _path(file)
    try:
        token = add_caller(path, name, roles=role or [], origin=origin.value, tenant_id=tenant)
    except NotReady as error:
        raise Complaint(str(error)) from None
    if as_json:
        emit({"name": name, "token": token, "file": str(path)})
    else:
        out.print(token)
        say(f"added {name} to {path}; the API knows them once it was restarted")
        say("This token is shown once. Whoever has it asks as them.")


def _path(file: Path | None) -> Path:
    from jobs.web.callers import FILE_NAME
    from jobs.web.settings import WebSettings

    return (file or WebSettings().callers_file or home() / FILE_NAME).absolute()


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("name", "origin", "roles", "tenant", "token (sha256)"):
        table.add_column(title, no_wrap=True)
    for each in found:
        tenant = each["tenant_id"] or "the platform's own"
        roles = ", ".join(each["roles"]) or "none"
        table.add_row(each["name"], each["origin"], roles, tenant, f"{each['token_sha256'][:12]}…")
    return table
