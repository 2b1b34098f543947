"""A process that was killed leaves its name to the next one; two that live never share one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

CLAIM = (
    "import sys; from agents_sdk.instance import kept_instance; from pathlib import Path; "
    "print(kept_instance(Path(sys.argv[1]), sys.argv[2:]), flush=True); sys.stdin.read()"
)


class Holder:
    def __init__(self, folder: Path, *agents: str) -> None:
        command = [sys.executable, "-c", CLAIM, str(folder), *agents]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.name = self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


def test_a_killed_process_leaves_its_name_to_the_next_one(tmp_path: Path) -> None:
    """Also where another one lives meanwhile; whatever the order in which agents are named."""
    first, second = Holder(tmp_path, "a", "b"), Holder(tmp_path, "b", "a")
    assert first.name
    assert second.name not in ("", first.name)
    first.kill()
    third = Holder(tmp_path, "b", "a")
    other, elsewhere = Holder(tmp_path, "c"), Holder(tmp_path / "elsewhere", "a", "b")
    assert third.name == first.name
    assert len({third.name, second.name, other.name, elsewhere.name}) == 4
    for holder in (second, third, other, elsewhere):
        holder.kill()


def test_no_name_is_kept_where_nothing_can_be_written(tmp_path: Path) -> None:
    from agents_sdk.instance import kept_instance

    blocked = tmp_path / "file"
    blocked.write_text("")
    assert kept_instance(blocked, ["a"]) == ""
