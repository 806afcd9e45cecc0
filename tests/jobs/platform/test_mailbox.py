"""The mail sink: real SMTP in, whole files out."""

from __future__ import annotations

import signal
import smtplib
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import default as modern
from pathlib import Path

import pytest

from jobs.platform import mailbox
from jobs.platform.mailbox import Outbox, receive, subject_slug
from jobs.platform.settings import MAILBOX_READY
from store.hosting.loopback import free_port

ROOT = Path(__file__).parents[3]


def message(subject: str = "Flights: who runs late?") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "a@example.com", "b@example.com", subject
    made.set_content("Grüße\n.\n..two dots\n")
    made.add_attachment(b"\x89PNG" + bytes(200_000), "image", "png", filename="chart.png")
    made.set_boundary("the-same-at-every-printing")
    return made


def start(port: int, outbox: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.platform.mailbox", "--port", str(port), "--outbox", outbox],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    controller = receive(tmp_path, port := free_port(), lambda _line: None)
    yield port
    controller.stop()


def test_the_command_keeps_a_message_whole_and_stops_when_asked(tmp_path: Path) -> None:
    port, outbox, sent = free_port(), tmp_path / "outbox", message()
    process = start(port, outbox)
    try:
        assert process.stdout is not None
        assert MAILBOX_READY in process.stdout.readline()
        with smtplib.SMTP("127.0.0.1", port, timeout=5) as client:
            client.send_message(sent)
        assert process.stdout.readline().startswith("kept ")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0

    (kept,) = outbox.iterdir()
    assert kept.name.endswith("-flights-who-runs-late.eml")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    # Line ends are SMTP's; everything else is what was sent.
    assert kept.read_bytes().replace(b"\r\n", b"\n") == sent.as_bytes(policy=modern)


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        process = start(busy.getsockname()[1], tmp_path)
        said, _ = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "cannot listen on 127.0.0.1:" in said
    assert "Traceback" not in said


def test_a_message_beyond_the_limit_is_refused_in_smtp_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "MESSAGE_BYTES_MAX", 1000)
    controller = receive(tmp_path, port := free_port(), lambda _line: None)
    try:
        with (
            smtplib.SMTP("127.0.0.1", port, timeout=5) as client,
            pytest.raises((smtplib.SMTPSenderRefused, smtplib.SMTPDataError)) as refusal,
        ):
            client.send_message(message())
        assert refusal.value.smtp_code == 552
        assert list(tmp_path.iterdir()) == []
    finally:
        controller.stop()


def test_a_full_outbox_refuses_for_now(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "MESSAGES_MAX", 1)
    with smtplib.SMTP("127.0.0.1", port, timeout=5) as client:
        client.send_message(message())
        with pytest.raises(smtplib.SMTPDataError) as refusal:
            client.send_message(message())
    assert refusal.value.smtp_code == 452
    assert len(list(tmp_path.glob("*.eml"))) == 1


def test_two_messages_of_one_moment_get_two_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Frozen(mailbox.datetime):
        @classmethod
        def now(cls, tz: object = None) -> Frozen:
            return cls(2030, 1, 2)

    monkeypatch.setattr(mailbox, "datetime", Frozen)
    outbox = Outbox(tmp_path, lambda _line: None)
    assert outbox.keep(b"Subject: same\r\n\r\n1").name == "20300102T000000.000000Z-same.eml"
    assert outbox.keep(b"Subject: same\r\n\r\n2").name == "20300102T000000.000000Z-same-2.eml"


@pytest.mark.parametrize(
    ("header", "slug"),
    [
        (b"Subject: =?utf-8?q?Versp=C3=A4tung_im_M=C3=A4rz?=", "verspatung-im-marz"),
        (b"Subject: ../../etc/passwd", "etc-passwd"),
        (b"Subject: " + b"long " * 100, "long-" * 11 + "long"),
        (b"Subject: \xff\xfe\x00", "no-subject"),
        (b"Subject: \xe2\x9c\x93", "no-subject"),
        (b"Subject:", "no-subject"),
        (b"To: someone", "no-subject"),
        (b"", "no-subject"),
        (b"Subject: =?utf-8?q?a=0Ab?=", "a-b"),
    ],
)
def test_a_subject_becomes_a_harmless_name(header: bytes, slug: str) -> None:
    assert subject_slug(header + b"\r\n\r\nbody") == slug
