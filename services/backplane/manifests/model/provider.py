"""Fields that providers of every kind have, and three kinds: a Python function, a program and an MCP server's tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from agents_sdk.recovery import Retry
from backplane.manifests.model.auth import SecretAuth
from backplane.manifests.model.part import NAME, ErrorClass, Part
from backplane.manifests.model.price import Price
from backplane.manifests.model.reference import Reference, SecretReference
from backplane.manifests.template import required, template


class Rate(Part):
    """How much one executor may ask of a provider in any minute; with several executors, give each its share."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Of input and output together; until an attempt's are known it counts as a quarter of its params' characters."""


class BreakerRule(Part):
    """When the fleet stops asking the provider, for each class of error by itself."""

    failures: int = Field(default=8, ge=0)
    """In a row, at one executor; 0: never."""
    open_seconds: float = Field(default=30.0, gt=0)
    """The first time; each time in a row for twice as long, ten minutes at most."""


class AnyProvider(Part):
    """Fields that providers of every kind have."""

    name: str = Field(pattern=NAME)
    timeout_seconds: float = Field(default=30.0, gt=0)
    """For one attempt; what is left of the call's own time is the other bound."""
    concurrency: int = Field(default=64, ge=1)
    """Attempts that one executor has open at this provider."""
    rate: Rate = Rate()
    breaker: BreakerRule = BreakerRule()
    settle_seconds: float = Field(default=10.0, ge=0)
    """How long it may go on working on a request that nobody waits for any more. Only then it is asked whether an
    attempt of unknown outcome had its effect. Too short, and what it denies happens afterwards."""
    retry: Retry | None = None
    """Where it wants to be retried otherwise than its capability says."""
    price: Price | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    """Handed to the provider as it is: a Python function finds it in its context, a template as ``config``."""

    def references(self) -> Sequence[Reference | SecretReference]:
        """References that must be found before the provider can be asked."""
        return []

    def reconcilable(self) -> bool:
        """Whether it can be asked if an attempt of unknown outcome had its effect."""
        return False

    def address(self) -> Reference | None:
        """Where it listens; None: nowhere that a connection would tell anything about."""
        return None

    def program(self) -> tuple[str, str]:
        """The program that it starts, and the folder below the data directory that a path to it begins at; an empty
        program: it starts none."""
        return "", ""

    def in_process(self) -> str:
        """The function that makes its attempts in any process of ours, the agent's too; "" where there is none."""
        return ""

    def prompt(self) -> tuple[Any, Any] | None:
        """Body and query of the one request that an attempt is, as templates; None: it is more than that, or another
        thing."""
        return None

    def missing(self, environment: Mapping[str, str], data_dir: Path) -> str:
        """Things that it lacks to be asked, in words; "" when it is ready."""
        return ", ".join(lack for each in self.references() if (lack := each.lack(environment, data_dir)))


class PythonProvider(AnyProvider):
    """A Python function ``(params, context) -> result``; a plain one runs in a thread, an async one on the loop."""

    kind: Literal["python"]
    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """``package.module:function``; imported at the first attempt."""
    reconcile: str = Field(default="", pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$")
    """A function ``(params, context)`` that says whether an attempt of the call ``context.call_id`` had its effect. It
    gives True or an ``Answer`` with the result, False, or None where it cannot tell."""

    def reconcilable(self) -> bool:
        """By its function."""
        return bool(self.reconcile)

    def in_process(self) -> str:
        """The function itself."""
        return self.function


Variables: TypeAlias = dict[str, SecretReference | Reference]
"""Environment variables of a program that a provider starts; it is given no others but those of ``SAFE_VARIABLES``."""

SAFE_VARIABLES: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME")
"""The part of the executor's environment that a program may see: the keys of other providers are in the rest of it."""


class SubprocessProvider(AnyProvider):
    """A program that speaks JSON lines. It reads ``{"id", "call_id", "run_id", "agent", "attempt", "timeout_seconds",
    "params", "config"}`` from stdin and writes ``{"id", "result"}``, with ``usage`` and ``model`` where it has them. Or
    it writes ``{"id", "error": {"class", "code", "message", "retry_after"}}`` to stdout. Its stderr is quoted when it
    fails."""

    kind: Literal["subprocess"]
    command: list[str] = Field(min_length=1)
    """Program and arguments; no shell reads them."""
    mode: Literal["worker", "call"] = "worker"
    """``worker``: it is started once and asked again and again, one call at a time. ``concurrency`` are started at
    most, and one that ended is started again. ``call``: it is started for each call, with the input's end after it."""
    folder: str = ""
    """Where it runs, relative to the data directory."""
    env: Variables = Field(default_factory=dict)
    result: str = "@"
    """JMESPath over what it gave as result."""
    max_bytes: int = Field(default=4 * 1024 * 1024, ge=1)
    """Of one answer."""

    _is_readable = field_validator("result")(required)

    def references(self) -> Sequence[Reference | SecretReference]:
        """Its variables."""
        return list(self.env.values())

    def program(self) -> tuple[str, str]:
        """The first word of its command, in its folder."""
        return self.command[0], self.folder


class ToolErrorRule(Part):
    """A failed tool call whose text has this in it is a failure of this class; the first rule that fits wins."""

    text: str = Field(min_length=1)
    """Compared without regard to case."""
    error_class: ErrorClass = Field(alias="class")


class McpProvider(AnyProvider):
    """A tool of an MCP server, which is started as a program or reached over streamable HTTP."""

    kind: Literal["mcp"]
    command: list[str] = Field(default_factory=list)
    """Program and arguments of a server that speaks over stdin and stdout."""
    env: Variables = Field(default_factory=dict)
    url: Reference | None = None
    """Of a server that speaks streamable HTTP."""
    auth: SecretAuth | None = None
    """For ``url``: bearer or header."""
    private: bool = False
    """Whether the name in ``url`` stands for a private address; as for HTTP."""
    tool: str = Field(min_length=1)
    arguments: Any = "${params}"
    """A template, as in HTTP requests."""
    result: str = "value"
    """JMESPath over ``value``, ``structured``, ``text`` (all texts, joined), ``content`` (the blocks as MCP has them,
    bytes as artifacts) and ``files``. ``value`` is the structured content where there is any; else the text as JSON,
    where it is JSON; else ``{text: …}``. It has its ``files`` beside it. ``structured`` is the same without ``{text:
    …}``, else null."""
    max_bytes: int = Field(default=4 * 1024 * 1024, ge=1)
    errors: list[ToolErrorRule] = Field(default_factory=list)

    _is_readable = field_validator("result")(required)

    @field_validator("arguments")
    @classmethod
    def _is_a_template(cls, value: Any) -> Any:
        template(value)
        return value

    @model_validator(mode="after")
    def _is_one_server(self) -> McpProvider:
        if bool(self.command) == bool(self.url):
            raise ValueError("an MCP server is either a command or at a url")
        if self.auth is not None and (self.url is None or self.auth.kind not in ("bearer", "header")):
            raise ValueError("auth of an MCP server is bearer or header, and for a url; give a command its key by env")
        return self

    def address(self) -> Reference | None:
        """Of a server that speaks HTTP."""
        return self.url

    def program(self) -> tuple[str, str]:
        """Of a server that is started."""
        return self.command[0] if self.command else "", ""

    def references(self) -> Sequence[Reference | SecretReference]:
        """The endpoint, its secret, the program's variables."""
        return [
            *([self.url] if self.url else []),
            *(self.auth.references() if self.auth else []),
            *self.env.values(),
        ]
