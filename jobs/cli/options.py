"""Options and arguments that several commands share, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

from store.states import JobClass

AsJson = Annotated[bool, typer.Option("--json", help="Print data as JSON on standard output.")]
JobId = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="The id, 6 or more characters of its beginning or end, or `last`."
    ),
]
Urgency = Annotated[JobClass | None, typer.Option("--class", help="How urgent it is.")]
WatchIt = Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")]
