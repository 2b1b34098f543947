"""Budgets: what is reserved of them before anything is spent, and what was spent. Pure; see ``decide`` for the law.

A run may have a budget, and so may each agent in it, by its declaration; a call or a child run draws on both. The
decision that lets it begin reserves its highest cost. The real cost is spent as attempts are recorded, and the rest is
released with its outcome. Reservations are decided in the order of the run, so calls that run side by side cannot
overspend together.

Law: limit = spent + reserved + left of each budget, always. Left is never below 0 as long as no call spends more than
was reserved for it, which is the executor's duty. Work that a run leaves open when it ends, such as an attempt that
nobody can stop any more, stays reserved for good. It counts as spent for its parent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents_sdk.core import kinds
from agents_sdk.core.bounds import SUM_LIMIT
from agents_sdk.core.facts import AttemptEvent, CallEvent, Fact, RunEvent
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.contracts import most_specific
from agents_sdk.core.ledger.rules import budget_of
from agents_sdk.core.ledger.scribe import Refusal
from agents_sdk.core.ledger.state import Account, Call, PartitionState, Run
from agents_sdk.core.money import LIMIT, NO_LIMIT, usd


def check(amount: int, field: str = "budget_nano_usd") -> None:
    """Raises Refusal where this is no amount and not ``NO_LIMIT`` either."""
    if not NO_LIMIT <= amount <= LIMIT:
        message = f"{field} is 0 to {LIMIT} nano-USD, or {NO_LIMIT} for no limit, not {amount}"
        raise Refusal("invalid_command", message, field=field)


def for_call(book: PartitionState, run: Run, agent: str, capability: str, asked: int) -> int:
    """The reservation for a call, nano-USD: its own wish, else the agent's declaration for the capability. Raises
    Refusal as ``reserve``."""
    spec = book.agents.get(agent)
    if asked == NO_LIMIT and spec is not None and spec.call_budgets:
        pattern = most_specific(tuple(spec.call_budgets), capability)
        asked = spec.call_budgets[pattern] if pattern is not None else NO_LIMIT
    return reserve(book, run, agent, asked, f"a call of {capability!r}")


def reserve(book: PartitionState, run: Run, agent: str, asked: int, what: str) -> int:
    """The reservation from the run's and the agent's budget, nano-USD; ``NO_LIMIT`` where neither has one and nothing
    is asked for. A call without an amount gets half of what is left; free work goes on when nothing is left. Raises
    Refusal where more is asked for than is left."""
    check(asked)
    purses = [
        (limit - account.spent - account.reserved, name, limit) for name, limit, account in _purses(book, run, agent)
    ]
    if not purses:
        return asked
    left, name, limit = min(purses)
    if asked == NO_LIMIT:
        return max(left, 0) // 2
    if asked > max(left, 0):
        raise Refusal(
            "budget_exceeded",
            f"{what} asks for {usd(asked)}, and {usd(left)} are left of the {name}'s budget of {usd(limit)}",
            budget=name,
            asked_nano_usd=asked,
            left_nano_usd=left,
            limit_nano_usd=limit,
        )
    return asked


def _purses(book: PartitionState, run: Run, agent: str) -> Iterator[tuple[str, int, Account]]:
    if run.budget != NO_LIMIT:
        yield "run", run.budget, run.account
    limit = budget_of(book, agent)
    if limit != NO_LIMIT:
        yield "agent", limit, run.accounts.get(agent) or Account()


def drawn(run: Run, agent: str, amount: int, changes: Changes) -> None:
    """Folds a reservation in."""
    _move(run, agent, 0, max(amount, 0), changes)


def attempted(run: Run, fact: AttemptEvent, changes: Changes) -> None:
    """Folds in what an attempt cost: out of the reservation of its call, as far as that reaches."""
    cost, call = fact.cost_nano_usd, run.calls.get(fact.call_id)
    if call is None:  # forgotten with its handler: nobody is left to ask whose it was
        changes.assign(run.account, "spent", min(run.account.spent + cost, SUM_LIMIT))
        return
    before = open_part(call)
    changes.assign(call, "spent", min(call.spent + cost, SUM_LIMIT))
    _move(run, call.agent, cost, open_part(call) - before, changes)


def settled(run: Run, call: Call, changes: Changes) -> None:
    """Folds the outcome of a call in, which is not marked as settled yet: what it did not spend is released."""
    _move(run, call.agent, 0, -open_part(call), changes)


def child_ended(run: Run, fact: RunEvent, changes: Changes) -> None:
    """Folds the end of a child in: its slice is released, and what it spent was spent here."""
    child = run.children[fact.child_run_id]
    _move(run, child.agent, fact.spent_nano_usd, -max(child.budget, 0), changes)


def open_part(call: Call) -> int:
    """The remaining reservation for a call, nano-USD."""
    return 0 if call.settled else max(call.budget - call.spent, 0)


def at_end(run: Run, before: Sequence[Fact]) -> tuple[int, int]:
    """(spent, still reserved) of the run after the facts ``before``, which its last command caused and which are not
    folded in yet. Nothing of a run without a budget: nobody draws on anything for it, and runs of before there were
    budgets replay as they were."""
    if run.budget == NO_LIMIT:
        return 0, 0
    spent, reserved = run.account.spent, run.account.reserved
    for fact in before:
        if type(fact) is AttemptEvent:
            spent += fact.cost_nano_usd
        elif type(fact) is CallEvent and fact.kind in kinds.CALL_OUTCOMES:
            reserved -= open_part(run.calls[fact.call_id])
        elif type(fact) is RunEvent and fact.kind == kinds.CHILD_ENDED:
            spent += fact.spent_nano_usd
            reserved -= max(run.children[fact.child_run_id].budget, 0)
    return min(spent, SUM_LIMIT), min(reserved, SUM_LIMIT)


def _move(run: Run, agent: str, spent: int, reserved: int, changes: Changes) -> None:
    if not spent and not reserved:
        return
    account = run.accounts.get(agent)
    if account is None:
        account = Account()
        changes.put(run.accounts, agent, account)
    for each in (run.account, account):
        changes.assign(each, "spent", min(each.spent + spent, SUM_LIMIT))
        changes.assign(each, "reserved", min(each.reserved + reserved, SUM_LIMIT))
