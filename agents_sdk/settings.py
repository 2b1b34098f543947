"""Where this process finds Kafka, the registry and the store, and the knobs that go with them.

Explicit arguments come first, then ``BACKPLANE_*`` in the environment, and ``backplane.toml`` in the working directory.
Then come the running local platform of the data directory, the user's own ``config.toml``, and last the defaults. An
address ends the search for its section. A lower source about ``kafka``, ``registry`` or ``clickhouse`` is ignored once
a higher one gave the address, so credentials for one server never reach another. ``identity`` is closed with ``kafka``.

pydantic-settings takes 0.2 s to import; this module does not import it until settings are asked for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import quote

from agents_sdk.errors import BackplaneError

if TYPE_CHECKING:
    from agents_sdk.settings_model import Settings

__all__ = ["Explained", "NotConfigured", "Settings", "data_dir", "explain", "load_settings"]


class NotConfigured(BackplaneError):
    """No Kafka address in any source of settings."""

    code: ClassVar[str] = "not_configured"
    hint = "run `backplane up`, or set BACKPLANE_KAFKA__BOOTSTRAP_SERVERS, or name it in backplane.toml"


class NoPlatform(NotConfigured):
    """Nothing says where a platform is; a local one says so when it runs."""

    passes = True


class Explained(NamedTuple):
    """One setting: its dotted key, its value as text (secrets masked), and the source that gave it."""

    key: str
    value: str
    source: str


def data_dir(explicit: Path | str | None = None) -> Path:
    """The data directory: ``explicit``, else ``BACKPLANE_DATA_DIR``, else the user's own, made absolute."""
    chosen = explicit or os.environ.get("BACKPLANE_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("backplane")) / "local"


def cache_dir() -> Path:
    """The folder shared by all platforms of this user; ``BACKPLANE_CACHE_DIR`` moves it."""
    chosen = os.environ.get("BACKPLANE_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("backplane"))


def running_file(address: str) -> Path:
    """The file that says in which data directory this user's platform lies whose Kafka has this address."""
    return cache_dir() / "running" / quote(address, safe="")


def load_settings(**overrides: Any) -> Settings:
    """All settings, each from its highest source; ``overrides`` are the arguments, sections as mappings.

    Raises:
        NotConfigured: no source gives ``kafka."bootstrap.servers"``.
        pydantic.ValidationError: a value does not fit, or a key is not known; the text names it.
    """
    from agents_sdk import settings_model

    settings = settings_model.load(overrides)
    if not settings.kafka.get("bootstrap.servers"):
        raise NoPlatform("no platform found", hint=NotConfigured.hint)
    return settings


def explain(**overrides: Any) -> list[Explained]:
    """Every setting with its value and source, sorted by key; works without a platform."""
    from agents_sdk import settings_model

    return [Explained(*row) for row in settings_model.explain(overrides)]


def __getattr__(name: str) -> Any:
    if name == "Settings":
        from agents_sdk.settings_model import Settings

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
