"""A refusal is raised as the error of its code, with the fields of its fact."""

from __future__ import annotations

import pytest

from agents_sdk import answers
from agents_sdk.core.facts import Reply
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
