"""Files in results go to the store; their descriptors take their place."""

from __future__ import annotations

import hashlib
from pathlib import Path

from agents_sdk.artifacts import ArtifactStore
from backplane.providers.claim_check import carries_files, checked
from backplane.recovery.outcome import Answer, Blob, Failure, Usage


def test_files_are_replaced_wherever_they_are(tmp_path: Path) -> None:
    """In objects and arrays, at any depth; the rest of the answer is left as it is."""
    store = ArtifactStore(tmp_path)
    answer = Answer(result={"n": 1, "deep": [{"file": Blob(b"one", "a/b")}, ("x", Blob(b"two", "c/d"))]}, model="m")

    done = checked(answer, store)

    one, two = (hashlib.sha256(content).hexdigest() for content in (b"one", b"two"))
    assert isinstance(done, Answer)
    assert done.model == "m"
    assert done.result == {
        "n": 1,
        "deep": [
            {"file": {"mime": "a/b", "sha256": one, "size": 3, "uri": f"artifact:{one}"}},
            ["x", {"mime": "c/d", "sha256": two, "size": 3, "uri": f"artifact:{two}"}],
        ],
    }
    assert store.get(two) == b"two"
    assert carries_files(answer.result)
    assert not carries_files(done.result)


def test_a_store_that_fails_fails_the_attempt_as_uncertain(tmp_path: Path) -> None:
    """The provider did its work, and what it used is paid: it must not be asked again for an unsafe call."""
    (tmp_path / "artifacts").write_text("a file where the folder should be")
    answer = Answer(result=Blob(b"x", "a/b"), usage=Usage(output_tokens=7))

    failed = checked(answer, ArtifactStore(tmp_path))

    assert isinstance(failed, Failure)
    assert (failed.error_class, failed.code, failed.uncertain) == ("outage", "artifact_store", True)
    assert failed.usage.output_tokens == 7
