"""Fixtures of all tiers: real brokers where a tier may have them, and a seal on the tiers that may not."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest
from hypothesis import settings as hypothesis_settings

from backplane.platform.ports import VARIABLE as PORTS
from backplane.platform.ports import bounds

if TYPE_CHECKING:
    from backplane.platform.platform import LocalPlatform
    from tests.support.prepared import Prepared

TESTS: Final = Path(__file__).parent
SEALED: Final = ("unit", "properties", "architecture")
"""Tiers that must pass on a machine where nothing runs."""

SERVED: Final = ("faults", "scenarios", "security", "integration", "replay")
"""Tiers that may have servers, the longest modules first: processes that share them are done at about the same time."""

IMPORTABLE: Final = (TESTS.parent, TESTS.parent / "examples", TESTS.parent / "docs" / "snippets")
"""Folders in which executors find the Python functions of manifests."""
REAL: Final = frozenset({"broker", "platform"})
"""Fixtures that start servers."""


def tier(path: Path) -> str:
    """The folder of ``tests`` that a test lies in."""
    return path.relative_to(TESTS).parts[0] if path.is_relative_to(TESTS) else ""


KILLED: Final = (
    "test_agents_are_killed.py",
    "test_answers_survive.py",
    "test_askers_are_killed.py",
    "test_changed_code.py",
    "test_families_of_runs.py",
    "test_overload.py",
    "test_topics_made_again.py",
)
"""Modules of the faults that use the platform of their tier."""
BESIDE_NOBODY: Final = ("test_committer.py", "test_registry_topics.py")
"""Modules that use ``broker``."""

KEPT: Final = ("BACKPLANE_CACHE_DIR", "BACKPLANE_MAVEN_URL", PORTS)
"""What the tests take from the environment: how the platform's files come here, and which ports are theirs."""
PAID: Final = (
    "ANTHROPIC_API_KEY",
    "BRAVE_API_KEY",
    "GEMINI_API_KEY",
    "LUMAAI_API_KEY",
    "OPENAI_API_KEY",
    "RUNWAYML_API_SECRET",
    "STABILITY_API_KEY",
    "TAVILY_API_KEY",
    "WORDPRESS_LOGIN",
)
"""Keys with which a built-in provider that costs money, or publishes, would be asked."""


def pytest_configure() -> None:
    """Before any server is started: they hand their environment on. No property is held against the clock: a busy
    machine is no counterexample. The examples of a commit are the same on each machine; ``make laws`` draws others."""
    hypothesis_settings.register_profile("fixed", deadline=None, derandomize=True)
    hypothesis_settings.register_profile("random", deadline=None, print_blob=True)
    hypothesis_settings.load_profile(os.environ.get("LAWS", "fixed"))
    for name in PAID:
        os.environ.pop(name, None)
    # as on most machines: whoever forgets to flush what somebody waits for is found out
    os.environ.pop("PYTHONUNBUFFERED", None)
    # nor are those asked for that lie in the keyring of whoever runs the tests
    os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        lowest, highest = bounds()
        share = (highest + 1 - lowest) // count
        low = lowest + share * (int(worker.removeprefix("gw")) % count)
        os.environ[PORTS] = f"{low}-{low + share - 1}"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # as a shell starts what it puts into the background: our children would inherit it, and not end at Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile``: modules that share a platform are one unit of work, so one process starts it."""
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # it has no stubs

    class ByServers(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(super()._split_scope(nodeid))

    return ByServers(config, log) if config.getvalue("dist") == "loadfile" else None


def unit_of(module: str) -> str:
    """The name of what a test module, as in node ids, shares a process with; its own where it shares none."""
    path = Path(module)
    if path.parts[:2] == ("tests", "security"):
        return "security"
    if path.parts[:2] == ("tests", "faults") and path.name in KILLED:
        return "faults"
    return "broker" if path.name in BESIDE_NOBODY else module


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test of a sealed tier that asks for a server, before anything runs; order the other tiers, modules that
    share servers side by side."""
    for item in items:
        wanted = REAL & set(getattr(item, "fixturenames", ()))
        if tier(item.path) in SEALED and wanted:
            raise pytest.UsageError(f"{item.nodeid} is in a tier without servers and asks for {sorted(wanted)}")
    sharing = {item.path for item in items if REAL & set(getattr(item, "fixturenames", ()))}
    served = [item for item in items if tier(item.path) in SERVED]
    served.sort(key=lambda item: (SERVED.index(tier(item.path)), item.path not in sharing))
    items[:] = [*(item for item in items if tier(item.path) not in SERVED), *served]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What the tiers took. xdist's controller has the reports of all its processes."""
    from tests.support.durations import by_tier

    reports = [report for kind in ("passed", "failed", "error") for report in terminalreporter.stats.get(kind, [])]
    # setup and teardown of passed tests are kept under an empty name
    reports += terminalreporter.stats.get("", [])
    if len(reports) > 200:
        terminalreporter.section("durations")
        for line in by_tier(reports, tier):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Data directories with topics, schemas and manifests in them; one original for all processes of a session."""
    from tests.support.prepared import Prepared

    own = tmp_path_factory.getbasetemp()
    shared = own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own
    return Prepared(shared / "prepared")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[LocalPlatform]:
    """Kafka, the registry, our topics and schemas, and nobody who decides; one for the session. Change nothing that was
    there before: who does, or starts a ledger, has a broker of its own."""
    from backplane.platform.platform import LocalPlatform

    where = prepared.copy(tmp_path_factory.mktemp("broker"))
    with LocalPlatform(where, parts=("kafka", "registry", "topics")) as running:
        yield running


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[LocalPlatform]:
    """The whole platform; one for the session. Use names of your own for runs, agents and capabilities: others use it
    too. Capabilities of a test are applied while it runs; their Python functions may lie in ``tests.support``."""
    from backplane.platform.platform import LocalPlatform

    path = os.pathsep.join(map(str, IMPORTABLE))
    with LocalPlatform(prepared.copy(tmp_path_factory.mktemp("platform")), env={"PYTHONPATH": path}) as running:
        yield running


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the platform, the settings or the configuration of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("BACKPLANE_") and name not in KEPT:
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKPLANE_DATA_DIR", str(tmp_path / "no-platform"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))


@pytest.fixture(autouse=True)
def seal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the sealed tiers no platform can be started and no other machine be reached."""
    if tier(request.path) not in SEALED:
        return
    from backplane.platform import platform

    def refuse_platform(*args: Any, **options: Any) -> NoReturn:
        pytest.fail("this tier runs without servers; a test that needs one belongs to integration or scenarios")

    connect = socket.socket.connect

    def connect_at_home(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            pytest.fail(f"this tier runs without a network; it tried to reach {address[0]!r}")
        connect(self, address)

    monkeypatch.setattr(platform, "launch", refuse_platform)
    monkeypatch.setattr(socket.socket, "connect", connect_at_home)
