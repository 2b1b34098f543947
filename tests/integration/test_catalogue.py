"""Every built-in capability on the running platform, by its command: what is asked is what comes, as a real file where
it is one, and the record knows where each file came from and went."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest
from av.container import InputContainer
from PIL import Image

from agents_sdk.artifacts import ArtifactStore
from backplane.cli import app as cli
from backplane.cli.output import ExitCode
from tests.support.eventually import assert_eventually

if TYPE_CHECKING:
    from backplane.platform.platform import LocalPlatform

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(platform: LocalPlatform, capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    """Runs ``backplane …`` against the platform: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.run([*arguments, "--data-dir", str(platform.layout.data_dir)])
        out, err = capfdbinary.readouterr()
        return code, out.decode("utf-8", errors="surrogateescape"), err.decode()

    return run


def document(command: Command, *arguments: str) -> dict[str, Any]:
    """The one document of a command that must succeed."""
    code, out, err = command(*arguments, "--json")
    assert code == ExitCode.OK, err
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


def test_documents_are_found(command: Command, tmp_path: Path) -> None:
    """On the web's stand-in, and in a folder of one's own."""
    (tmp_path / "logs.md").write_text("Event logs keep every change as a record, in the order in which it came to be.")

    code, out, err = command("search", "event", "streaming", "-n", "2")
    own = document(command, "search", "record order", "--documents", str(tmp_path))

    assert code == ExitCode.OK, err
    assert out.splitlines()[0].split("\t") == ["title", "url", "score", "snippet"]
    assert len(out.splitlines()) == 3
    assert "web_search by" in err
    assert [hit["id"] for hit in own["result"]["hits"]] == ["logs.md"]


def test_an_image_goes_from_its_prompt_onto_a_page(command: Command, tmp_path: Path, platform: LocalPlatform) -> None:
    """A real PNG by its hash; the page has the same bytes."""
    out, page = tmp_path / "hero.png", tmp_path / "page.md"
    made = document(command, "image", "Flow", "--width", "320", "--height", "200", "--out", str(out))
    page.write_text("# On flow\n\nIt *flows*.\n")
    code, url, err = command("publish", str(page), "--hero", str(out), "--slug", "on-flow")

    artifact = made["result"]["artifact"]
    assert hashlib.sha256(out.read_bytes()).hexdigest() == artifact["sha256"]
    assert (out.stat().st_size, artifact["mime"], made["out"]) == (artifact["size"], "image/png", str(out))
    assert (made["cost_nano_usd"] > 0, bool(made["event_id"])) == (True, True)
    with Image.open(out) as picture:
        assert picture.size == (320, 200)
    assert code == ExitCode.OK, err
    published = Path(url.strip().removeprefix("file://"))
    assert "<em>flows</em>" in published.read_text()
    assert "On flow" in published.read_text()
    assert (published.parent / "hero.png").read_bytes() == out.read_bytes()


def test_a_video_is_made_of_words_and_of_images(command: Command, tmp_path: Path) -> None:
    """Real MP4s, of the length asked for; one of them goes to stdout."""
    picture, film = tmp_path / "one.png", tmp_path / "film.mp4"
    Image.new("RGB", (64, 64), (255, 0, 0)).save(picture)
    small = ("--seconds", "1", "--fps", "5", "--width", "160", "--height", "120")

    made = document(command, "video", "Flow", *small, "--out", str(film))
    code, out, err = command("video", "Red", *small, "--frame", str(picture), "--out", "-")

    assert made["result"]["seconds"] == 1
    assert code == ExitCode.OK, err
    for content in (film.read_bytes(), out.encode("utf-8", errors="surrogateescape")):
        with av.open(io.BytesIO(content)) as container:
            assert isinstance(container, InputContainer)
            assert len(list(container.decode(video=0))) == 5


def test_files_are_kept_by_key(command: Command, tmp_path: Path) -> None:
    """Put, listed, described, got byte for byte, deleted; then it is not found."""
    file = tmp_path / "data.bin"
    file.write_bytes(bytes(range(256)) * 10)
    key = "tests/catalogue/data.bin"

    assert command("files", "put", key, str(file))[0] == ExitCode.OK
    assert command("files", "put", key, str(file), "--if-absent")[0] == ExitCode.FAILURE
    listed = document(command, "files", "list", "tests/catalogue")["result"]["files"]
    assert [(one["key"], one["size"]) for one in listed] == [(key, 2560)]
    assert document(command, "files", "head", key)["result"]["size"] == 2560
    code, out, err = command("files", "get", key)
    assert code == ExitCode.OK, err
    assert out.encode("utf-8", errors="surrogateescape") == file.read_bytes()
    assert command("files", "get", key, "--out", str(tmp_path / "back.bin"))[0] == ExitCode.OK
    assert (tmp_path / "back.bin").read_bytes() == file.read_bytes()
    assert command("files", "delete", key)[0] == ExitCode.OK
    assert command("files", "delete", key)[0] == ExitCode.NOT_FOUND
    code, _, err = command("files", "get", key)
    assert code == ExitCode.NOT_FOUND
    assert key in err


def test_code_is_run(command: Command, tmp_path: Path) -> None:
    """What it printed and its value on stdout; its own error is exit code 1, with where it happened."""
    snippet = tmp_path / "snippet.py"
    snippet.write_text("print('hello')\nsum(xs)\n")

    assert command("code", str(snippet), "--input", "xs=[1,2]")[:2] == (ExitCode.OK, "hello\n3\n")
    code, out, err = command("code", "-c", "print('before')\n1 / 0")
    assert (code, out) == (ExitCode.FAILURE, "before\n")
    assert "line 2" in err
    assert "ZeroDivisionError: division by zero" in err
    code, _, err = command("code", "-c", "open('/etc/passwd').read()")
    assert code == ExitCode.FAILURE
    assert "PermissionError" in err


def test_files_are_asked_in_sql(command: Command, tmp_path: Path) -> None:
    """Of two kinds at once; rows to stdout, a file of rows by --out, which can be asked again."""
    sales, people = tmp_path / "sales.csv", tmp_path / "people.jsonl"
    sales.write_text("who,amount\na,1.5\nb,2\na,3\n")
    people.write_text('{"id": "a", "name": "Ann"}\n{"id": "b", "name": "Bob"}\n')
    sql = "SELECT name, sum(amount) AS total FROM sales JOIN folk ON who = id GROUP BY name ORDER BY name"

    code, out, err = command("analyze", sql, str(sales), f"folk={people}")
    assert (code, out) == (ExitCode.OK, "name\ttotal\nAnn\t4.5\nBob\t2\n"), err
    answer = tmp_path / "answer.parquet"
    assert command("analyze", sql, str(sales), f"folk={people}", "--out", str(answer))[0] == ExitCode.OK
    assert command("analyze", "SELECT max(total) AS most FROM answer", str(answer))[1] == "most\n4.5\n"
    code, _, err = command("analyze", "SELECT * FROM file('/etc/passwd')", str(sales))
    assert code == ExitCode.FAILURE
    assert "file" in err


@pytest.mark.parametrize(
    "arguments",
    [("search", "event", "streaming"), ("image", "Flow"), ("code", "-c", "1 + 1"), ("video", "Flow", "--seconds", "1")],
    ids=lambda arguments: arguments[0],
)
def test_nothing_is_begun_that_its_budget_may_not_pay_for(command: Command, arguments: tuple[str, ...]) -> None:
    """Of the least amount there is; and the exit code says that it was refused, not that it failed."""
    code, out, err = command(*arguments, "--budget", "0.000000001 USD")

    assert (code, out) == (ExitCode.REFUSED, ""), err
    assert "0.000000001 USD" in err
    assert document(command, "code", "-c", "1 + 1", "--budget", "0.10 USD")["result"]["value"] == 2


def test_the_record_knows_where_a_file_came_from_and_went(
    command: Command, platform: LocalPlatform, tmp_path: Path
) -> None:
    """By run and by content; its bytes are got by its reference; an unknown one is not found."""
    seed = "20261127"
    made = document(command, "image", "Origin", "--width", "200", "--height", "200", "--seed", seed)
    artifact = made["result"]["artifact"]
    film = document(
        command, "call", "video_generation", "--params-json",
        json.dumps({"prompt": "x", "seconds": 1, "fps": 2, "width": 160, "height": 120,
                    "frames": [{"uri": artifact["uri"]}]}),
    )  # fmt: skip

    def told() -> None:
        code, out, _ = command("artifacts", "show", artifact["uri"], "--json")
        assert code == ExitCode.OK
        shown = json.loads(out)
        [origin] = shown["made_by"]
        assert {origin[name] for name in ("run_id", "call_id", "event_id")} == {
            made[name] for name in ("run_id", "call_id", "event_id")
        }
        assert (origin["mime"], origin["size"], origin["cost_nano_usd"], origin["agent"]) == (
            "image/png", artifact["size"], made["cost_nano_usd"], "shell",
        )  # fmt: skip
        assert [use["call_id"] for use in shown["given_to"]] == [film["call_id"]]

    assert_eventually(told)
    code, out, _ = command("artifacts", "list", "--run", made["run_id"])
    assert (code, len(out.splitlines()), artifact["sha256"] in out) == (ExitCode.OK, 2, True)
    copy = tmp_path / "copy.png"
    assert command("artifacts", "get", artifact["sha256"], "--out", str(copy))[0] == ExitCode.OK
    assert copy.read_bytes() == ArtifactStore(Path(platform.layout.data_dir)).get(artifact["uri"])
    assert command("artifacts", "get", "artifact:" + "0" * 64)[0] == ExitCode.NOT_FOUND
    assert command("artifacts", "get", "nonsense")[0] == ExitCode.USAGE


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("image", "x", "--width", "7"), "params.width"),
        (("video", "x", "--frame", "/nonexistent.png"), "/nonexistent.png"),
        (("publish", "/nonexistent.md"), "/nonexistent.md"),
        (("code",), "--command"),
        (("analyze", "SELECT 1", "data.xls"), "data.xls"),
        (("analyze", "SELECT 1", "1x=data.csv"), "'1x'"),
        (("analyze", "SELECT 1", "/nonexistent.csv"), "/nonexistent.csv"),
        (("analyze", "SELECT 1", "a.csv", "--out", "b.xls"), "b.xls"),
    ],
)
def test_wrong_use_is_told(command: Command, arguments: tuple[str, ...], says: str) -> None:
    """Exit code 2, with what is wrong."""
    code, out, err = command(*arguments)

    assert (code, out) == (ExitCode.USAGE, "")
    assert says in err
