"""Your own model client: a step asks the model once, and its tokens and money are in the books."""

from agents_sdk import Agent, Context, Event, Retry, step

__all__ = ["essayist"]  # the agents of this module

essayist = Agent("essayist", workflows=["own-model"], writes=["draft"])


async def ask_model(topic: str, model: str) -> dict[str, object]:
    """Stands for a call of your client, such as ``client.chat.completions.create(…)``."""
    text = f"All about {topic}."
    return {"model": model, "usage": {"prompt_tokens": 900, "completion_tokens": 60}, "text": text}


@step(retry=Retry(attempts=3), timeout=60, prompt="titles@2")
async def title(topic: str) -> str:
    answer = await ask_model(topic, "gpt-4o-mini")
    step.usage(answer)
    return topic.title()


@essayist.on("run.started")
async def write(ctx: Context, event: Event) -> None:
    topic = event.data["topic"]
    draft = await ctx.model("draft", ask_model, topic, model="gpt-4o-mini", prompt="writer@3")
    await ctx.state.set("draft", {"title": await title(topic), "text": draft["text"], "at": ctx.now().isoformat()})
