"""A real MCP server, made with the official package: ``python mcp_server.py [PORT]``, stdio without a port."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ImageContent, TextContent

server = MCPServer("weather")


@server.tool()
def weather(place: str, days: int = 1) -> dict[str, Any]:
    """Tells the weather of a place."""
    return {"place": place, "celsius": [20.5] * days, "pid": os.getpid(), "key": os.environ.get("KEY", "")}


@server.tool(structured_output=False)
def words(text: str) -> str:
    """Gives text back, not structured."""
    return text


@server.tool(structured_output=False)
def picture() -> CallToolResult:
    """An image and two texts."""
    image = ImageContent(type="image", data=base64.b64encode(b"PNG").decode(), mime_type="image/png")
    texts = [TextContent(type="text", text=text) for text in ("one", "two")]
    return CallToolResult(content=[image, *texts])


@server.tool()
def refuse(reason: str) -> str:
    """Fails with these words."""
    raise ToolError(f"{reason} (key {os.environ.get('KEY', '')})")


@server.tool()
async def slow(seconds: float) -> str:
    """Takes its time."""
    await asyncio.sleep(seconds)
    return "done"


@server.tool()
async def obey(do: str, say: str = "") -> dict[str, str]:
    """Says it, fails, or never ends."""
    if do == "fail":
        raise ToolError(say)
    if do == "sleep":
        await asyncio.sleep(600)
    return {"said": say}


@server.tool()
def huge(size: int) -> str:
    """A long text."""
    return "x" * size


@server.tool()
def die() -> str:
    """Ends the server at once."""
    os._exit(3)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run("stdio")
