"""Whatever the policy, the call and the job: nothing runs that asks for more than was granted.

Each example draws a tool's rules, a tenant's rules, a job that came through some doors for somebody
with some roles, and the calls that its model wants. Then people speak, or edit, in any order; the
policy is changed, the tool is deployed anew, workers are lost, and the clock runs out.

Every line that the tool writes into its ledger is held against what this test knows by itself:
what the rules ask for at that moment and asked for when the call was planned, and who has said what
about exactly these arguments of exactly this tool.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydantic_ai.models.function import FunctionModel

from jobs import Agent, ToolContext, approve_if, confirm_if, delegate_to, deny_if, tool
from jobs.agent.tool import Tool
from jobs.errors import Refused
from jobs.lifecycle.deciding import decide
from jobs.lifecycle.rulebook import put_rule, remove_rule
from jobs.policy.judgement import Verdict
from jobs.policy.rules import RuleLike
from jobs.policy.tenant_rules import TenantRule
from store import approvals
from store.approvals import Became, Said
from store.rows import ApprovalRow, CheckpointRow
from store.states import Decision, Origin, StepState
from tests.asking import Asker
from tests.housing import Household, hand_of, lose_worker, tool_steps
from tests.programs import Script, as_input, follow_script, note
from tests.running import eventually

REQUESTER = "rita"
ROLES = ("finance", "legal")
PEOPLE: dict[str, frozenset[str]] = {
    REQUESTER: frozenset(ROLES),
    "fred": frozenset({"finance"}),
    "fay": frozenset({"finance", "legal"}),
    "lee": frozenset({"finance", "legal"}),
    "olga": frozenset({approvals.OPERATOR}),
    "nora": frozenset(),
}
SEVERITY = ["allow", "confirm", "approve", "deny"]
AMOUNTS = st.sampled_from([5, 150, 2_000])
DOORS = st.sampled_from([Origin.API, Origin.SCHEDULE])
WHO = st.sampled_from(sorted(PEOPLE))
PICK = st.integers(0, 1_000)
STEPS_MAX = 10


# --- what is drawn, and what it asks for ----------------------------------------------------------


@dataclass(frozen=True)
class Need:
    """What has to be there before a call: of an approval, all the roles and so many people."""

    verdict: str = "allow"
    roles: frozenset[str] = frozenset()
    quorum: int = 0

    def with_(self, other: Need) -> Need:
        if self.verdict != other.verdict:
            return max(self, other, key=lambda each: SEVERITY.index(each.verdict))
        return Need(self.verdict, self.roles | other.roles, max(self.quorum, other.quorum))


@dataclass(frozen=True)
class Law:
    """A rule: above an amount, for jobs that have this door in their line, or for all."""

    above: int
    door: Origin | None
    need: Need

    def asks(self, amount: int, line: list[Origin]) -> Need:
        applies = amount > self.above and (self.door is None or self.door in line)
        return self.need if applies else Need()

    def in_python(self, n: int) -> RuleLike:
        def applies(amount: int, invocation: Any) -> bool:
            return amount > self.above and (
                self.door is None or self.door.value in invocation.origins
            )

        match self.need.verdict:
            case "confirm":
                return confirm_if(applies, name=f"r{n}")
            case "approve":
                (role,) = self.need.roles
                return approve_if(applies, role=role, quorum=self.need.quorum, name=f"r{n}")
            case _:
                return deny_if(applies, name=f"r{n}")

    def in_cel(self, n: int) -> TenantRule:
        door = "" if self.door is None else f" && '{self.door.value}' in invocation.origins"
        role = next(iter(self.need.roles), None)
        return TenantRule(
            f"t{n}",
            "pay",
            f"args.amount > {self.above}{door}",
            Verdict(self.need.verdict),
            role,
            max(1, self.need.quorum),
        )


NEEDS = st.sampled_from(
    [
        Need("confirm", quorum=1),
        Need("approve", frozenset({"finance"}), 1),
        Need("approve", frozenset({"legal"}), 2),
        Need("deny"),
    ]
)
LAWS = st.builds(Law, st.sampled_from([0, 100, 1_000]), st.none() | DOORS, NEEDS)
POLICIES = st.none() | st.lists(LAWS, max_size=2)


def in_force(policy: list[Law] | None, of_tenant: list[Law]) -> list[Law]:
    """The rules of the tool, or those of a tool that has none, and those of the tenant."""
    own = [Law(-1, None, Need("confirm", quorum=1))] if policy is None else policy
    return [*own, *of_tenant]


def need_of(laws: list[Law], amount: int, line: list[Origin]) -> Need:
    found = Need()
    for each in laws:
        found = found.with_(each.asks(amount, line))
    return found


# --- the programs ---------------------------------------------------------------------------------


def make_pay(policy: list[Law] | None, version: int) -> Tool:
    """The tool, under these rules; another version is another tool to whoever approves it."""

    def pay(ctx: ToolContext, amount: int) -> str:
        note(json.dumps({"job": str(ctx.job_id), "key": ctx.key, "amount": amount}))
        return f"paid {amount}"

    pay.__doc__ = f"Pay somebody, in the way number {version}."
    rules = None if policy is None else [law.in_python(n) for n, law in enumerate(policy)]
    return tool(effect="external", idempotency="key", policy=rules)(pay)


def make_payer(pay: Tool) -> Agent:
    return Agent(
        name="payer",
        model=FunctionModel(follow_script, model_name="script"),
        instructions="Follow the script.",
        tools=(pay,),
        input_type=Script,
        accepts=["*"],
    )


BOSS = Agent(
    name="boss",
    model=FunctionModel(follow_script, model_name="script"),
    instructions="Follow the script.",
    tools=(delegate_to("payer"),),
    input_type=Script,
)


# --- what was said --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Word:
    """A yes that was taken: to which question, about what, and by whom."""

    seq: int
    n: int
    amount: int
    version: int
    by: str
    tier: str
    roles: frozenset[str]
    remember: bool

    @property
    def is_entitled(self) -> bool:
        """Whether whoever spoke may say yes to what was asked."""
        if self.tier == "confirm":
            return self.by == REQUESTER or approvals.OPERATOR in PEOPLE[self.by]
        return self.by != REQUESTER and self.roles <= PEOPLE[self.by]


@dataclass
class Planned:
    amount: int
    need: Need
    paid: list[int] = field(default_factory=list)


class Payments(RuleBasedStateMachine):
    """One job that wants to pay, and everybody who may have a say."""

    household: ClassVar[Household]
    asker: ClassVar[Asker]
    ledger: ClassVar[Path]
    # What was seen to happen in all examples, so that a test of nothing is noticed.
    seen: ClassVar[Counter[str]]

    @initialize(
        policy=POLICIES,
        of_tenant=st.lists(LAWS, max_size=2),
        door=DOORS,
        is_below=st.booleans(),
        calls=st.lists(AMOUNTS, min_size=1, max_size=3),
        is_repeated=st.booleans(),
        ends_well=st.booleans(),
    )
    def begin(
        self,
        policy: list[Law] | None,
        of_tenant: list[Law],
        door: Origin,
        is_below: bool,
        calls: list[int],
        is_repeated: bool,
        ends_well: bool,
    ) -> None:
        self.ends_well = ends_well
        self.line = [door, Origin.AGENT] if is_below else [door]
        self.version = 1
        self.words: list[Word] = []
        self.planned: dict[int, Planned] = {}
        self.read = len(self.lines())
        self.of_tenant: dict[str, Law] = {}
        self.policy = policy
        self.deploy()
        for n, law in enumerate(of_tenant):
            self.put(n, law)
        turn = [("pay", {"amount": each}) for each in calls]
        script = as_input(*[turn] * (1 + is_repeated))
        self.job_id = self.ask_for(script, door, is_below=is_below)
        self.run_one(0)

    def ask_for(self, script: dict[str, Any], door: Origin, *, is_below: bool) -> UUID:
        viewer, who = self.household.viewer, {"origin": door, "requester": REQUESTER}
        if not is_below:
            return viewer.submit("payer", script, **who)
        call = ("delegate", {"agent": "payer", "input": script})
        self.boss_id = viewer.submit("boss", as_input([call]), **who)
        for seq in (1, 2):
            self.household.run_step(self.boss_id, seq)
        (child,) = hand_of(viewer).children(self.boss_id)
        return child.id

    # --- the policy, the code and the clock -------------------------------------------------------

    def deploy(self) -> None:
        payer = make_payer(make_pay(self.policy, self.version))
        for registry in (self.household.house.registry, self.household.viewer.desk.registry):
            registry.agents |= {"payer": payer, "boss": BOSS}

    @rule(policy=POLICIES)
    def change_the_policy(self, policy: list[Law] | None) -> None:
        self.policy = policy
        self.deploy()

    @rule(version=st.integers(1, 2))
    def change_the_tool(self, version: int) -> None:
        self.version = version
        self.deploy()

    @rule(n=st.integers(0, 1), law=LAWS)
    def tighten(self, n: int, law: Law) -> None:
        self.put(n, law)

    @precondition(lambda self: self.of_tenant)
    @rule(which=PICK)
    def loosen(self, which: int) -> None:
        self.drop(sorted(self.of_tenant)[which % len(self.of_tenant)])

    def put(self, n: int, law: Law) -> None:
        kept = law.in_cel(n)
        put_rule(self.household.house.doors, self.asker.tenant_id, kept, by="olga")
        self.of_tenant[kept.id] = law
        self.household.house._rules.clear()

    def drop(self, rule_id: str) -> None:
        remove_rule(self.household.house.doors, self.asker.tenant_id, rule_id, by="olga")
        del self.of_tenant[rule_id]
        self.household.house._rules.clear()

    @rule()
    def let_the_time_pass(self) -> None:
        self.seen["expired"] += self.asker.let_expire(self.job_id)

    @precondition(lambda self: self.steps_in(StepState.READY))
    @rule(which=PICK)
    def lose_a_worker(self, which: int) -> None:
        ready = self.steps_in(StepState.READY)
        lose_worker(self.household.viewer, self.job_id, ready[which % len(ready)])

    # --- people -----------------------------------------------------------------------------------

    @precondition(lambda self: self.pending())
    @rule(which=PICK, by=WHO, remember=st.booleans())
    def approve(self, which: int, by: str, remember: bool) -> None:
        asked = self.pick(which)
        self.say_yes(asked, by, remember=remember)

    @precondition(lambda self: self.pending())
    @rule(which=PICK, remember=st.booleans())
    def all_approve(self, which: int, remember: bool) -> None:
        asked = self.pick(which)
        for by in PEOPLE:
            self.say_yes(asked, by, remember=remember)

    def say_yes(self, asked: ApprovalRow, by: str, *, remember: bool) -> None:
        became = self.say(asked, Said(Decision.APPROVE, remember=remember), by)
        if became in (Became.COUNTED, Became.GRANTED):
            self.hear(asked, by, remember=remember)

    @precondition(lambda self: self.pending())
    @rule(which=PICK, by=WHO, amount=AMOUNTS)
    def edit(self, which: int, by: str, amount: int) -> None:
        asked = self.pick(which)
        before = len(self.asker.decisions(self.job_id))
        try:
            became = self.say(asked, Said(Decision.EDIT), by, args={"amount": amount})
        except Refused:
            return  # They are denied to everybody.
        # Whoever edits may have said yes with it: one decision more than the edit itself.
        if became in (Became.EDITED, Became.GRANTED):
            newest = self.asker.approvals(self.job_id)
            of_edit = max((a for a in newest if a.seq == asked.seq), key=lambda each: each.n)
            if len(self.asker.decisions(self.job_id)) == before + 2:
                self.hear(of_edit, by)

    @precondition(lambda self: self.pending())
    @rule(which=PICK, by=WHO, decision=st.sampled_from([Decision.REJECT, Decision.RESPOND]))
    def say_no(self, which: int, by: str, decision: Decision) -> None:
        self.say(self.pick(which), Said(decision, answer="no need"), by)

    @precondition(lambda self: self.asker.approvals(self.job_id))
    @rule(which=PICK, by=WHO)
    def speak_about_what_is_over(self, which: int, by: str) -> None:
        """Somebody says yes on a page that was loaded long ago."""
        every = self.asker.approvals(self.job_id)
        asked = every[which % len(every)]
        if asked.state.value != "pending":
            became = self.say(asked, Said(Decision.APPROVE), by)
            assert became in (Became.CLOSED, Became.AGAIN, Became.DENIED)

    def say(self, asked: ApprovalRow, said: Said, by: str, args: Any = None) -> Became:
        viewer = self.household.viewer
        with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
            return decide(
                tx, viewer.desk.registry, viewer.tenant_id, asked, asked.args_sha256, said,
                args=args, by=by, roles=PEOPLE[by],
            )  # fmt: skip

    def hear(self, asked: ApprovalRow, by: str, *, remember: bool = False) -> None:
        roles = frozenset(asked.role.split(" & ")) if asked.role else frozenset[str]()
        version = self.version_of[asked.tool_sha256]
        said = (asked.args["amount"], version, by, asked.tier.value, roles, remember)
        word = Word(asked.seq, asked.n, *said)
        assert word.is_entitled, word
        self.words.append(word)

    @property
    def version_of(self) -> dict[str, int]:
        return {make_pay(None, version).sha256: version for version in (1, 2)}

    # --- the work ---------------------------------------------------------------------------------

    @rule()
    def work(self) -> None:
        """Let a worker have every step that is ready, and look at what was done."""
        while self.steps_in(StepState.READY):
            self.run_one(0)

    @precondition(lambda self: self.steps_in(StepState.READY))
    @rule(which=PICK)
    def run_one(self, which: int) -> None:
        ready = self.steps_in(StepState.READY)
        seq = ready[which % len(ready)]
        self.seen["tried after a denial was lifted"] += self.is_denial_lifted(seq)
        self.see_through(seq)
        self.learn_what_was_planned()
        self.check_what_was_paid()

    def see_through(self, seq: int) -> None:
        """Ring for the step until a worker has had it: one that is in doubt takes none."""
        before = self.step(seq)

        def is_taken() -> bool:
            self.household.run_step(self.job_id, seq)
            now = self.step(seq)
            return (now.state, now.epoch) != (before.state, before.epoch)

        eventually(is_taken)

    def step(self, seq: int) -> CheckpointRow:
        return self.household.viewer.steps(self.job_id)[seq - 1]

    def is_denial_lifted(self, seq: int) -> bool:
        planned = self.planned.get(seq)
        if planned is None or planned.need.verdict != "deny":
            return False
        return self.need_now(planned.amount).verdict == "allow"

    def need_now(self, amount: int) -> Need:
        laws = in_force(self.policy, list(self.of_tenant.values()))
        return need_of(laws, amount, self.line)

    def learn_what_was_planned(self) -> None:
        for step in tool_steps(self.household.viewer, self.job_id):
            if step.seq not in self.planned:
                amount = step.input["args"]["amount"]
                self.planned[step.seq] = Planned(amount, self.need_now(amount))

    def check_what_was_paid(self) -> None:
        lines = self.lines()
        for line in lines[self.read :]:
            told = json.loads(line)
            assert told["job"] == str(self.job_id)
            self.check_payment(int(told["key"].rpartition(":")[2]), told["amount"])
        self.read = len(lines)

    def check_payment(self, seq: int, amount: int) -> None:
        planned = self.planned[seq]
        planned.paid.append(amount)
        assert len(planned.paid) == 1, f"step {seq} was called with {planned.paid}"
        need = self.need_now(amount).with_(planned.need)
        assert need.verdict != "deny"
        given = self.given_for(seq, amount, need)
        assert given >= need.quorum, (need, self.words)
        if need.verdict == "allow" and not given:
            assert amount == planned.amount, "nobody has edited it"
        self.seen[f"paid under {need.verdict}"] += 1
        self.seen["paid after an edit"] += amount != planned.amount
        self.seen["paid below another job"] += len(self.line) > 1
        self.seen["paid by a quorum"] += need.quorum > 1
        own = [word for word in self.words if (word.seq, word.amount) == (seq, amount)]
        self.seen["paid as remembered"] += need.verdict != "allow" and not own

    def given_for(self, seq: int, amount: int, need: Need) -> int:
        """How many have said yes to this call, where it was asked about once, in answer to one
        question; leave to repeat it counts where all of them gave it."""
        questions: defaultdict[tuple[int, int], list[Word]] = defaultdict(list)
        for word in self.words:
            if (word.amount, word.version) == (amount, self.version):
                questions[word.seq, word.n].append(word)
        counts = [0]
        for (of_seq, _), words in questions.items():
            if of_seq == seq or all(word.remember for word in words):
                counts.append(len({word.by for word in words if self.is_enough(word, need)}))
        return max(counts)

    def is_enough(self, word: Word, need: Need) -> bool:
        """Whether this yes is one that the need counts."""
        if need.verdict == "approve":
            return word.tier == "approve" and need.roles <= PEOPLE[word.by]
        return True

    # --- looking ----------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        return self.ledger.read_text().splitlines() if self.ledger.exists() else []

    def steps_in(self, state: StepState) -> list[int]:
        return [s.seq for s in self.household.viewer.steps(self.job_id) if s.state is state]

    def pending(self) -> list[ApprovalRow]:
        found = self.asker.approvals(self.job_id)
        return [each for each in found if each.state.value == "pending"]

    def pick(self, which: int) -> ApprovalRow:
        found = self.pending()
        return found[which % len(found)]

    def teardown(self) -> None:
        """All say yes to what is left, or nobody says a word; the job ends, its books are right."""
        if not hasattr(self, "job_id"):
            return
        try:
            for _ in range(STEPS_MAX):
                self.work()
                while self.ends_well and self.pending():
                    self.all_approve(0, remember=False)
                self.asker.let_expire(self.job_id)
            assert self.household.viewer.job(self.job_id).status.is_ended
            self.asker.check_approvals(self.job_id)
        finally:
            for rule_id in sorted(self.of_tenant):
                self.drop(rule_id)
        self.seen["not paid"] += sum(not each.paid for each in self.planned.values())


EXPECTED = {
    "paid under allow",
    "paid under confirm",
    "paid under approve",
    "paid after an edit",
    "paid below another job",
    "paid by a quorum",
    "paid as remembered",
    "not paid",
    "tried after a denial was lifted",
    "expired",
}


def test_no_path_makes_a_call_that_asks_for_more_than_was_granted(
    household: Household, ledger: Path
) -> None:
    viewer = household.viewer
    Payments.household, Payments.ledger, Payments.seen = household, ledger, Counter()
    Payments.asker = Asker(viewer.desk.doors, viewer.tenant_id)
    run_state_machine_as_test(
        Payments,
        settings=settings(
            max_examples=300,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            # A failure is told as it was found: to make it shorter takes minutes.
            phases=[Phase.generate],
            database=None,
        ),
    )
    missing = EXPECTED - {what for what, count in Payments.seen.items() if count}
    assert not missing, Payments.seen
