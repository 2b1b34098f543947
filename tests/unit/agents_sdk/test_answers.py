"""A refusal is raised as the error of its code, with the fields of its fact."""

from __future__ import annotations

import pytest

from agents_sdk import answers
from agents_sdk.core.commands import BODY_OF_KIND, CallBody, Command, MessageBody, RunBody, StateBody
from agents_sdk.core.facts import Reply
from agents_sdk.core.ids import CallId, CommandId, RunId
from agents_sdk.errors import REFUSALS, Refused, VersionConflict


def reply(**fields: str) -> Reply:
    return Reply(command_id="c", reply_to="me", status="refused", **fields)  # type: ignore[arg-type]  # all strings


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_every_code_has_its_error(code: str) -> None:
    """The table of codes is the table of classes."""
    with pytest.raises(REFUSALS[code]) as refused:
        answers.checked(reply(code=code, message="no", detail='{"a":1}'))

    assert type(refused.value) is REFUSALS[code]
    assert refused.value.fields == {"a": 1}


def test_code_of_a_newer_ledger_is_a_refusal_all_the_same() -> None:
    """Old clients understand no."""
    with pytest.raises(Refused) as refused:
        answers.checked(reply(code="brand_new", message="no"))

    assert refused.value.fields["code"] == "brand_new"


def test_fields_named_like_parameters_of_the_error_do_no_harm() -> None:
    """Fields come from the wire, where any name may come."""
    with pytest.raises(VersionConflict) as refused:
        answers.checked(
            reply(code="version_conflict", message="no", detail='{"message":"m","hint":1,"current_version":7}')
        )

    assert refused.value.message == "no"
    assert refused.value.current_version == 7


@pytest.mark.parametrize(
    ("kind", "body", "said", "about"),
    [
        ("AwaitRun", RunBody(), "run r has not ended in the time allowed; it goes on", "r"),
        (
            "AwaitChild",
            RunBody(child_run_id=RunId("c1")),
            "child run c1 has not ended in the time allowed; it goes on",
            "c1",
        ),
        ("Ask", MessageBody(name="go", recipient="bob"), "'bob' has not answered 'go' in time; run r goes on", "r"),
        ("CallCapability", CallBody(capability="search"), "the call of 'search' has no outcome", "r"),
        ("RedriveCall", CallBody(capability="", dead_call_id=CallId("x")), "the call has no outcome", "r"),
    ],
)
def test_a_wait_that_is_over_says_what_goes_on_and_how_to_look_again(
    kind: str, body: object, said: str, about: str
) -> None:
    """Nothing has failed: whoever waits may wait again."""
    command = Command(command_id="c", kind=kind, run_id="r", agent="a", correlation_id="", **{BODY_OF_KIND[kind]: body})  # type: ignore[arg-type]  # the body of the kind
    error = answers.unanswered(command)
    assert said in error.message
    assert f"`backplane run {about}`" in error.hint
    assert error.fields["run_id"] == about


def test_a_command_without_an_answer_may_be_sent_again() -> None:
    """Other kinds wait for the ledger alone."""
    command = Command(
        command_id=CommandId("c"),
        kind="SetState",
        run_id=RunId("r"),
        agent="a",
        correlation_id="",
        state=StateBody(key="k"),
    )
    assert "sending the same command again is safe" in answers.unanswered(command).hint
