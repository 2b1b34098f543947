"""The sandbox gives what a snippet computes, and nothing of the machine it runs on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from backplane.builtin import sandbox
from tests.support.catalogue import Bench
from tests.support.eventually import assert_eventually

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One pool of workers for all snippets, as in an executor."""
    made = Bench(tmp_path_factory.mktemp("sandbox"))
    yield made
    made.context.resources.get("monty", sandbox._start).__exit__(None, None, None)


@pytest.fixture
def run(bench: Bench) -> Run:
    def ran(code: str, **params: Any) -> dict[str, Any]:
        result = bench.call("code_execution", sandbox.code_execution, {"code": code, **params})
        assert isinstance(result, dict)
        return result

    return ran


def test_a_snippet_gives_its_value_and_what_it_printed(run: Run) -> None:
    """The last expression counts; inputs are variables."""
    result = run("print('sum of', xs)\nimport math\nmath.sqrt(sum(xs))", inputs={"xs": [3, 6]})

    assert result == {"value": 3.0, "stdout": "sum of [3, 6]\n", "stdout_truncated": False, "error": None}


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("(1, {'a': (2, 3)})", [1, {"a": [2, 3]}]),
        ("{5}", [5]),
        ("{1: 2}", {"1": 2}),
        ("2 ** 100", str(2**100)),
        ("-(2 ** 63)", -(2**63)),
        ("float('nan')", "nan"),
        ("import datetime; datetime.date(2026, 1, 2)", "2026-01-02"),
        ("x = 1", None),
    ],
)
def test_values_are_json(run: Run, code: str, value: Any) -> None:
    """What JSON has no form for is its text."""
    assert run(code)["value"] == value


def test_bytes_are_an_artifact(run: Run, bench: Bench) -> None:
    """Like every file a capability makes."""
    assert bench.artifacts.get(run(r"b'\x00\xff'")["value"]["uri"]) == b"\x00\xff"


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("1 / 0", "ZeroDivisionError", "division by zero"),
        ("def f(:", "SyntaxError", "Expected"),
        ("raise ValueError('mine')", "ValueError", "mine"),
        ("missing", "NameError", "missing"),
    ],
)
def test_an_error_of_the_snippet_is_its_result(run: Run, code: str, error: str, message: str) -> None:
    """With what was printed before it, and where it happened."""
    result = run(f"print('before')\n{code}")

    assert result["error"]["type"] == error
    assert message in result["error"]["message"]
    assert result["stdout"] in ("before\n", "")
    assert "line 2" in result["error"]["traceback"]


def test_chance_can_be_repeated(run: Run) -> None:
    """By its seed."""
    code = "import random; [random.random() for _ in range(3)]"
    assert run(code, seed=7) == run(code, seed=7) != run(code, seed=8)


SECRET = "a-secret-of-the-host"
DENIED = {"PermissionError", "ModuleNotFoundError", "NameError", "AttributeError", "RuntimeError"}
"""What a snippet is told of what is not there for it."""


@pytest.mark.parametrize(
    "code",
    [
        "open({path!r}).read()",
        "open('/etc/passwd').read()",
        "open('/tmp/made-by-a-snippet', 'w').write('x')",
        "from pathlib import Path\nPath({path!r}).read_text()",
        "from pathlib import Path\nPath('/tmp/made-by-a-snippet').write_text('x')",
        "import os\nos.listdir('/')",
        "import os\nos.remove({path!r})",
        "import os\nos.environ['BACKPLANE_TEST_SECRET']",
        "import os\nos.getenv('BACKPLANE_TEST_SECRET')",
        "import os\nos.system('touch /tmp/made-by-a-snippet')",
        "import os\nos.fork()",
        "import subprocess\nsubprocess.run(['touch', '/tmp/made-by-a-snippet'])",
        "import socket\nsocket.create_connection(('127.0.0.1', 9092))",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9092')",
        "import http.client",
        "import asyncio\nawait asyncio.open_connection('127.0.0.1', 9092)",
        "import ctypes",
        "import importlib\nimportlib.import_module('socket')",
        "import pydantic_monty",
        "import backplane.executor",
        "__import__('socket')",
        "eval(\"__import__('socket')\")",
        "exec('import socket')",
        "().__class__.__bases__[0].__subclasses__()",
        "(lambda: 0).__globals__",
        "print.__self__",
        "import sys\nsys.modules['os'].system('id')",
        "import sys\nsys._getframe(0).f_back.f_globals",
        "breakpoint()",
        "input()",
    ],
)
def test_no_snippet_reaches_the_machine(run: Run, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is read or written, no variable of the environment, process, socket or module of the host is reached."""
    monkeypatch.setenv("BACKPLANE_TEST_SECRET", SECRET)
    path = tmp_path / "secret"
    path.write_text(SECRET)

    result = run(code.replace("{path!r}", repr(str(path))))

    assert (result["value"], result["error"]["type"] in DENIED) == (None, True)
    assert SECRET not in str(result)
    assert "root:" not in str(result)
    assert path.read_text() == SECRET
    assert not Path("/tmp/made-by-a-snippet").exists()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("while True: pass", "TimeoutError"),
        ("sum(1 for _ in iter(int, 1))", "MemoryError"),
        ("try:\n    while True: pass\nexcept BaseException:\n    while True: pass", "TimeoutError"),
        ("import time\ntime.sleep(600)", "TimeoutError"),
        ("import asyncio\nawait asyncio.sleep(600)", "TimeoutError"),
        ("for _ in range(10 ** 9): print('x' * 1000)", "TimeoutError"),
        ("'x' * 10 ** 10", "MemoryError"),
        ("[0] * 10 ** 9", "MemoryError"),
        ("x = []\nwhile True: x.append('x' * 1000)", "MemoryError"),
        ("10 ** 10 ** 9", "MemoryError"),
        ("x = 'x'\nwhile True: x = x + x", "MemoryError"),
        ("def f(n): return f(n + 1)\nf(0)", "RecursionError"),
        ("x = []\nfor _ in range(10 ** 6): x = [x]\nrepr(x)", "MemoryError"),
    ],
)
def test_time_memory_and_depth_are_bounded(run: Run, code: str, error: str) -> None:
    """Whatever a snippet catches or repeats; the next snippet is none the worse."""
    # what comes to its other limit may take its time on a busy machine
    result = run(code, max_seconds=0.5 if error == "TimeoutError" else 30, max_memory_mb=32)

    assert (result["value"], result["error"]["type"]) == (None, error)
    assert run("1 + 1")["value"] == 2


def test_a_flood_of_text_is_cut_and_said_to_be(run: Run) -> None:
    """The rest of the snippet runs on."""
    result = run("for _ in range(100): print('x' * 10_000)\n'done'")

    assert (len(result["stdout"]), result["stdout_truncated"], result["value"]) == (sandbox.STDOUT_CHARS, True, "done")


def test_nothing_of_a_snippet_is_left_for_the_next(run: Run) -> None:
    """Agents of different runs share the workers."""
    run("import json\nleft = 'behind'\njson.dumps = None")

    assert run("left")["error"]["type"] == "NameError"
    assert run("import json\njson.dumps([1])")["value"] == "[1]"


def test_a_worker_that_is_killed_costs_only_its_snippet(run: Run) -> None:
    """It is told as the snippet's error; the pool has another one."""
    import threading

    def kill() -> None:
        for child in psutil.Process().children():
            if "monty" in child.name():
                child.send_signal(signal.SIGKILL)

    timer = threading.Timer(0.3, kill)
    timer.start()
    result = run("while True: pass", max_seconds=5)
    timer.join()

    assert result["error"]["type"] == "SandboxCrashed"
    assert run("1 + 1")["value"] == 2


def test_workers_end_with_their_executor() -> None:
    """Even one that is killed leaves no worker behind."""
    code = (
        "import sys, psutil; from backplane.builtin import sandbox; pool = sandbox._start();"
        "session = pool.checkout().__enter__(); session.feed_run('1');"
        "print(*[child.pid for child in psutil.Process().children()], flush=True); sys.stdin.read()"
    )
    host = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with host:
        assert host.stdout is not None
        workers = [int(pid) for pid in host.stdout.readline().split()]
        os.kill(host.pid, signal.SIGKILL)
    assert workers

    def gone() -> None:
        assert not any(psutil.pid_exists(pid) for pid in workers)

    assert_eventually(gone)
