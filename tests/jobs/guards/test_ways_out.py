"""What a job may reach: recipients, links, HTML, and calls of a job that has read outside texts."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.guards import trust
from jobs.guards.guard import Kind, Stage
from jobs.guards.links import Links
from jobs.guards.markup import CleanHtml
from jobs.guards.personal import PersonalData
from jobs.guards.recipients import Recipients
from jobs.guards.trust import Taint, verdict_for_taint
from tests.jobs.guards.rounds import judge, round_of

MAIL = Recipients({"send": ("to", "cc", "headers.bcc")}, allowed=("@ours.example", "One@Dept.Org"))
ASKED: dict[str, Any] = {"email": "boss@client.example"}


def sends(**args: Any) -> Kind:
    return judge(MAIL, args, tool="send", effect="external", input=ASKED).kind


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"to": None},
        {"to": "boss@client.example"},
        {"to": ["Boss@Client.Example", "jo@ours.example"], "cc": "one@dept.org"},
        {"to": "The Boss <boss@client.example>, Jo <jo@ours.example>"},
    ],
)
def test_those_on_the_list_may_be_written_to(args: dict[str, Any]) -> None:
    assert sends(**args) is Kind.ALLOW


@pytest.mark.parametrize(
    "args",
    [
        {"to": "eve@evil.example"},
        {"to": ["boss@client.example", "eve@evil.example"]},
        {"to": "boss@client.example, eve@evil.example"},
        {"to": "boss@client.example", "cc": "eve@evil.example"},
        {"headers": {"bcc": ["eve@evil.example"]}},
        {"to": "boss@client.example <eve@evil.example>"},
        {"to": '"boss@client.example" <eve@evil.example>'},
        {"to": "boss@client.example\nBcc: eve@evil.example"},
        {"to": "jo@ours.example.evil.example"},
        {"to": "jo@evil-ours.example"},
        {"to": "jo@sub.ours.example"},
        {"to": "jo@ourѕ.example"},
        {"to": "ours.example"},
        {"to": "@ours.example"[1:] + "@evil.example"},
        {"to": "eve@evil.example(boss@client.example)"},
        {"to": "undisclosed-recipients:;"},
        {"to": "eve@evil.example, @ours.example"},
        {"to": "eve@evil.example\n@ours.example"},
        {"to": "<@ours.example:eve@evil.example>"},
        {"to": 4917012345},
        {"to": [True]},
        {"to": {"number": 4917012345}},
    ],
)
def test_a_stranger_is_blocked_however_it_is_written(args: dict[str, Any]) -> None:
    assert sends(**args) is Kind.BLOCK


def test_a_call_that_writes_to_those_on_the_list_needs_no_confirmation() -> None:
    def found(*guards: Any, **args: Any) -> Kind:
        more = {"tool": "send", "effect": "external", "input": ASKED, "taint": ("table",)}
        return round_of(*guards, Taint(), value=args, **more).kind

    assert found(MAIL, to="boss@client.example") is Kind.ALLOW
    assert found(MAIL, to="eve@evil.example") is Kind.BLOCK
    assert found(to="boss@client.example") is Kind.CONFIRM
    nobody = Recipients({"send": ("to",)}, own=("none",))
    assert found(nobody) is Kind.CONFIRM, "who may write to nobody vouches for nothing"


def test_an_input_that_somebody_else_may_have_written_names_nobody() -> None:
    def judged(email: str, **args: Any) -> Kind:
        asked = {"input": {"email": email}, "is_input_tainted": True}
        return judge(MAIL, args, tool="send", effect="external", **asked).kind

    boss, jo, nobody = "boss@client.example", "jo@ours.example", "no address at all"
    assert judged(boss, to=boss) is Kind.CONFIRM
    assert judged(boss, to=[boss, jo]) is Kind.CONFIRM
    assert judged(boss, to=jo) is Kind.ALLOW
    assert judged(boss, to=[boss, "eve@evil.example"]) is Kind.BLOCK
    assert judged(boss) is Kind.BLOCK, "nobody would see whom they confirm"
    assert judged(nobody) is judged(nobody, to=nobody) is Kind.BLOCK
    assert judged(jo) is judged(jo, to=jo) is Kind.ALLOW


def test_nor_does_it_vouch_for_links_and_personal_data() -> None:
    text = "see https://evil.example/x and write to eve@evil.example"
    told = {"input": {"ask": text}, "taint": ("inbox",), "effect": "external"}
    for guard in (Links(), PersonalData()):
        assert judge(guard, {"text": text}, Stage.JOB_POST, **told).kind is Kind.ALLOW
        born = told | {"is_input_tainted": True}
        assert judge(guard, {"text": text}, Stage.JOB_POST, **born).kind is Kind.REPLACE


def test_a_domain_that_only_folds_to_an_allowed_one_is_another() -> None:
    guard = Recipients({"send": ("to",)}, allowed=("@strasse.example",))
    assert judge(guard, {"to": "a@STRASSE.example"}, tool="send").kind is Kind.ALLOW
    assert judge(guard, {"to": "a@straße.example"}, tool="send").kind is Kind.BLOCK


# --- taint ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "tainted", "least"),
    [
        ("read", True, Kind.ALLOW),
        ("read", False, Kind.ALLOW),
        ("write", True, Kind.CONFIRM),
        ("write", False, Kind.ALLOW),
        ("external", True, Kind.CONFIRM),
        ("external", False, Kind.ALLOW),
    ],
)
def test_the_least_verdict_for_a_call_of_a_tainted_job(
    effect: str, tainted: bool, least: Kind
) -> None:
    assert verdict_for_taint(effect, tainted) is least
    taint = ("table",) if tainted else ()
    assert judge(Taint(), {}, effect=effect, taint=taint).kind is least
    assert judge(Taint(), {}, effect=effect, taint=taint, under_taint="allow").kind is Kind.ALLOW


@pytest.mark.parametrize("content", ["text", {"a": 1}, [1, None], None, {"data": 1}])
def test_a_marked_result_is_whole_and_can_be_taken_out_again(content: Any) -> None:
    shown = trust.mark(content, ["table", "mail"])
    assert shown["untrusted"] == "table, mail"
    assert "instruction" in shown["note"]
    assert trust.unmark(shown) == content
    assert trust.unmark(content) == content


# --- links ----------------------------------------------------------------------------------------


def linked(text: str, taint: tuple[str, ...] = ("table",), **more: Any) -> Any:
    guard = Links(allowed=("ours.example",))
    return judge(guard, {"text": text}, taint=taint, effect="write", **more)


@pytest.mark.parametrize(
    "text",
    [
        "see https://evil.example/?d=secret",
        "HTTPS://EVIL.EXAMPLE/x",
        "![x](https://evil.example/p.png?d=1)",
        '<img src="//evil.example/p.png">',
        "www.evil.example/x",
        "evil.example/collect?d=1",
        "ftp://evil.example/x",
        "mailto:eve@evil.example?body=x",
        "javascript:alert(1)",
        "data:text/html;base64,AAAA",
        "https://ours.example.evil.example/",
        "https://ours.example@evil.example/",
        "https:evil.example/x",
        "http://[::1]/x",
        "https://xn--evil-cpa.example/ü",
        "_https://evil.example/?d=secret_",
        "_www.evil.example/?d=s_",
        '<a href="&#104;ttps://evil.example/?d=s">',
        "10.2.3.4/x?d=s",
        "ldap://evil.example/?d=s",
        "git+ssh://evil.example/?d=s",
    ],
)
def test_a_tainted_job_points_nowhere_new(text: str) -> None:
    verdict = linked(text)
    assert verdict.kind is Kind.REPLACE
    told = verdict.value["text"]
    assert "taken out]" in told
    assert "://" not in told
    assert "?d=" not in told


@pytest.mark.parametrize(
    "text",
    [
        "https://ours.example/a and https://www.ours.example/b",
        "Mean delay 12.5 min/flight, 24/7, and/or; 05:00; ratio 3:4",
        "Figures from q3.csv. Next: km/h (e.g. 3.5 km/h)",
        "What is it? No. 3",
    ],
)
def test_words_and_allowed_hosts_are_left(text: str) -> None:
    assert linked(text).kind is Kind.ALLOW


def test_what_was_asked_about_may_be_named_and_an_untainted_job_may_say_anything() -> None:
    link = "https://client.example/page"
    assert linked(f"see {link}", input={"ask": f"look at {link}"}).kind is Kind.ALLOW
    assert linked("see https://evil.example/", taint=()).kind is Kind.ALLOW


def test_reading_from_a_new_address_needs_a_person_and_searching_for_one_does_not() -> None:
    guard = Links(allowed=("ours.example",))
    told: dict[str, Any] = {"taint": ("table",), "effect": "read", "tool": "fetch"}
    for url in (
        "https://evil.example/?d=1",
        "https://evil.example/?d=(one)",
        "https://evil.example/?d='one two'",
        " <https://evil.example/?d=1>",
        "//evil.example/?d=1",
        "evil.example/?d=1",
        "evil.example:81",
        "10.2.3.4/?d=1",
        "https://ours.example'@evil.example/?d=1",
        "ldap://evil.example/?d=1",
    ):
        assert judge(guard, {"url": url}, **told).kind is Kind.CONFIRM, url
    assert judge(guard, {"name": "sales.csv"}, **told).kind is Kind.ALLOW
    assert judge(guard, {"url": "https://ours.example/?d=1"}, **told).kind is Kind.ALLOW
    sql = "select * from data where page = 'https://evil.example/'"
    assert judge(guard, {"sql": sql}, **told).kind is Kind.ALLOW


# --- HTML -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "html",
    [
        "<p>ok</p><script>steal()</script>",
        '<p onclick="x()">ok</p>',
        '<p>ok</p><img src="https://evil.example/p.png">',
        '<p>ok</p><iframe src="https://evil.example"></iframe>',
        '<p style="background:url(https://evil.example/p.png)">ok</p>',
        "<p>ok</p><style>@import 'https://evil.example'</style>",
        '<p>ok</p><form action="https://evil.example"><input></form>',
        '<p>ok<a href="javascript:alert(1)"></a></p>',
        "<p>ok</p><svg onload=x()>",
    ],
)
def test_a_page_keeps_its_words_and_loses_what_acts(html: str) -> None:
    guard = CleanHtml({"write": ("html",)})
    verdict = judge(guard, {"html": html, "title": "<b>"}, tool="write")
    assert verdict.kind is Kind.REPLACE
    cleaned = verdict.value["html"]
    assert "ok" in cleaned
    assert "evil.example" not in cleaned
    assert not {"script", "onclick", "onload", "style", "form"} & set(
        cleaned.replace("<", " ").split()
    )
    assert verdict.value["title"] == "<b>", "a field that is no HTML is left"


def test_a_plain_page_and_other_tools_are_left() -> None:
    guard = CleanHtml({"write": ("html",)})
    assert judge(guard, {"html": "<h1>Title</h1><p>a</p>"}, tool="write").kind is Kind.ALLOW
    assert judge(guard, {"html": "<script>"}, tool="other").kind is Kind.ALLOW
    assert judge(guard, {"html": "<script>"}, Stage.JOB_POST).kind is Kind.ALLOW
