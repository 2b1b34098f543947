"""What Kafka's users may do, as it follows from the topic files."""

from __future__ import annotations

from backplane.topics.acls import acls, agent_acls, commands


def test_nobody_but_the_ledger_writes_what_the_ledger_says() -> None:
    """Facts, deliveries and answers; and no part writes what another one is believed for."""
    writers = {(each.name, each.user) for each in acls() if each.resource == "topic" and each.operation == "write"}
    for topic in ("bp.calls", "bp.state", "bp.replies", "bp.replies.", "bp.inbox."):
        assert [user for name, user in writers if name == topic] == ["bp.ledger"], topic
    assert {user for name, user in writers if name == "bp.capabilities"} == {"bp.executor"}


def test_an_agent_writes_commands_and_reads_its_own_alone() -> None:
    """By whole names: what one agent's name begins with is another agent's."""
    mine = agent_acls("a")
    assert [each.name for each in mine if each.operation == "write"] == ["bp.commands"]
    assert not [each for each in mine if each.prefixed]
    read = {each.name for each in mine if each.operation == "read" and each.resource == "topic"}
    assert read == {"bp.inbox.a", "bp.replies.a", "bp.capabilities", "bp.switches", "bp.providers"}


def test_permissions_are_said_in_words_of_kafkas_own_tool() -> None:
    """One line each."""
    (line, *_) = commands(agent_acls("a"))
    assert line == "kafka-acls.sh --add --allow-principal 'User:a' --operation read --group bp.agent.a"
