"""What is written down has no keys in it, whoever wrote them into a message."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from store import logs, secrets

KEY = "sk-a-key-nobody-may-see"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    secrets._known.cache_clear()


@pytest.fixture(autouse=True)
def _a_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PROVIDER_API_KEY", KEY)
    monkeypatch.setenv("SHORT_TOKEN", "no")
    monkeypatch.setenv("MONKEY_BUSINESS", "not-a-secret")
    secrets._known.cache_clear()


def test_a_key_is_hidden_and_ordinary_words_are_not() -> None:
    assert secrets.hide(f"{KEY} was refused, no not-a-secret") == (
        "(hidden) was refused, no not-a-secret"
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_line_has_neither_keys_nor_local_variables(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_LOG_FORMAT", form)
    written = io.StringIO()
    logs.configure(written)
    a_local_variable = "what a tenant wrote"
    try:
        raise ValueError(f"the key {KEY} is wrong for {len(a_local_variable)}")
    except ValueError:
        structlog.get_logger().warning("refused", exc_info=True)
    assert "ValueError: the key (hidden) is wrong" in written.getvalue()
    assert KEY not in written.getvalue()
    assert a_local_variable not in written.getvalue()
