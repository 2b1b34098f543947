"""A tool that must not run twice: a refund. Kill any process in the middle, and the money moves once or not at all.

backplane capabilities apply manifests/
backplane agents run unsafe_tool.py
backplane start refunds --input '{"order": "A-17", "amount": 40}' --wait
"""

import json
from pathlib import Path
from typing import Any

from agents_sdk import Agent, Context, Event, OutcomeUnknown

cashier = Agent("cashier", workflows=["refunds"], writes=["refund.*"], capabilities=["refund"])


@cashier.on("run.started")
async def pay_back(ctx: Context, event: Event) -> None:
    order = event.data["order"]
    try:
        paid = await ctx.execute("refund", {"order": order, "amount": event.data["amount"]})
    except OutcomeUnknown as unknown:  # nobody can say whether the money moved: a person has to look
        await ctx.fail_run(f"refund of {order} is unclear: {unknown}")
        return
    await ctx.state.set(f"refund.{order}", paid.result["receipt"])


# The provider. It runs in the executor, and ``call_id`` is the same in every attempt at one call.


def refund(params: dict[str, Any], context: Any) -> dict[str, Any]:
    """Moves the money. The bank is a file here."""
    receipt = {"receipt": context.call_id, "order": params["order"], "amount": params["amount"]}
    account = Path(context.data_dir) / "bank" / f"{context.call_id}.json"
    account.parent.mkdir(exist_ok=True)
    account.write_text(json.dumps(receipt))
    return receipt


def refunded(params: dict[str, Any], context: Any) -> bool:
    """Says whether an attempt of unknown outcome moved the money. The executor asks before it tries again."""
    return (Path(context.data_dir) / "bank" / f"{context.call_id}.json").exists()
