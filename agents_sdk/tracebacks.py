"""A handler's failure, as text that any record takes: the error's own, and where it was raised. Pure."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

TEXT_LIMIT: Final = 2_000
"""Characters of an error's own text; the facts' limit."""
TRACEBACK_LIMIT: Final = 8_000
"""Characters of a traceback; the facts' limit."""
CUT: Final = "\n… cut …\n"
OWN: Final = str(Path(__file__).with_name("worker.py"))
"""The module that calls handlers: its frames say nothing about them."""


def said(error: BaseException) -> str:
    """The error's own text, cut at its end. Trouble of an author's error while its text is made changes nothing."""
    try:
        return _plain(str(error)[:TEXT_LIMIT])
    except Exception as unprintable:  # noqa: BLE001  # whatever an author's code raises here
        return f"its text cannot be made: {type(unprintable).__qualname__}"


def where(error: BaseException) -> str:
    """The traceback, as Python prints it, from the handler on; cut in its middle."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == OWN:
        trace = trace.tb_next
    try:
        text = _plain("".join(traceback.format_exception(type(error), error, trace)))
    except Exception as unprintable:  # noqa: BLE001  # whatever an author's code raises here
        return f"its traceback cannot be made: {type(unprintable).__qualname__}"
    half = (TRACEBACK_LIMIT - len(CUT)) // 2
    return text if len(text) <= TRACEBACK_LIMIT else f"{text[:half]}{CUT}{text[-half:]}"


def _plain(text: str) -> str:
    """The part that UTF-8 can hold."""
    return text.encode("utf-8", "backslashreplace").decode()
