"""`stepwell callers`: a token is shown once, and its holder is let in under their name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from jobs.web.callers import hash_of, read_callers
from tests.conftest import Database
from tests.jobs.cli.conftest import Run
from tests.jobs.serving import serve


def test_a_token_is_printed_once_and_only_its_hash_is_kept(nowhere: Run, tmp_path: Path) -> None:
    said = nowhere("callers", "add", "ann", "--role", "finance", "--role", "support")
    token, file = said.out.strip(), tmp_path / ".stepwell" / "callers.toml"
    assert (said.code, len(token) > 40) == (0, True)
    assert token not in file.read_text() + said.err
    assert "once it was restarted" in said.err
    (ann,) = read_callers(file)
    assert (ann.name, ann.roles, ann.origin) == ("ann", ["finance", "support"], "api")
    assert ann.token_sha256 == hash_of(token)

    listed = nowhere("callers")
    assert "ann" in listed.out
    assert "finance, support" in listed.out
    assert ann.token_sha256 not in listed.out
    (told,) = json.loads(nowhere("callers", "--json").out)
    assert (told["name"], told["token_sha256"]) == ("ann", ann.token_sha256)


def test_the_file_of_the_environment_or_of_the_option_is_used(
    nowhere: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STEPWELL_CALLERS_FILE", str(tmp_path / "named.toml"))
    told = json.loads(nowhere("callers", "add", "ann", "--origin", "chat", "--json").out)
    assert told["file"] == str(tmp_path / "named.toml")
    nowhere("callers", "add", "bob", "--file", tmp_path / "other.toml")
    assert [each.name for each in read_callers(tmp_path / "named.toml")] == ["ann"]
    assert [each.name for each in read_callers(tmp_path / "other.toml")] == ["bob"]


def test_nobody_is_listed_where_there_is_no_file(nowhere: Run) -> None:
    assert "Nobody but whoever holds" in nowhere("callers").err
    assert nowhere("callers", "--json").out.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("operator",), "'operator' is who holds the platform's own token"),
        (("a b",), "name"),
        (("ann", "--role", "a b"), "roles"),
        (("ann", "--origin", "schedule"), "schedule"),
        (("ann", "--tenant", "x"), "x"),
    ],
)
def test_who_cannot_be_is_refused(
    nowhere: Run, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    said = nowhere("callers", "add", *words)
    assert said.code == 2
    assert says in said.err
    assert not (tmp_path / ".stepwell" / "callers.toml").exists()


def test_a_file_that_others_may_read_is_not_added_to(nowhere: Run, tmp_path: Path) -> None:
    file = tmp_path / "callers.toml"
    file.write_text("")
    file.chmod(0o644)
    said = nowhere("callers", "add", "ann", "--file", file)
    assert (said.code, file.read_text()) == (2, "")
    assert "chmod 600" in said.err
    assert nowhere("callers", "--file", file).code == 2


def test_whoever_was_added_asks_under_their_name_and_show_says_so(
    nowhere: Run,
    database: Database,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    file = tmp_path / "callers.toml"
    added = nowhere(
        "callers", "add", "ann", "--role", "finance", "--origin", "chat", "--file", file
    )
    # The API's log would mix with what the command says, as both run in this process.
    home = tmp_path / "home"
    with capture_logs(), serve(database, redis_url, home, callers_file=file) as served:
        monkeypatch.setenv("STEPWELL_URL", served.url)
        monkeypatch.setenv("STEPWELL_API_TOKEN", added.out.strip())
        job_id = nowhere("submit", "echo", "--input", "{}").out.strip()
        shown = nowhere("show", job_id)
    assert "ann, as finance" in shown.out
    assert "chat" in shown.out
