"""What a console would print, as text."""

from __future__ import annotations

from rich.console import Console, RenderableType


def printed(what: RenderableType, width: int = 120) -> str:
    """The lines of it on a terminal of this width, without colours."""
    console = Console(width=width)
    with console.capture() as captured:
        console.print(what)
    return captured.get()
