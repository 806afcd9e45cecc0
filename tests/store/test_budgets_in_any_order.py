"""Every order of what steps, children, people and the clock do to budgets, against plain sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from store.budgets import Raised, Reserved, Shortfall
from store.doors import Doors
from store.transitions import Claim
from tests.budgeting import JOB, STEPS, TENANT, TREE, USD, Bookkeeper, bounded_child
from tests.stepping import COMPLETED, MODEL, call, child, delegate

PICK = st.integers(min_value=0, max_value=1_000)
# Dollars down to the billionth, from nothing to more than any cap.
MONEY = st.integers(min_value=0, max_value=2_500_000_000).map(lambda n: Decimal(n) / 10**9)
NOTHING = Decimal(0)


@dataclass
class Purse:
    """One job's money: what it may use, and what became of it."""

    job_id: UUID
    cap: Decimal
    parent: Purse | None = None
    spent: Decimal = NOTHING
    # By step: what is set aside for it.
    reserved: dict[int, Decimal] = field(default_factory=dict)
    children: list[Purse] = field(default_factory=list)
    is_over: bool = False

    @property
    def lent(self) -> Decimal:
        return sum((each.cap for each in self.children if not each.is_over), NOTHING)

    @property
    def left(self) -> Decimal:
        """Below zero when more was used than was set aside."""
        return self.cap - self.spent - sum(self.reserved.values(), NOTHING) - self.lent

    @property
    def has_children(self) -> bool:
        return not all(each.is_over for each in self.children)

    def end(self) -> None:
        """Tell the parent, which has what was lent again and has spent what was spent."""
        self.is_over = True
        if self.parent is not None:
            self.parent.spent += self.spent

    def line(self) -> list[Purse]:
        return [self, *(each for child in self.children for each in child.line())]


class Budgets(RuleBasedStateMachine):
    """A line of jobs with a cap, in a tenant with a cap."""

    doors: ClassVar[Doors]
    tenant_id: ClassVar[UUID]

    @initialize(cap=MONEY, of_tree=MONEY, of_tenant=MONEY)
    def begin(self, cap: Decimal, of_tree: Decimal, of_tenant: Decimal) -> None:
        self.books = Bookkeeper(self.doors, self.tenant_id)
        self.worker = self.books.start_worker()
        job_id = self.books.put_down([call(n) for n in range(4)])
        self.books.endow(job_id, JOB, usd=cap)
        self.books.endow(job_id, TREE, usd=of_tree, steps=9)
        self.books.cap_tenant(TENANT, usd=0)
        before = self.tenant_spent()
        self.tenant_cap, self.tree_cap = before + of_tenant, of_tree
        self.books.cap_tenant(TENANT, usd=self.tenant_cap)
        self.root = Purse(job_id, cap)
        self.before, self.spent, self.steps = before, NOTHING, 0
        self.held: list[tuple[Purse, Claim]] = []
        self.claim_all(self.root, 4)

    def tenant_spent(self) -> Decimal:
        return self.books.account(self.tenant_id, USD, TENANT).spent

    def claim_all(self, purse: Purse, steps: int) -> None:
        for seq in range(1, steps + 1):
            self.held.append((purse, self.books.take(purse.job_id, seq, self.worker)))

    # --- steps ------------------------------------------------------------------------------------

    @precondition(lambda self: self.held)
    @rule(which=PICK, usd=MONEY)
    def reserve(self, which: int, usd: Decimal) -> None:
        purse, held = self.pick(which)
        found = self.books.reserve(held, usd=usd)
        if held.seq in purse.reserved:
            assert found is Reserved.RESERVED
            return
        lefts = {JOB: purse.left, TENANT: self.left_of_tenant(), TREE: self.left_of_tree()}
        short = [scope for scope, left in lefts.items() if usd > left]
        short += [TREE] if self.steps + self.set_aside_steps() >= 9 else []
        if short:
            assert isinstance(found, Shortfall)
            assert found.scope in short
        else:
            assert found is Reserved.RESERVED
            purse.reserved[held.seq] = usd

    @precondition(lambda self: self.held)
    @rule(which=PICK, usd=st.none() | MONEY, outcome=st.sampled_from(["done", "done", "failed"]))
    def settle(self, which: int, usd: Decimal | None, outcome: str) -> None:
        """Used more than was set aside, or less, or nobody knows what it cost."""
        purse, held = self.pick(which)
        is_last = sum(other is purse for other, _ in self.held) == 1
        if is_last and purse.has_children:
            return  # What becomes of them is tried out elsewhere.
        self.held.remove((purse, held))
        if outcome == "failed" and is_last:
            self.books.fail(held)
            usd = NOTHING
        elif is_last:
            self.books.spend(held, usd=usd, ending=COMPLETED)
        else:
            self.books.spend(held, usd=usd, is_joining=True, plan=(MODEL,))
        self.count(purse, held, usd)
        if is_last:
            purse.end()

    def count(self, purse: Purse, held: Claim, usd: Decimal | None) -> None:
        set_aside = purse.reserved.pop(held.seq, None)
        if set_aside is None:
            return
        used = set_aside if usd is None else usd
        purse.spent += used
        self.spent += used
        self.steps += 1

    @precondition(lambda self: self.held)
    @rule(which=PICK)
    def hand_back(self, which: int) -> None:
        """A try that failed: its reservation stays with the step."""
        purse, held = self.pick(which)
        self.books.release(held)
        self.held.remove((purse, held))
        self.held.append((purse, self.books.take(held.job_id, held.seq, self.worker)))

    @rule()
    def crash(self) -> None:
        """The worker is lost; another takes all its steps over, and what was set aside for them."""
        zombies = [held for _, held in self.held]
        self.books.lose(self.worker)
        self.worker = self.books.start_worker()
        self.held = [
            (purse, self.books.take(held.job_id, held.seq, self.worker))
            for purse, held in self.held
        ]
        for zombie in zombies:
            assert self.books.reserve(zombie, usd=0) is None

    # --- children ---------------------------------------------------------------------------------

    @precondition(lambda self: self.may_bear())
    @rule(which=PICK, asked=st.lists(st.none() | MONEY, min_size=1, max_size=3))
    def bear(self, which: int, asked: list[Decimal | None]) -> None:
        purse, held = self.pick(which)
        is_last = sum(other is purse for other, _ in self.held) == 1
        if is_last or held.seq in purse.reserved:
            return  # The last step stays, so that the job has one to end by.
        born = [child() if usd is None else bounded_child(usd=usd) for usd in asked]
        left = max(NOTHING, purse.left)
        share = (left / (len(born) + 1)).quantize(Decimal("1e-9"), "ROUND_FLOOR")
        self.books.park(held, delegate(*born))
        self.held.remove((purse, held))
        wants = [share if usd is None else usd for usd in asked]
        # Who wants least comes first, so that what is left of an equal part is for the others.
        in_turn = sorted(zip(wants, born, strict=True), key=lambda pair: pair[0])
        for n, (want, each) in enumerate(in_turn, start=1):
            part = (left / (len(born) - n + 1)).quantize(Decimal("1e-9"), "ROUND_FLOOR")
            cap = min(want, max(part, left - sum((w for w, _ in in_turn[n:]), NOTHING)))
            left -= cap
            purse.children.append(Purse(each.id, cap, purse))
            assert self.books.account(each.id, USD).cap == cap
        for born_purse in purse.children[-len(born) :]:
            self.claim_all(born_purse, 1)

    def may_bear(self) -> bool:
        return len(self.held) > 1 and len(self.root.line()) < 10

    # --- people and the clock ---------------------------------------------------------------------

    @rule(which=PICK, by=MONEY)
    def raise_cap(self, which: int, by: Decimal) -> None:
        line = [purse for purse in self.root.line() if not purse.is_over]
        if not line:
            return
        purse = line[which % len(line)]
        room = None if purse.parent is None else purse.parent.left
        found = self.books.raise_cap(purse.job_id, USD, by)
        if room is not None and room < by:
            assert found is Raised.PARENT
        else:
            assert found is Raised.RAISED
            purse.cap += by

    @rule()
    def walk_the_round(self) -> None:
        """What was settled by commits is not settled again."""
        self.books.settle_rest()

    def teardown(self) -> None:
        """Cancel what is left: after the rounds of the scheduler nothing is set aside or lent."""
        if not hasattr(self, "books"):
            return
        self.books.lose(self.worker)
        for purse in self.root.line():
            self.books.cancel(purse.job_id)
        while self.books.settle_rest():
            pass
        assert self.books.discrepancies() == []
        assert self.books.standing(self.root.job_id, USD)[:2] == (0, 0)
        assert self.books.standing(self.tenant_id, USD, TENANT)[:2] == (0, 0)
        assert self.tenant_spent() == self.before + self.spent

    # --- how it has to be -------------------------------------------------------------------------

    @invariant()
    def sums_are_as_in_the_head(self) -> None:
        if not hasattr(self, "root"):
            return
        assert self.books.discrepancies() == []
        for purse in self.root.line():
            reserved = sum(purse.reserved.values(), NOTHING)
            standing = self.books.standing(purse.job_id, USD)
            assert standing == (reserved, purse.lent, purse.spent)
            assert self.books.account(purse.job_id, USD).cap == purse.cap
        everything = self.set_aside()
        tree = self.books.standing(self.root.job_id, USD, TREE)
        assert tree == (everything, NOTHING, self.spent)
        of_tenant = self.books.standing(self.tenant_id, USD, TENANT)
        assert of_tenant == (everything, NOTHING, self.before + self.spent)
        counted = self.books.standing(self.root.job_id, STEPS, TREE)
        assert counted == (self.set_aside_steps(), 0, self.steps)

    def set_aside(self) -> Decimal:
        line = self.root.line()
        return sum((usd for purse in line for usd in purse.reserved.values()), NOTHING)

    def set_aside_steps(self) -> int:
        return sum(len(purse.reserved) for purse in self.root.line())

    def left_of_tree(self) -> Decimal:
        return self.tree_cap - self.spent - self.set_aside()

    def left_of_tenant(self) -> Decimal:
        return self.tenant_cap - self.before - self.spent - self.set_aside()

    def pick(self, which: int) -> tuple[Purse, Claim]:
        return self.held[which % len(self.held)]


def test_in_any_order_the_books_add_up(doors: Doors, tenant: UUID) -> None:
    Budgets.doors, Budgets.tenant_id = doors, tenant
    run_state_machine_as_test(
        Budgets,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
