"""A test of the agents of ``hello.py`` on a running platform: real handlers, real log, no mock."""

from hello import research, writer

from agents_sdk import AgentsRunner, AsyncBackplane


async def test_the_summary_names_each_source() -> None:
    """From the input to the last state, by the same client that production uses."""
    runner = AgentsRunner([research, writer])
    await runner.start()
    try:
        async with AsyncBackplane.connect(name="test") as backplane:
            run = await backplane.start_run("hello", {"topic": "event streaming"})
            outcome = await run.wait(timeout=60)
            summary: str = await run.state.get("summary")
    finally:
        await runner.close()

    assert outcome.status == "completed", outcome.reason
    assert summary.count(" · ") == 2
