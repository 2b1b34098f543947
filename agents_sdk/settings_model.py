"""The shape of the settings, and how their sources are laid over each other; asked for by ``agents_sdk.settings``."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from agents_sdk import addresses, kafka_login, registry_login
from agents_sdk.settings import NotConfigured, data_dir, running_file

PROJECT_FILE: Final = "backplane.toml"
PLATFORM_FILE: Final = "platform.json"
MASK: Final = "********"
SECRET: Final = re.compile(
    r"password|secret|token|ssl\.key\.pem|jaas|oauthbearer\.config|user\.info|credential|passphrase", re.IGNORECASE
)

UNDERSCORED: Final = frozenset({"log_level"})
"""librdkafka's properties with an underscore in their name; all others have dots, which the environment cannot have."""

ADDRESS: Final = {"kafka": "bootstrap.servers", "registry": "url", "clickhouse": "url"}
"""Section → the key that names its server; a source that gives it closes the section to lower sources."""
BELONGS: Final = {"identity": "kafka"}
"""Section → the one it is closed with: keys for one platform are never used with another."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """As others, addresses without the passwords in them: what is shown of settings ends in logs and tracebacks."""
        for name, value in super().__repr_args__():
            yield name, addresses.shown(value) if isinstance(value, str) else value


class Registry(_Section):
    """A schema registry with Confluent's API."""

    url: str = ""
    """Base URL, e.g. ``http://127.0.0.1:8081/apis/ccompat/v7``."""
    username: str = ""
    password: SecretStr = SecretStr("")


class ClickHouse(_Section):
    """Something that speaks ClickHouse's HTTP interface; locally that is the store service."""

    url: str = ""
    database: str = "backplane"
    username: str = ""
    password: SecretStr = SecretStr("")


class Topics(_Section):
    """How topics are created; an existing topic keeps what it has."""

    partitions: int = Field(default=4, ge=1)
    replication: int = Field(default=1, ge=1)


class Limits(_Section):
    """Bounds that hold for every agent."""

    max_value_bytes: int = Field(default=1_048_576, ge=1)
    """A state value or message body above this is refused: store it elsewhere and pass a reference."""


class Executor(_Section):
    """The capability executor."""

    max_in_flight: int = Field(default=1024, ge=1)
    """Calls one executor process has open at a time: enough that some which wait for a slow provider hold up no others.
    How many are asked of one provider at once is its manifest's ``concurrency``."""
    cache_bytes: int = Field(default=33_554_432, ge=0)
    """The bytes of results that one executor process keeps to give again; 0: nothing."""


class Capabilities(_Section):
    """Where capabilities come from, besides those that are built in."""

    paths: tuple[Path, ...] = ()
    """Folders of manifests. In the environment: joined as in ``PATH``, or a JSON list."""

    @field_validator("paths", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


class Artifacts(_Section):
    """Where files that calls make or are given are kept: by their content, outside the log."""

    url: str = ""
    """``s3://bucket/prefix``, ``gs://…`` or ``az://…``, credentials from the environment as those clouds' tools read
    them; empty: ``artifacts`` below the data directory. All processes of a platform need the same."""


class Egress(_Section):
    """Where requests of providers may go, besides to public addresses."""

    loopback: bool | None = None
    """This machine itself. None: where Kafka is on it too, as on a local platform."""
    allow: tuple[str, ...] = ()
    """Private networks and names, each followed by a colon and a port where only that is meant: ``10.0.0.0/8``,
    ``intranet.example:443``, ``[fd00::1]:8080``. A provider's manifest has to mean them as well. In the environment:
    joined by commas, or a JSON list."""

    @field_validator("allow", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [each for each in value.replace(",", " ").split() if each] if isinstance(value, str) else value


class Identity(_Section):
    """Files with the keys that commands are signed with; never a key itself."""

    key_file: Path | None = None
    """One name's key, as ``backplane agents issue NAME --out FILE`` wrote it."""
    keys_dir: Path | None = None
    """Folder of such files, ``<name>.key``."""
    master_file: Path | None = None
    """The master key, for the ledger and operators: a ledger that has it refuses unsigned commands."""
    unproven_file: Path | None = None
    """Offsets below which records carry no proof: those written before this platform made any. ``backplane up`` notes
    them once; without the file every record needs its proof."""
    declarations: Literal["none", "first", "all"] = "none"
    """For the ledger: which declarations of agents are granted without an operator. ``none``: each waits for `backplane
    roles apply` or `backplane agents approve`; ``first``: that of a name not known yet, as on a local platform;
    ``all``: every one, while developing."""


class Oidc(_Section):
    """An OpenID Connect provider that people log in at."""

    issuer: str = ""
    """Its address, e.g. ``https://login.example.org/realms/main``; empty: none."""
    client_id: str = ""
    client_secret_file: Path | None = None
    """For a confidential client; a public one needs none, since PKCE is always used."""
    audience: str = ""
    """The audience of programs' bearer tokens; empty: ``client_id``."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    role_claim: str = "groups"
    """The claim whose values give a role."""
    roles: dict[str, str] = Field(default_factory=dict)
    """Value of that claim → ``viewer``, ``operator`` or ``admin``. A person with none of them is not let in."""
    workflows_claim: str = ""
    """The claim that names the workflows a viewer may see; empty: viewers see all."""


class Access(_Section):
    """Users of the ports that people use: console, SQL, figures."""

    oidc: Oidc = Oidc()


class Settings(BaseSettings):
    """All settings of a process. Frozen; made by ``load_settings``."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="BACKPLANE_", env_nested_delimiter="__")

    data_dir: Path = Field(default_factory=data_dir)
    """Where the local platform keeps its data."""
    kafka: dict[str, str] = Field(default_factory=dict, repr=False)
    """librdkafka properties by their own names, passed to every client as they are."""
    registry: Registry = Registry()
    clickhouse: ClickHouse = ClickHouse()
    topics: Topics = Topics()
    limits: Limits = Limits()
    executor: Executor = Executor()
    capabilities: Capabilities = Capabilities()
    artifacts: Artifacts = Artifacts()
    identity: Identity = Identity()
    access: Access = Access()
    egress: Egress = Egress()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments only: ``merge`` has already laid the sources over each other and knows where each value is from."""
        return (init_settings,)


class _Environment(EnvSettingsSource):
    """The environment, where a list may also be written as in ``PATH``: what is no JSON is left to the field."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class Layer(NamedTuple):
    """One source: its name for ``explain``, and what it says, kafka properties under their own names."""

    name: str
    values: dict[str, Any]


def load(overrides: Mapping[str, Any]) -> Settings:
    """The settings of this process, ``overrides`` first."""
    merged, sources = merge(layers(overrides))
    log_in(merged, sources)
    return Settings(**merged)


def explain(overrides: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(key, value, source) of every setting, sorted by key, secrets masked."""
    merged, sources = merge(layers(overrides))
    log_in(merged, sources)
    rows = []
    for key, value in _flat(Settings(**merged).model_dump(mode="json")):
        shown = MASK if SECRET.search(key) and value else addresses.shown(_text(value))
        rows.append((key, shown, _source_name(key, sources.get(key, "default"))))
    return sorted(rows)


def layers(overrides: Mapping[str, Any]) -> list[Layer]:
    """All sources, the highest first. The data directory decides which platform counts, so it is settled on the way."""
    found = [
        Layer("argument", _normal(overrides)),
        Layer("env", _normal(_Environment(Settings)())),
        _toml_layer(Path(PROJECT_FILE)),
    ]
    chosen = next((layer.values["data_dir"] for layer in found if layer.values.get("data_dir")), None)
    user_file = Path(platformdirs.user_config_dir("backplane")) / "config.toml"
    return [*found, _platform_layer(data_dir(chosen)), _toml_layer(user_file)]


def merge(found: list[Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of ``found`` laid over each other, the highest first, and for each dotted key the layer it is from."""
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    closed: set[str] = set()
    for layer in found:
        for section, value in layer.values.items():
            if section in closed:
                continue
            if not isinstance(value, Mapping):
                if section not in merged:
                    merged[section] = value
                    sources[section] = layer.name
                continue
            target = merged.setdefault(section, {})
            for key, item in value.items():
                if key not in target:
                    target[key] = item
                    sources[f"{section}.{key}"] = layer.name
        closed |= {section for section, key in ADDRESS.items() if merged.get(section, {}).get(key)}
        closed |= {section for section, other in BELONGS.items() if other in closed}
    return merged, sources


def log_in(merged: dict[str, Any], sources: dict[str, str]) -> None:
    """Adds the logins of Kafka and of the registry that ``merged`` means and does not say. An address of a local
    platform without a login means that platform. Its record says what it asks for and where its master key is, also
    while it does not run. Raises KeyUnusable."""
    address = merged.get("kafka", {}).get(ADDRESS["kafka"])
    if not address:
        return
    for section, says, completed in LOGINS:
        values, identity = merged.get(section, {}), merged.get("identity", {})
        if not values.get(ADDRESS[section]):
            continue
        if not any(value and name.startswith(says) for name, value in values.items()):
            for folder in _folders(merged, address):
                record = _offered(folder)
                offered = record.values.get(section, {})
                if offered.get(ADDRESS[section]) == values[ADDRESS[section]]:
                    values = _add(merged, sources, section, {**values, **offered}, record.name)
                    identity = {**record.values.get("identity", {}), **identity}
                    break
        _add(merged, sources, section, completed(values, identity), "keys")


LOGINS: Final = (
    ("kafka", ("sasl.", "security."), kafka_login.completed),
    ("registry", ("username",), registry_login.completed),
)
"""Section → how the names begin that say a login, and what adds the password."""


def _add(
    merged: dict[str, Any], sources: dict[str, str], section: str, values: dict[str, Any], source: str
) -> dict[str, Any]:
    known = merged[section]
    sources.update({f"{section}.{key}": source for key, value in values.items() if known.get(key) != value})
    merged[section] = values
    return values


def _folders(merged: Mapping[str, Any], address: str) -> Iterator[Path]:
    """Data directories of the platform that may have this address."""
    yield data_dir(merged.get("data_dir"))
    identity = merged.get("identity", {})
    if identity.get("master_file"):
        yield Path(identity["master_file"]).parent.parent
    with contextlib.suppress(OSError):
        yield Path(running_file(address).read_text())


def _normal(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with plain dicts as sections, and kafka properties as dotted names and text."""
    plain = {key: value.model_dump() if isinstance(value, BaseModel) else value for key, value in values.items()}
    if isinstance(plain.get("kafka"), Mapping):
        plain["kafka"] = {
            _property(key): str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in _flat(plain["kafka"])
        }
    return plain


def _property(key: str) -> str:
    name = key.lower()
    return name if name in UNDERSCORED else name.replace("_", ".")


def _toml_layer(path: Path) -> Layer:
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Layer(str(path), {})
    except (OSError, ValueError) as error:
        raise NotConfigured(f"cannot read {str(path)!r}: {error}", hint="mend the file, or remove it") from error
    paths = values.get("capabilities", {}).get("paths")
    if isinstance(paths, list):
        # Relative to the file that names them: the platform's parts may run in another directory.
        values["capabilities"]["paths"] = [str(path.parent.absolute() / item) for item in paths]
    return Layer(str(path), _normal(values))


def _platform_layer(directory: Path) -> Layer:
    """The addresses of a running local platform; nothing when none runs there."""
    path = directory / PLATFORM_FILE
    try:
        record = json.loads(path.read_text())
        os.kill(int(record["supervisor"]["pid"]), 0)
    except PermissionError:
        pass  # alive, and somebody else's
    except (OSError, ValueError, KeyError, TypeError):
        return Layer(str(path), {})
    return Layer(str(path), _normal(record.get("settings", {})))


def _offered(directory: Path) -> Layer:
    """The addresses of a local platform when it runs, whether or not it does now."""
    path = directory / PLATFORM_FILE
    try:
        record = json.loads(path.read_text())
        return Layer(str(path), _normal(record.get("offers") or record["settings"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Layer(str(path), {})


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, Mapping):
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _source_name(key: str, source: str) -> str:
    if source != "env":
        return source
    section, _, rest = key.partition(".")
    name = f"{section}__{rest.replace('.', '_')}" if rest else section
    return f"env BACKPLANE_{name.upper()}"
