"""Every process of the platform gets the secrets it needs, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.platform.children import GRANTED, Addresses, platform_children
from jobs.platform.processes import Child
from jobs.platform.settings import PlatformSettings

HOME = Path("/some/home")


def addresses(**changes: object) -> Addresses:
    values: dict[str, object] = {
        "home": HOME,
        "api_url": "http://127.0.0.1:8700",
        "flower_url": "http://127.0.0.1:5555",
        "smtp_url": "smtp://127.0.0.1:2525",
        "database_url": "postgresql://runtime:secret-1@/stepwell",
        "operator_database_url": "postgresql://clock:secret-2@/stepwell",
        "redis_url": "redis://:secret-3@127.0.0.1:6000/0",
        "api_token": "secret-4",
        "token_file": HOME / "secrets" / "token",
        "database_is_private": True,
        "redis_is_private": True,
        "api_port": 8700,
        "flower_port": 5555,
        "smtp_port": 2525,
        "outbox": HOME / "outbox",
    }
    return Addresses(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> dict[str, Child]:
    for name in GRANTED:
        monkeypatch.setenv(name, "inherited by mistake")
    monkeypatch.setenv("STEPWELL_AGENTS", "my.agents")
    monkeypatch.setenv("STEPWELL_MODEL_API_KEY", "model key")
    monkeypatch.setenv("OPENAI_API_KEY", "model key")
    return {child.name: child for child in platform_children(addresses(), PlatformSettings())}


@pytest.mark.parametrize(
    ("name", "granted"),
    [
        ("api", {"DATABASE_URL", "REDIS_URL", "API_TOKEN"}),
        ("worker-waits", {"DATABASE_URL", "REDIS_URL", "SMTP_URL"}),
        ("worker-computes", {"DATABASE_URL", "REDIS_URL"}),
        ("scheduler", {"OPERATOR_DATABASE_URL", "REDIS_URL"}),
        ("flower", {"REDIS_URL"}),
        ("mail", set()),
    ],
)
def test_a_process_is_granted_what_it_needs(
    children: dict[str, Child], name: str, granted: set[str]
) -> None:
    env = children[name].env
    assert {key for key in GRANTED if key in env} == {f"STEPWELL_{key}" for key in granted}
    assert "inherited by mistake" not in env.values()
    assert env["STEPWELL_AGENTS"] == "my.agents", "plain settings reach everyone"


def test_model_keys_go_to_those_who_run_agents_only(children: dict[str, Child]) -> None:
    holders = {name for name, child in children.items() if "model key" in child.env.values()}
    assert holders == {"api", "worker-waits", "worker-computes"}


def test_no_secret_is_shown_by_a_command_line_or_a_printed_object(
    children: dict[str, Child],
) -> None:
    for child in children.values():
        assert "secret-" not in " ".join(child.command)
        assert "secret-" not in repr(child)
    assert "secret-" not in repr(addresses())


def test_servers_listen_on_the_loopback_only(children: dict[str, Child]) -> None:
    assert "--host 127.0.0.1" in " ".join(children["api"].command)
    assert "--address=127.0.0.1" in children["flower"].command
    assert "--read_only=true" in children["flower"].command


def test_with_a_mail_server_of_your_own_there_is_no_sink() -> None:
    own = addresses(smtp_url="smtp://mail.example.com", smtp_port=None, outbox=None)
    children = {child.name: child for child in platform_children(own, PlatformSettings())}
    assert "mail" not in children
    assert children["worker-waits"].env["STEPWELL_SMTP_URL"] == "smtp://mail.example.com"
