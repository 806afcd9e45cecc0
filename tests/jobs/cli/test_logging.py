"""What commands log goes to standard error, and holds neither keys nor local variables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from jobs.cli.speech import log_on_stderr
from store import secrets

KEY = "k-9f8e7d6c5b4a3210"


@pytest.fixture(autouse=True)
def key(own_logging: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SOME_PROVIDER_API_KEY", KEY)
    secrets._known.cache_clear()
    structlog.reset_defaults()
    yield
    secrets._known.cache_clear()


def test_a_commands_log_has_neither_keys_nor_local_variables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_on_stderr()
    a_local_variable = "what a tenant wrote"
    try:
        raise ValueError(f"the key {KEY} is wrong for {len(a_local_variable)}")
    except ValueError:
        structlog.get_logger().warning("refused", exc_info=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert "ValueError: the key (hidden) is wrong" in said.err
    assert KEY not in said.err
    assert a_local_variable not in said.err
