"""Laws of signatures: what was signed is what is read, and whatever is changed afterwards is found."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.core.commands import Command, StateBody
from agents_sdk.core.identity import Proof, first_generation
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.wire.codec import Undecodable
from agents_sdk.wire.signature import LENGTH, Verifier, derive, sign
from tests.properties.test_codec import CODEC, any_command

MASTER = b"m" * LENGTH
VERIFIER = Verifier(MASTER)


@st.composite
def unsigned(draw: Any) -> Command:
    """Any command, stamped with a generation that its sender can have."""
    command = draw(any_command())
    generation = first_generation(command.agent) and draw(st.integers(1, 9))
    stamped: Command = msgspec.structs.replace(command, signature=b"", key_generation=generation)
    return stamped


def signed(command: Command, master: bytes = MASTER) -> bytes:
    return sign(CODEC.encode(command), derive(master, command.agent, command.key_generation))


def proof(data: bytes) -> Proof | None:
    """None where the bytes are no command at all."""
    try:
        command = CODEC.decode(data)
    except Undecodable:
        return None
    return VERIFIER.proof(data, command) if isinstance(command, Command) else None


@given(unsigned())
def test_signed_command_is_the_command_that_was_signed(command: Command) -> None:
    """It decodes to the same command, ends with the length and 32 bytes, and its signature is good."""
    data = signed(command)
    read = CODEC.decode(data)
    assert isinstance(read, Command)
    assert msgspec.structs.replace(read, signature=b"") == command
    assert data[:-33] + b"\0" == CODEC.encode(command)
    assert (data[-33], data[-32:]) == (0x40, read.signature)
    assert proof(data) is Proof.GOOD


@given(unsigned())
def test_command_without_signature_is_unsigned(command: Command) -> None:
    """Neither good nor forged: whether that is enough is not for the verifier to say."""
    assert proof(CODEC.encode(command)) is Proof.UNSIGNED


@given(unsigned(), st.data())
def test_any_flipped_bit_is_found(command: Command, data: st.DataObject) -> None:
    """Wherever it is: in the header, in a field, in the length or in the signature."""
    whole = bytearray(signed(command))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    assert proof(bytes(whole)) is not Proof.GOOD


@given(unsigned(), st.data())
def test_cut_and_lengthened_commands_are_found(command: Command, data: st.DataObject) -> None:
    """Bytes that are missing at the end, and bytes behind it, which the decoder does not look at."""
    whole = signed(command)
    assert proof(whole[: data.draw(st.integers(0, len(whole) - 1))]) is not Proof.GOOD
    assert proof(whole + data.draw(st.binary(min_size=1, max_size=40))) is not Proof.GOOD


@given(unsigned(), unsigned())
def test_signature_of_another_command_is_found(one: Command, other: Command) -> None:
    """A signature moved from one command to another proves nothing."""
    if one != other:
        assert proof(signed(one)[:-32] + signed(other)[-32:]) is Proof.FORGED


@given(unsigned())
def test_key_of_another_platform_is_found(command: Command) -> None:
    """So is a command that was signed with a key of another master key."""
    assert proof(signed(command, b"x" * LENGTH)) is Proof.FORGED


@given(unsigned(), st.integers(-1, 9))
def test_key_of_another_generation_is_found(command: Command, generation: int) -> None:
    """The generation is signed too: a key cannot pass for the next one."""
    if generation != command.key_generation:
        claimed = msgspec.structs.replace(command, key_generation=generation)
        key = derive(MASTER, command.agent, command.key_generation)
        assert proof(sign(CODEC.encode(claimed), key)) is Proof.FORGED


@given(st.text(max_size=20), st.text(max_size=20), st.integers(0, 99), st.integers(0, 99))
def test_keys_differ_by_name_and_generation(one: str, other: str, first: int, second: int) -> None:
    """No two of them share a key, whatever the names hold."""
    same = (one, first) == (other, second)
    assert (derive(MASTER, one, first) == derive(MASTER, other, second)) is same


def test_key_is_that_of_the_standard() -> None:
    """The first block of HKDF-Expand (RFC 5869 §2.3), its HMAC written out as RFC 2104 does."""
    inner, outer = (bytes(byte ^ pad for byte in MASTER.ljust(64, b"\0")) for pad in (0x36, 0x5C))
    message = b"bp-agent/research/3" + bytes((1,))
    expected = sha256(outer + sha256(inner + message).digest()).digest()
    assert derive(MASTER, "research", 3) == expected


def test_signing_twice_is_refused() -> None:
    """The second signature would cover the first, and nobody would look for that."""
    command = Command(
        command_id=CommandId("c"),
        kind="GetState",
        run_id=RunId("r"),
        agent="a",
        correlation_id="r",
        state=StateBody(key="k"),
    )
    with pytest.raises(ValueError, match="signature already"):
        sign(sign(CODEC.encode(command), MASTER), MASTER)


def test_agents_and_the_platform_have_no_keys_in_common() -> None:
    """A generation 0 of an agent and a generation 1 of the platform do not count, whoever derived them."""
    body = StateBody(key="k")
    for agent, generation in (("research", 0), ("research", -1), ("bp.executor", 1)):
        command = Command(
            command_id=CommandId("c"), kind="GetState", run_id=RunId("r"), agent=agent, correlation_id="r", state=body
        )
        assert proof(signed(msgspec.structs.replace(command, key_generation=generation))) is Proof.FORGED
