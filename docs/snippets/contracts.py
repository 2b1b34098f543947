"""Contracts of state and messages. Apply them with ``backplane contracts apply contracts.py``."""

from pydantic import BaseModel

from agents_sdk import MessageContract, StateContract


class SearchDone(BaseModel):
    """The data of messages ``search.*``."""

    count: int


NOTES = StateContract("notes/*", list[str], reducer="append", workflow="reports")
DONE = MessageContract("search.*", SearchDone, workflow="reports")
