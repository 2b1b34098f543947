"""An MCP server with one tool, made with the official package: ``python weather_server.py PORT``."""

import sys

from mcp.server import MCPServer

server = MCPServer("weather")


@server.tool()
def weather(place: str) -> dict[str, float | str]:
    """Says how warm it will be."""
    return {"place": place, "celsius": 24.5}


if __name__ == "__main__":
    server.run(transport="streamable-http", port=int(sys.argv[1]))
