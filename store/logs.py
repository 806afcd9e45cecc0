"""How every process of the house logs: one line an event, readable, or JSON when asked for."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, TextIO

import structlog

from store.secrets import hide


def configure(stream: TextIO | None = None) -> None:
    """Set structlog and the standard library's logging to one format, on standard error.

    `STEPWELL_LOG_LEVEL` (default info) and `STEPWELL_LOG_FORMAT` (text or json) decide, and
    `STEPWELL_LOG_TIMES=no` leaves the time to whoever collects the lines.
    """
    target = stream or sys.stderr
    level = logging.getLevelNamesMapping().get(
        os.environ.get("STEPWELL_LOG_LEVEL", "info").upper(), logging.INFO
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
    ]
    if os.environ.get("STEPWELL_LOG_TIMES") != "no":
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    is_json = os.environ.get("STEPWELL_LOG_FORMAT") == "json"
    render = discreet(structlog.processors.JSONRenderer()) if is_json else readable(target)
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, render]
        if is_json
        else [*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=render)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries speak up only when something is wrong; their chatter is not ours to print.
    root.setLevel(max(level, logging.WARNING))


def readable(target: TextIO) -> structlog.typing.Processor:
    """Lines for people, without local variables in a traceback, as structlog would have them.

    They hold keys and people's data, and to draw one that other threads change may raise.
    """
    plain = structlog.dev.plain_traceback
    return discreet(
        structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=plain)
    )


def discreet(renderer: structlog.typing.Processor) -> structlog.typing.Processor:
    """The renderer, with what this process keeps secret hidden in what it writes."""

    def render(logger: Any, name: str, event: structlog.typing.EventDict) -> str:
        return hide(str(renderer(logger, name, event)))

    return render
