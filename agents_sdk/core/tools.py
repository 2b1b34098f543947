"""Capabilities as the tools of a language model: definitions in its vendor's form, its calls read, results told to it.

Pure. The forms: OpenAI's chat completions (``tools``, ``tool_calls``, role ``tool``), Anthropic's messages (``tools``,
``tool_use``, ``tool_result``) and the Model Context Protocol (``tools/list``, ``tools/call``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import msgspec

Format: TypeAlias = Literal["openai", "anthropic", "mcp"]
FORMATS: Final[tuple[str, ...]] = get_args(Format)
CLUTTER: Final = frozenset({"title", "$schema", "$id", "$comment", "examples", "deprecated"})
"""Words of a schema that tell a model nothing about how to fill it in."""
LEFT_TO_THE_CHECK: Final = frozenset(
    {"additionalProperties", "minLength", "maxLength", "minItems", "maxItems", "pattern", "uniqueItems"}
)
"""Bounds that hardly a call breaks and that cost tokens in each: the executor checks them, and names the one that is
broken."""


class ToolCall(NamedTuple):
    """What a model asks for."""

    capability: str
    params: Any
    id: str
    """The model's own name of the call; its answer names it again."""
    problem: str = ""
    """Why it cannot be read; told to the model, which may try again."""


def definition(name: str, description: str, params: Mapping[str, Any], format: Format) -> dict[str, Any]:
    """The tool definition of a capability. Raises ValueError for a format that there is not."""
    schema = compact(params)
    if format == "openai":
        return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}
    if format == "anthropic":
        return {"name": name, "description": description, "input_schema": schema}
    if format == "mcp":
        return {"name": name, "description": description, "inputSchema": schema}
    raise ValueError(f"format is {format!r}; use one of {', '.join(FORMATS)}")


def compact(schema: Any) -> Any:
    """The schema without what a model does not need; what it allows is allowed by the whole one too, but for bounds."""
    if isinstance(schema, list):
        return [compact(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    found: dict[str, Any] = {}
    for key, part in schema.items():
        if key in ("properties", "$defs", "patternProperties"):
            found[key] = {name: compact(of) for name, of in part.items()}
        elif key in ("enum", "const", "default", "required"):
            found[key] = part
        elif key not in CLUTTER | LEFT_TO_THE_CHECK:
            found[key] = compact(part)
    return found


def read_call(call: Any, format: Format | None = None) -> ToolCall:
    """A model's tool call: an entry of OpenAI's ``tool_calls``, a block ``tool_use`` of Anthropic's, or the params of
    MCP's ``tools/call``, as data or as the object of the vendor's library. ``format`` None: told by its shape."""
    given = _data(call)
    form = format or format_of(given)
    if form == "openai":
        function = given.get("function", given)
        name, arguments = function.get("name", ""), function.get("arguments", "")
        call_id = given.get("id") or given.get("call_id") or ""
    elif form == "anthropic":
        name, arguments, call_id = given.get("name", ""), given.get("input", {}), given.get("id", "")
    else:
        name, arguments, call_id = given.get("name", ""), given.get("arguments", {}), ""
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments) if arguments.strip() else {}
        except msgspec.DecodeError as error:
            return ToolCall(name, {}, call_id, f"the arguments are no JSON: {error}")
    if not isinstance(arguments, Mapping):
        return ToolCall(name, {}, call_id, f"the arguments are no object but {type(arguments).__name__}")
    return ToolCall(name, dict(arguments), call_id)


def format_of(call: Mapping[str, Any]) -> Format:
    """Whose form a tool call has."""
    if "function" in call or call.get("type") in ("function", "function_call"):
        return "openai"
    return "anthropic" if "input" in call else "mcp"


def result_message(call: ToolCall, format: Format, result: Any, *, error: str = "") -> dict[str, Any]:
    """What the model is told: the result as JSON, or, with ``error``, why there is none."""
    text = error or msgspec.json.encode(result).decode()
    if format == "openai":
        return {"role": "tool", "tool_call_id": call.id, "content": f"error: {error}" if error else text}
    if format == "anthropic":
        return {"type": "tool_result", "tool_use_id": call.id, "content": text} | ({"is_error": True} if error else {})
    content: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": bool(error)}
    return content | ({"structuredContent": result} if isinstance(result, Mapping) and not error else {})


def _data(call: Any) -> Mapping[str, Any]:
    """Libraries give pydantic models; everybody else gives mappings."""
    if isinstance(call, Mapping):
        return call
    dump = getattr(call, "model_dump", None)
    if dump is None:
        raise TypeError(f"a tool call is a mapping or a model of its vendor's library, not {type(call).__name__}")
    dumped: Mapping[str, Any] = dump()
    return dumped
