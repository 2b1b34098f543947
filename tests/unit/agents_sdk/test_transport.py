"""Commands leave in the order they were issued, at most so many at a time, and each ends with an answer or an error."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from agents_sdk.core.commands import Command, RunBody, StateBody
from agents_sdk.core.facts import Reply
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.errors import InvalidCommand, Overloaded, Oversize, Unanswered, Unreachable
from agents_sdk.transport import Transport
from agents_sdk.wire.codec import RECORDS, Codec

CODEC = Codec({name: number for number, name in enumerate(RECORDS, 1)}, lambda schema_id: {})


class Broker:
    """A producer that keeps what it is given, and refuses what it is told to."""

    def __init__(self) -> None:
        self.sent: list[Command] = []
        self.refuse: Any = None

    def produce(
        self, topic: str, value: bytes, key: bytes, partition: int, told: Any, headers: list[tuple[str, bytes]]
    ) -> None:
        command = CODEC.decode(value)
        assert isinstance(command, Command)
        assert dict(headers)["ce_id"] == command.command_id.encode()
        if self.refuse is not None:
            raise KafkaException(self.refuse)
        self.sent.append(command)

    def poll(self, timeout: float) -> int:
        return 0


class Connected:
    """A transport with that broker in place of Kafka."""

    def __init__(self, max_in_flight: int = 3, **bounds: Any) -> None:
        identity = SimpleNamespace(key_file=None, keys_dir=None, master_file=None)
        settings = SimpleNamespace(limits=SimpleNamespace(max_value_bytes=1000), kafka={}, identity=identity)
        self.transport = Transport(cast("Any", settings), CODEC, "test", max_in_flight=max_in_flight, **bounds)
        self.broker = Broker()
        self.transport._producer = cast("Any", self.broker)
        self.transport._loop = asyncio.get_running_loop()

    def ask(self, name: str, timeout: float | None = 30.0, kind: str = "SetState") -> asyncio.Task[Reply]:
        body: dict[str, Any] = {"run": RunBody()} if kind == "AwaitRun" else {"state": StateBody(key="k", value="1")}
        command = Command(
            command_id=CommandId(name), kind=kind, run_id=RunId("r"), agent="a", correlation_id="r", **body
        )
        return asyncio.get_running_loop().create_task(self.transport.request(command, timeout))

    def answer(self, *names: str) -> None:
        replies = [Reply(command_id=CommandId(name), reply_to="x", status="ok") for name in names]
        self.transport._arrived([CODEC.encode(reply) for reply in replies])

    @property
    def sent(self) -> list[str]:
        return [command.command_id for command in self.broker.sent]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_commands_issued_together_leave_together_in_order() -> None:
    """And each gets its own answer."""
    connected = Connected()
    tasks = [connected.ask(name) for name in "abc"]
    await settle()
    assert connected.sent == ["a", "b", "c"]

    connected.answer("b", "stranger", "a", "c")

    assert [(await task).command_id for task in tasks] == ["a", "b", "c"]


async def test_commands_beyond_the_bound_wait_and_nobody_overtakes_them() -> None:
    """Order of one sender holds under back pressure too."""
    connected = Connected(max_in_flight=3)
    tasks = [connected.ask(name) for name in "abcdefgh"]
    await settle()
    assert connected.sent == ["a", "b", "c"]

    for name in "cab":
        connected.answer(name)
        tasks.append(connected.ask(f"late-{name}"))
        await settle()
        waiting = len(connected.sent) - connected.sent.index(name)
        assert waiting <= 8
    while len(connected.sent) < 11:
        connected.answer(*connected.sent)
        await settle()

    assert connected.sent == [*"abcdefgh", "late-c", "late-a", "late-b"]
    connected.answer(*connected.sent)
    await asyncio.gather(*tasks)


async def test_command_that_just_got_room_is_not_overtaken() -> None:
    """Not even by one that comes before it has run, when there is room for both."""
    connected = Connected(max_in_flight=3)
    tasks = [connected.ask(name) for name in "abcd"]
    await settle()
    connected.answer("a", "b")
    tasks.append(connected.ask("e"))
    await settle()

    assert connected.sent == ["a", "b", "c", "d", "e"]
    connected.answer("c", "d", "e")
    await asyncio.gather(*tasks)


async def test_command_cancelled_when_it_just_got_room_gives_it_back() -> None:
    """Else the bound would shrink with every such accident, to nothing at last."""
    connected = Connected(max_in_flight=1)
    first, second = connected.ask("a"), connected.ask("b")
    await settle()
    connected.answer("a")
    await asyncio.sleep(0)
    second.cancel()
    await settle()
    assert (first.done(), second.cancelled(), connected.sent) == (True, True, ["a"])

    third = connected.ask("c")
    await settle()
    connected.answer("c")
    assert (await asyncio.wait_for(third, 5)).command_id == "c"


async def test_no_more_than_the_bound_are_ever_under_way() -> None:
    """Also when many answers come in one batch."""
    connected = Connected(max_in_flight=3)
    tasks = [connected.ask(str(number)) for number in range(50)]
    answered = 0
    while answered < 50:
        await settle()
        assert len(connected.sent) - answered <= 3
        connected.answer(*connected.sent[answered:])
        answered = len(connected.sent)

    assert [reply.command_id for reply in await asyncio.gather(*tasks)] == [str(number) for number in range(50)]


async def test_cancelled_waiters_give_their_room_back() -> None:
    """Whether they waited for room, had just got it, or waited for the answer."""
    connected = Connected(max_in_flight=1)
    first, second, third = connected.ask("a"), connected.ask("b"), connected.ask("c")
    await settle()
    second.cancel()
    first.cancel()
    await settle()
    assert connected.sent == ["a", "c"]

    connected.answer("c")
    assert (await third).command_id == "c"
    last = connected.ask("d")
    await settle()
    connected.answer("d")
    assert (await last).command_id == "d"


async def test_waiting_for_a_run_takes_no_room() -> None:
    """Else those who wait would starve those they wait for."""
    connected = Connected(max_in_flight=1)
    waiting = [connected.ask(f"await-{number}", None, "AwaitRun") for number in range(5)]
    work = connected.ask("work")
    await settle()

    assert connected.sent[-1] == "work"
    connected.answer(*connected.sent)
    await asyncio.gather(work, *waiting)


async def test_silence_ends_as_unanswered_and_a_late_answer_is_ignored() -> None:
    """Whether it was applied is not known then."""
    connected = Connected()
    task = connected.ask("a", timeout=0.05)
    connected.transport._tick()

    with pytest.raises(Unanswered, match="SetState"):
        await asyncio.wait_for(task, 5)
    connected.answer("a")
    assert connected.transport._ticking is not None
    connected.transport._ticking.cancel()


@pytest.mark.parametrize(
    ("code", "error"), [(KafkaError.MSG_SIZE_TOO_LARGE, Oversize), (KafkaError._QUEUE_FULL, Overloaded)]
)
async def test_command_that_the_driver_refuses_ends_typed(code: int, error: type[Exception]) -> None:
    """No KafkaError leaks out."""
    connected = Connected()
    connected.broker.refuse = KafkaError(code)

    with pytest.raises(error):
        await asyncio.wait_for(connected.ask("a"), 5)


async def test_command_that_broker_fails_later_ends_typed() -> None:
    """The delivery report names the command by its bytes."""
    connected = Connected()
    task = connected.ask("a")
    await settle()
    message = SimpleNamespace(value=lambda: CODEC.encode(connected.broker.sent[0]))
    connected.transport._undelivered(KafkaError(KafkaError._MSG_TIMED_OUT), message)

    with pytest.raises(Unreachable, match="Kafka did not take"):
        await asyncio.wait_for(task, 5)


async def test_field_of_the_wrong_type_is_refused_before_it_is_sent() -> None:
    """The room it took is free again."""
    connected = Connected(max_in_flight=1)
    bad = Command(
        command_id=CommandId("x"),
        kind="GetState",
        run_id=RunId("r"),
        agent="a",
        correlation_id="r",
        state=StateBody(key=5),  # type: ignore[arg-type]  # that is the point
    )
    with pytest.raises(InvalidCommand, match="GetState cannot be encoded"):
        await connected.transport.request(bad, 1.0)

    task = connected.ask("a")
    await settle()
    connected.answer("a")
    assert (await task).command_id == "a"


async def test_undecodable_answer_stops_nobody() -> None:
    """It is said and passed over."""
    connected = Connected()
    task = connected.ask("a")
    await settle()
    connected.transport._arrived([b"junk", CODEC.encode(Reply(command_id=CommandId("a"), reply_to="x", status="ok"))])

    assert (await task).status == "ok"


async def test_who_asks_for_more_than_may_wait_is_told_when_to_come_again() -> None:
    """Nothing of it was sent; those that wait have their turn, in order, and then there is room again."""
    connected = Connected(max_in_flight=2, max_waiting=3)
    tasks = [connected.ask(f"c{number}") for number in range(5)]
    await settle()
    with pytest.raises(Overloaded) as refused:
        await connected.ask("c5")
    error = refused.value
    assert (error.fields["open"], error.fields["limit"], error.code) == (3, 3, "overloaded")
    assert error.retry_after >= 0.1
    for number in range(5):
        connected.answer(f"c{number}")
        await settle()
    assert [reply.status for reply in await asyncio.gather(*tasks)] == ["ok"] * 5
    again = connected.ask("c5")
    await settle()
    connected.answer("c5")
    await again
    assert [command.command_id for command in connected.broker.sent] == [f"c{number}" for number in range(6)]


async def test_what_takes_long_is_bounded_as_well() -> None:
    """Calls and runs that are waited for do not wait for room, so there is a bound of their own."""
    connected = Connected(max_slow=2)
    tasks = [connected.ask(f"c{number}", kind="AwaitRun") for number in range(2)]
    await settle()
    with pytest.raises(Overloaded):
        await connected.ask("c2", kind="AwaitRun")
    connected.answer("c0", "c1")
    await asyncio.gather(*tasks)


async def test_a_full_buffer_is_an_overload() -> None:
    """The broker is slow: the command was not sent, and may be sent again."""
    connected = Connected()
    connected.broker.refuse = KafkaError(KafkaError._QUEUE_FULL)
    with pytest.raises(Overloaded):
        await connected.ask("c0")
