"""What is written down has no keys in it, whoever wrote them into a message."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import structlog

from store import logs, secrets

KEY = "sk-a-key-nobody-may-see"


@pytest.fixture(autouse=True)
def key(own_logging: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A key in the environment, read anew, beside what is none."""
    monkeypatch.setenv("SOME_PROVIDER_API_KEY", KEY)
    monkeypatch.setenv("SHORT_TOKEN", "no")
    monkeypatch.setenv("MONKEY_BUSINESS", "not-a-secret")
    secrets._known.cache_clear()
    yield
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
