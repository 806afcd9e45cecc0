from __future__ import annotations

from collections import Counter
from time import perf_counter
from typing import Any

import pytest

from jobs.guards.guard import Kind, Stage
from jobs.guards.personal import PersonalData, is_iban, passes_luhn
from jobs.guards.secrets import SHAPES, Secrets, mask
from jobs.guards.sizes import MIB
from jobs.guards.texts import texts_in
from tests.jobs.guards.rounds import judge

# Put together here, so that no scanner of repositories takes them for real ones.
KEYS = {
    "AWS key": "AKIA" + "IOSFODNN7EXAMPLE",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitLab token": "glpat-" + "x9Y8z7W6v5" * 2,
    "Slack token": "xoxb-" + "123456789012-abcdef",
    "model key": "sk-ant-" + "api03-AbCdEfGhIjKlMnOpQrSt",
    "Google key": "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "Stripe key": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "web token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0" + ".dozjgNryP4J3jVmNHl0w5N",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_secret_is_masked_wherever_it_stands(kind: str) -> None:
    value = {"rows": [["note", f"use {KEYS[kind]} please"]], KEYS[kind]: 1}
    verdict = judge(Secrets(), value, Stage.TOOL_RESULT)
    assert verdict.kind is Kind.REPLACE
    assert KEYS[kind] not in str(verdict)
    assert f"use [secret: {kind}] please" in list(texts_in(verdict.value))
    assert verdict.found["kinds"][kind] == 2


@pytest.mark.parametrize(
    "text",
    [
        "password=Tr0ub4dor3xyzQ",
        'api_key: "9f8a7b6c5d4e3f2a1b0c"',
        "CLIENT_SECRET => q7Wz91kLmP0x",
        "postgres://app:hunter22@db:5432/x",
        "Authorization: Bearer abcdefghijklmnop1234567890",
    ],
)
def test_what_looks_random_under_a_telling_name_is_masked(text: str) -> None:
    verdict = judge(Secrets(), text)
    assert verdict.kind is Kind.REPLACE
    assert "[secret: " in verdict.value


@pytest.mark.parametrize(
    "text",
    [
        "The token: authentication was discussed at length.",
        "password = changeme-please-now",
        "Mean delay 20.22 min over 682 flights; key figures below.",
        "sk-learn and task-oriented work",
        "https://example.com/path?page=2",
        "a key: value pair, primary_key=customer_identifier",
        "0190a6f2-7b3c-7def-8a1b-2c3d4e5f6071",
        "token=ticket-20240917 and key: order/2024/000173",
    ],
)
def test_words_and_figures_are_left_alone(text: str) -> None:
    assert judge(Secrets(), text).kind is Kind.ALLOW


def test_what_stands_in_a_field_with_a_telling_name_is_masked() -> None:
    value = {
        "password": "Xk29fj39fjs0dQ7",
        "next_page_token": "Xk29fj39fjs0dQ7",
        "token": "the third one",
        "api_key": "customer-10070/first",
        "secret": "0190a6f2-7b3c-7def-8a1b-2c3d4e5f6071",
        "more": [{"client_secret": "Xk29fj39fjs0dQ7"}],
    }
    assert judge(Secrets(), value).value == value | {
        "password": "[secret: named secret]",
        "secret": "[secret: named secret]",
        "more": [{"client_secret": "[secret: named secret]"}],
    }


@pytest.mark.parametrize("word", [w for words, _ in SHAPES.values() for w in words])
def test_a_long_text_is_searched_once(word: str) -> None:
    """A text that begins a secret again and again would be searched to its end from each."""
    began = perf_counter()
    for between in ("-", "a1", " ", "."):
        mask((word + between) * (MIB // 4 // len(word)), Counter())
    assert perf_counter() - began < 5.0


def test_masking_twice_is_masking_once() -> None:
    guard = PersonalData()
    once = judge(guard, f"{IBAN} {CARD} +49 30 123456 EUR", Stage.JOB_POST).value
    assert judge(guard, once, Stage.JOB_POST).kind is Kind.ALLOW


def test_a_mode_may_block_or_only_tell() -> None:
    text = KEYS["AWS key"]
    assert judge(Secrets(mode="block"), text).kind is Kind.BLOCK
    told = judge(Secrets(mode="allow"), text)
    assert (told.kind, told.found) == (Kind.ALLOW, {"kinds": {"AWS key": 1}})


def test_a_key_of_this_process_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    from store import secrets

    monkeypatch.setenv("TEST_PROVIDER_KEY", "plainwordsonly")
    secrets._known.cache_clear()
    verdict = judge(Secrets(), "it said plainwordsonly")
    secrets._known.cache_clear()
    assert verdict.kind is Kind.REPLACE
    assert "plainwordsonly" not in str(verdict.value)


# --- personal data --------------------------------------------------------------------------------

CARD, IBAN = "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("email", "write to jo.doe+x@mail.example.com today"),
        ("phone", "call +49 30 1234567 now"),
        ("phone", "call 030 123 45 67 now"),
        ("iban", f"pay to {IBAN} soon"),
        ("iban", "pay to GB82WEST12345698765432."),
        ("iban", "IBAN DE89370400440532013000 EUR 100"),
        ("iban", f"{IBAN} BIC COBADEFF"),
        ("card", f"card {CARD} works"),
        ("card", "card 5500005555555559."),
    ],
)
def test_personal_data_is_masked_where_it_leaves(kind: str, text: str) -> None:
    verdict = judge(PersonalData(), {"body": text}, Stage.JOB_POST)
    assert verdict.kind is Kind.REPLACE
    assert f"[personal: {kind}]" in verdict.value["body"]
    assert verdict.found["kinds"] == {kind: 1}


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",
        "GB83WEST12345698765432",
        "19,873 flights, 336776 rows, 0.25 of them, 2013-07-01 05:00",
        "1.234.567,89 EUR and 12 345 678",
        "order 1234567890123",
    ],
)
def test_other_numbers_are_not_taken_for_it(text: str) -> None:
    assert judge(PersonalData(), text, Stage.JOB_POST).kind is Kind.ALLOW


def test_what_was_asked_for_is_left() -> None:
    given: dict[str, Any] = {"email": "boss@ours.example"}
    text = "to boss@ours.example and to eve@evil.example"
    verdict = judge(PersonalData(), text, Stage.JOB_POST, input=given)
    assert verdict.value == "to boss@ours.example and to [personal: email]"


def test_each_kind_has_its_own_mode() -> None:
    guard = PersonalData({"card": "block", "email": "mask"})
    assert judge(guard, CARD, Stage.JOB_POST).kind is Kind.BLOCK
    assert judge(guard, f"a@b.example {IBAN}", Stage.JOB_POST).value == f"[personal: email] {IBAN}"


def test_a_call_that_only_reads_is_not_looked_at() -> None:
    assert judge(PersonalData(), "a@b.example", effect="read").kind is Kind.ALLOW
    assert judge(PersonalData(), "a@b.example", effect="external").kind is Kind.REPLACE


def test_check_digits() -> None:
    assert passes_luhn("79927398713")
    assert not passes_luhn("79927398710")
    assert is_iban("GB82 WEST 1234 5698 7654 32")
    assert not is_iban("GB83 WEST 1234 5698 7654 32")
