"""A budget that cannot be exceeded. A page costs 0.02 USD and the agent has 0.05 USD, so two pages are translated.

backplane capabilities apply manifests/
backplane agents run budget.py
backplane start translation --input '{"pages": ["one", "two", "three"]}' --wait
"""

from typing import Any

from agents_sdk import Agent, BudgetExceeded, Context, Event

translator = Agent(
    "translator",
    workflows=["translation"],
    writes=["pages.*", "left_out"],
    capabilities=["translate"],
    budget="0.05 USD",
    call_budgets={"translate": "0.02 USD"},
)


@translator.on("run.started")
async def translate_all(ctx: Context, event: Event) -> None:
    pages: list[str] = event.data["pages"]
    for number, page in enumerate(pages):
        try:
            # The ledger reserves the money before the provider is asked.
            translated = await ctx.execute("translate", {"text": page})
        except BudgetExceeded as over:
            await ctx.decide("stop", rationale=f"{over.left_nano_usd / 1e9:.2f} USD are left, a page costs 0.02 USD")
            await ctx.state.set("left_out", pages[number:])
            return
        await ctx.state.set(f"pages.{number}", translated.result["text"])


def translate(params: dict[str, Any], context: Any) -> dict[str, Any]:
    """The provider: a stand-in for a service that bills each call."""
    return {"text": params["text"][::-1]}
