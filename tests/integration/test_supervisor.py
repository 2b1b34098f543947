"""What the supervisor promises of any part, shown with parts that start in a moment; real processes, no Kafka."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from backplane.cli.app import run
from backplane.platform import child as child_module
from backplane.platform.child import Child
from backplane.platform.errors import DataDirTaken, DiskFull, JavaMissing, PlatformError
from backplane.platform.layout import Layout
from backplane.platform.platform import LocalPlatform, stop
from backplane.platform.status import read
from tests.support.eventually import assert_eventually

TABLES: Final = "tests.support.fake_part:"
ROOT: Final = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def find_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def well(tmp_path: Path, find_the_table: None) -> Iterator[LocalPlatform]:
    """Two parts, the second standing on the first."""
    with LocalPlatform(tmp_path / "data", table=TABLES + "WELL") as running:
        yield running


def gone(pid: int) -> bool:
    """Whether a process has ended; one that waits to be reaped has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def pids(platform: LocalPlatform) -> list[int]:
    return [part["pid"] for part in platform.record()["parts"].values() if part["pid"]]


def all_gone(some: list[int]) -> None:
    assert [pid for pid in some if not gone(pid)] == []


def test_parts_run_in_order_and_can_be_asked(well: LocalPlatform) -> None:
    """Status has pid, port, memory, uptime and lag of each."""
    found = read(well.layout)
    first, second = found["parts"]

    assert found["state"] == "ready"
    assert first["lag"] == {"bp.commands": 7, "bp.runs": 1}
    assert first["rss_mb"] > 0
    assert second["port"] == well.port("second") < 32_768
    started = well.record()["parts"]
    assert started["first"]["started_at"] < started["second"]["started_at"]


def test_killed_part_is_restarted_and_the_reason_is_kept(well: LocalPlatform) -> None:
    """The signal by its name and the last line it logged."""
    before = well.kill("second")

    def back() -> dict[str, Any]:
        part = well.part("second")
        assert part["state"] == "ready"
        assert part["pid"] != before
        return part

    part = assert_eventually(back)
    assert part["restarts"] == 1
    assert part["last_exit"] == "signal 9 (SIGKILL): serving"
    assert well.record()["state"] == "ready"


def test_killed_supervisor_leaves_no_orphan(well: LocalPlatform) -> None:
    """The kernel takes the parts with it; the directory is free again and the ports are the same."""
    parts, ports = pids(well), well.record()["ports"]
    os.kill(well.supervisor_pid, signal.SIGKILL)

    assert_eventually(lambda: all_gone(parts))
    well.stop()
    with LocalPlatform(well.layout.data_dir, table=TABLES + "WELL") as again:
        assert again.record()["ports"] == ports


def test_stop_leaves_nothing(well: LocalPlatform) -> None:
    """No process, no address in the record."""
    parts = [*pids(well), well.supervisor_pid]
    well.stop()

    all_gone(parts)
    assert well.record()["state"] == "stopped"
    assert well.record()["settings"] == {}
    assert not well.layout.running()


def test_taken_directory_is_refused_with_the_pid_of_its_owner(
    well: LocalPlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the owner goes on undisturbed."""
    with pytest.raises(DataDirTaken, match=str(well.supervisor_pid)):
        LocalPlatform(well.layout.data_dir, table=TABLES + "WELL").start()

    assert run(["up", "--data-dir", str(well.layout.data_dir)]) == 1
    assert str(well.supervisor_pid) in capsys.readouterr().err
    assert read(well.layout)["state"] == "ready"


def test_part_that_does_not_start_ends_the_platform_with_its_last_words(tmp_path: Path) -> None:
    """One message with reason, log lines and where to look; nothing is left running."""
    platform = LocalPlatform(tmp_path / "data", table=TABLES + "REFUSING")

    with pytest.raises(PlatformError, match="second did not start: exit code 3") as caught:
        platform.start()
    assert "the reason is this" in caught.value.message
    assert caught.value.code == "part_failed"
    assert str(platform.layout.log("second")) in caught.value.hint
    assert pids(platform) == []
    assert not platform.layout.running()


def test_part_that_dies_at_its_work_before_it_is_ready_is_started_again(tmp_path: Path) -> None:
    """It knows at the next start what it died at. One that notes nothing would die of the same for ever."""
    with LocalPlatform(tmp_path / "noting", table=TABLES + "DEADLY") as platform:
        assert platform.part("first")["restarts"] == 3

    with pytest.raises(PlatformError, match="first did not start"):
        LocalPlatform(tmp_path / "other", table=TABLES + "DEADLY_WITHOUT_NOTES").start()


def test_failure_of_an_earlier_run_is_not_told_again(tmp_path: Path) -> None:
    """A record is of one run: neither the next failure nor the next success repeats it."""
    with pytest.raises(PlatformError):
        LocalPlatform(tmp_path / "data", table=TABLES + "REFUSING").start()

    with pytest.raises(PlatformError, match="no attribute 'MISSPELT'"):
        LocalPlatform(tmp_path / "data", table=TABLES + "MISSPELT").start()
    with LocalPlatform(tmp_path / "data", table=TABLES + "WELL") as platform:
        assert "error" not in platform.record()


def test_part_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    """Ctrl-C ends everything in time, whatever a part thinks of it."""
    platform = LocalPlatform(tmp_path / "data", table=TABLES + "DEAF").start()
    parts = pids(platform)
    platform.stop()

    all_gone(parts)


def test_second_request_to_stop_does_not_wait(tmp_path: Path) -> None:
    """Ctrl-C twice is an order."""
    platform = LocalPlatform(tmp_path / "data", table=TABLES + "DEAF").start()
    parts = pids(platform)
    os.kill(platform.supervisor_pid, signal.SIGTERM)
    assert_eventually(lambda: stopping(platform))
    os.kill(platform.supervisor_pid, signal.SIGTERM)

    assert_eventually(lambda: all_gone(parts), 8.0)  # less than the ten seconds that one request is given
    platform.stop()


def stopping(platform: LocalPlatform) -> None:
    assert platform.record()["state"] == "stopping"


def test_what_a_part_has_started_ends_with_it(tmp_path: Path) -> None:
    """A sandbox of the executor does not outlive the executor."""
    with LocalPlatform(tmp_path / "data", table=TABLES + "PARENT") as platform:
        grandchild = int((platform.layout.data_dir / "grandchild.pid").read_text())
        platform.kill("first")
        assert_eventually(lambda: all_gone([grandchild]))


def test_platform_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """A test run that is killed leaves nothing behind."""
    code = (
        "from backplane.platform.platform import LocalPlatform; import sys, time;"
        f"LocalPlatform({str(tmp_path / 'data')!r}, table={TABLES + 'WELL'!r}).start(); time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code])
    layout = Layout(tmp_path / "data")

    def ready() -> list[int]:
        record = layout.read_record()
        assert record.get("state") == "ready"
        return [record["supervisor"]["pid"], *(part["pid"] for part in record["parts"].values())]

    started = assert_eventually(ready)
    owner.kill()
    owner.wait()
    assert_eventually(lambda: all_gone(started))


def test_down_stops_a_platform_that_somebody_else_started(well: LocalPlatform) -> None:
    """It returns when all is gone, and says whether there was anything to stop."""
    parts = pids(well)

    assert stop(well.layout) is True
    all_gone(parts)
    assert stop(well.layout) is False


def test_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that talks does not fill the disk; it goes on writing to the file that was cut."""
    monkeypatch.setattr(child_module, "LOG_BYTES", 1000)
    code = "import time\nwhile True: print('x' * 99, flush=True); time.sleep(0.001)"
    talker = Child([sys.executable, "-c", code], dict(os.environ), tmp_path / "talker.log")
    try:
        assert_eventually(lambda: grown(talker.log, 5000))
        talker.bound_log()
        assert (tmp_path / "talker.log.1").stat().st_size >= 5000
        assert_eventually(lambda: grown(talker.log, 100))
        assert set(talker.log.read_text()) <= {"x", "\n"}  # no hole of zero bytes where it was cut
    finally:
        talker.send(signal.SIGKILL)
        assert_eventually(lambda: ended(talker))


def grown(log: Path, size: int) -> None:
    assert log.stat().st_size >= size


def ended(child: Child) -> None:
    assert child.exit_reason() is not None


def test_full_disk_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kafka on a full disk fails hard, and late; and a supervisor of its own could not even write why it ended."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10_000_000})())
    data_dir = tmp_path / "data"

    with (
        pytest.raises(DiskFull, match="9 MB are free"),
        LocalPlatform(data_dir, table=TABLES + "WELL"),
    ):
        pytest.fail("it started")
    assert not list((data_dir / "logs").iterdir())
    assert run(["up", "--data-dir", str(data_dir)]) == 1
    assert "9 MB are free" in capsys.readouterr().err
    assert not Layout(data_dir).running()


def test_program_that_cannot_be_executed_is_told_from_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    """A Java that is not there, not executable, or made for another processor: what to do is to get another one."""
    java, log = tmp_path / "java", tmp_path / "kafka.log"
    for strerror in ("No such file", "Permission denied", "Exec format error"):
        with pytest.raises(JavaMissing, match=f"cannot execute .*{strerror}"):
            Child([str(java)], dict(os.environ), log)
        java.chmod(0o755) if java.exists() else java.write_bytes(b"\x7fELF of some other kind")

    with pytest.raises(PlatformError, match="cannot write") as caught:
        Child([sys.executable, "-c", ""], dict(os.environ), tmp_path / "no-folder" / "kafka.log")
    assert not isinstance(caught.value, JavaMissing)


def restarted(platform: LocalPlatform, before: int) -> None:
    assert platform.part("second")["state"] == "ready"
    assert platform.part("second")["pid"] != before


def test_supervisor_whose_own_log_is_on_a_full_disk_goes_on(tmp_path: Path) -> None:
    """Parts are not taken down because nobody can be told how they are."""
    layout = Layout(tmp_path / "data")
    layout.create()
    layout.log("supervisor").symlink_to("/dev/full")
    with LocalPlatform(layout.data_dir, table=TABLES + "WELL") as platform:
        before = platform.kill("second")
        assert_eventually(lambda: restarted(platform, before))


def test_supervisor_that_cannot_publish_says_so_once_and_publishes_when_it_can(well: LocalPlatform) -> None:
    """A disk that is full for an hour costs one line, and what happened meanwhile is told in the end."""
    before, record, log = well.pid("second"), well.layout.record, well.layout.log("supervisor")
    record.unlink()
    (record / "in-the-way").mkdir(parents=True)
    os.kill(before, signal.SIGKILL)
    assert_eventually(lambda: said(log, "second: ready", 2))
    assert log.read_text().count("cannot publish") == 1

    (record / "in-the-way").rmdir()
    record.rmdir()
    assert_eventually(lambda: published(well))
    assert well.part("second")["restarts"] == 1


def published(platform: LocalPlatform) -> None:
    assert platform.record().get("state") == "ready"


def said(log: Path, what: str, count: int) -> None:
    assert log.read_text().count(what) == count


def test_part_that_is_gone_without_a_record_of_it_is_not_called_ready(tmp_path: Path) -> None:
    """What the kernel says goes before what was written down, which on a full disk is old."""
    layout = Layout(tmp_path)
    owned = layout.own()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    about = {
        "state": "ready",
        "port": None,
        "started_at": None,
        "restarts": 0,
        "last_exit": "",
        "log": "",
        "task": False,
    }
    parts = {"kafka": {**about, "pid": ended.pid}, "sink": {**about, "pid": os.getpid()}}
    layout.write_record({"state": "ready", "supervisor": {"pid": os.getpid()}, "parts": parts})

    found = read(layout)
    os.close(owned)
    assert found["state"] == "degraded"
    assert [part["state"] for part in found["parts"]] == ["gone", "ready"]
    assert "supervisor" in found["parts"][0]["last_exit"]


def test_logs_are_followed_also_over_a_cut(well: LocalPlatform) -> None:
    """Old lines, then new ones as they come; a log that the supervisor has cut is read from its new beginning."""
    command = [sys.executable, "-m", "backplane.cli.app", "logs", "second", "--follow", "-n", "1", "--data-dir"]
    log = well.layout.log("second")
    with subprocess.Popen([*command, str(well.layout.data_dir)], stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        try:
            assert following.stdout.readline() == "serving\n"
            with log.open("a") as file:
                file.write("one\nha")
                file.flush()
                assert following.stdout.readline() == "one\n"
                file.write("lf\n")
                file.flush()
                assert following.stdout.readline() == "half\n"
            log.write_text("new\n")
            assert following.stdout.readline() == "new\n"
        finally:
            following.send_signal(signal.SIGINT)
        assert following.wait(10) == 130
