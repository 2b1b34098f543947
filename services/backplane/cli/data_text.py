"""rich's ``Text`` for what others wrote: shown as it is, with nothing in it that rich or a terminal would obey."""

from __future__ import annotations

from typing import Any

from rich.text import Text as RichText

from backplane.cli.shown import escaped


class Text(RichText):
    """Escapes whatever comes in; ``assemble`` too."""

    def __init__(self, text: str = "", *args: Any, **options: Any) -> None:
        super().__init__(escaped(text, keep="\n"), *args, **options)

    def append(self, text: Any, style: Any = None) -> Text:
        """As rich's."""
        super().append(escaped(text, keep="\n") if isinstance(text, str) else text, style)
        return self

    @classmethod
    def assemble(cls, *parts: Any, **options: Any) -> Text:
        """As rich's."""
        made = super().assemble(*parts, **options)
        assert isinstance(made, cls)
        return made
