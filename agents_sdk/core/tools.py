"""Capabilities as the tools of a language model: definitions in its vendor's form, its calls read, results given to it.

Pure. The forms: OpenAI's chat completions (``tools``, ``tool_calls``, role ``tool``) and responses (``function_call``,
``function_call_output``), Anthropic's messages (``tools``, ``tool_use``, ``tool_result``) and the Model Context
Protocol (``tools/list``, ``tools/call``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from agents_sdk.core.shortened import compact

Format: TypeAlias = Literal["openai", "openai_responses", "anthropic", "mcp"]
FORMATS: Final[tuple[str, ...]] = get_args(Format)


class ToolCall(NamedTuple):
    """A model's request."""

    capability: str
    params: Any
    id: str
    """The model's own name of the call; its answer names it again."""
    problem: str = ""
    """Why it cannot be read; the model gets this, and may try again."""
    form: Format = "mcp"
    """The vendor of its form, by its shape."""


def definition(name: str, description: str, params: Mapping[str, Any], format: Format) -> dict[str, Any]:
    """The tool definition of a capability. Raises ValueError for a format that there is not."""
    schema = compact(params)
    if format == "openai":
        return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}
    if format == "openai_responses":
        # that API makes schemas strict, and refuses those that cannot be, unless a field forbids it
        return {"type": "function", "name": name, "description": description, "parameters": schema, "strict": False}
    if format == "anthropic":
        return {"name": name, "description": description, "input_schema": schema}
    if format == "mcp":
        return {"name": name, "description": description, "inputSchema": schema}
    raise ValueError(f"format is {format!r}; use one of {', '.join(FORMATS)}")


def read_call(call: Any, format: Format | None = None) -> ToolCall:
    """A model's tool call, as data or as the object of the vendor's library. It is an entry of OpenAI's ``tool_calls``,
    an item ``function_call`` of its responses, a block ``tool_use`` of Anthropic's, or the params of MCP's
    ``tools/call``. ``format`` None: its shape shows it. Arguments that are null, empty or absent are ``{}``."""
    given = _data(call)
    shape = format_of(given)
    form = format or shape
    if form in ("openai", "openai_responses"):
        function = given.get("function")
        asked = function if isinstance(function, Mapping) else given
        arguments = asked.get("arguments")
        call_id = given.get("call_id") or given.get("id") or ""
    elif form == "anthropic":
        asked, arguments, call_id = given, given.get("input"), given.get("id") or ""
    else:
        inner = given.get("params")
        asked = inner if "name" not in given and isinstance(inner, Mapping) else given
        arguments, call_id = asked.get("arguments"), ""
    name = asked.get("name")
    read = ToolCall(name if isinstance(name, str) else "", {}, str(call_id), form=shape)
    if not read.capability:
        return read._replace(problem="the call names no tool")
    if isinstance(arguments, str | bytes):
        try:
            arguments = msgspec.json.decode(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError) as error:
            return read._replace(problem=f"the arguments are no JSON: {error}")
    if arguments is None or arguments == []:
        arguments = {}
    if not isinstance(arguments, Mapping):
        return read._replace(problem=f"the arguments are no object but {type(arguments).__name__}")
    return read._replace(params=dict(arguments))


def format_of(call: Mapping[str, Any]) -> Format:
    """The vendor of a tool call's form."""
    if call.get("type") == "function_call":
        return "openai_responses"
    if "function" in call or call.get("type") == "function":
        return "openai"
    return "anthropic" if "input" in call or call.get("type") == "tool_use" else "mcp"


def result_message(call: ToolCall, format: Format, result: Any, *, error: str = "") -> dict[str, Any]:
    """The answer for the model, in the form that its call has: the result as JSON, or, with ``error``, why there is
    none."""
    text = error or msgspec.json.encode(result).decode()
    if format == "openai_responses" or (format == "openai" and call.form == "openai_responses"):
        output = f"error: {error}" if error else text
        return {"type": "function_call_output", "call_id": call.id, "output": output}
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
