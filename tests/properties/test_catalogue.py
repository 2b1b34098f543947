"""Laws of the registry's fold: the last word about each key counts, whatever else was said, compacted or whole."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.core.catalogue import ENABLED, FORGOTTEN_BEATS, MISSED_BEATS, Catalogue
from agents_sdk.core.registry import CapabilityManifest, ExecutorBeat, Record, Switch

NAMES = st.sampled_from(["a", "b", "a/x", "a/y", "b/x"])


class Said(NamedTuple):
    """A record of the log; ``record`` None: a tombstone."""

    kind: type[Record]
    key: str
    record: Record | None
    at: float = 0.0


def beats(executor: str, ready: list[str], at: float) -> Said:
    beat = ExecutorBeat(executor=executor, period_ms=1000, beat_at=0, ready=ready)
    return Said(ExecutorBeat, executor, beat, at)


manifests = st.builds(
    lambda name, text: Said(CapabilityManifest, name, CapabilityManifest(name=name, manifest=text, source="applied")),
    NAMES,
    st.text(max_size=3),
)
switches = st.builds(
    lambda target, state: Said(Switch, target, Switch(target=target, state=state)),
    NAMES,
    st.sampled_from(["enabled", "disabled", "paused"]),
)
tombstones = st.builds(
    lambda kind, key: Said(kind, key, None), st.sampled_from([CapabilityManifest, Switch, ExecutorBeat]), NAMES
)
executors = st.builds(
    beats, st.sampled_from(["e", "f"]), st.lists(st.sampled_from(["a/x", "a/y", "b/x"])), st.floats(0, 10)
)
LOGS = st.lists(st.one_of(manifests, switches, tombstones, executors))


def folded(log: list[tuple[int, Said]]) -> Catalogue:
    catalogue = Catalogue()
    for offset, said in log:
        if said.record is None:
            catalogue.drop(said.kind, said.key)
        else:
            catalogue.take(said.record, offset, said.at)
    return catalogue


@given(LOGS)
def test_the_last_word_about_each_key_counts(log: list[Said]) -> None:
    """The fold is the last record of each kind and key; versions are offsets, so no two manifests share one."""
    catalogue = folded(list(enumerate(log)))
    last = {(said.kind, said.key): (offset, said.record) for offset, said in enumerate(log)}

    def expected(kind: type[Record]) -> dict[str, tuple[int, Record]]:
        return {key: (at, record) for (of, key), (at, record) in last.items() if of is kind and record is not None}

    held = {name: (held.version - 1, held.record) for name, held in catalogue.manifests.items()}
    assert held == expected(CapabilityManifest)
    assert catalogue.switches == {key: record for key, (_, record) in expected(Switch).items()}
    assert {key: heard.beat for key, heard in catalogue.beats.items()} == {
        key: record for key, (_, record) in expected(ExecutorBeat).items()
    }


@given(LOGS, st.data())
def test_compaction_changes_nothing(log: list[Said], data: st.DataObject) -> None:
    """Any of the records that a later one of their key replaces may be gone: the fold is the same."""
    numbered = list(enumerate(log))
    last = {(said.kind, said.key): offset for offset, said in numbered}
    kept = [each for each in numbered if last[each[1].kind, each[1].key] == each[0] or data.draw(st.booleans())]

    assert vars(folded(kept)) == vars(folded(numbered))


near = st.builds(
    lambda target, state: Said(Switch, target, Switch(target=target, state=state)),
    st.sampled_from(["a", "a/x", "b"]),
    st.sampled_from(["enabled", "disabled", "paused"]),
)
"""Switches of what the executors below are ready for: by chance alone the two would hardly meet."""


@given(st.lists(near | executors, min_size=2), st.floats(0, 12))
def test_what_can_be_asked_is_what_a_living_executor_says_and_nobody_has_disabled(log: list[Said], now: float) -> None:
    """Against an oracle that looks at every provider by itself; paused is not disabled: its calls may wait."""
    catalogue = folded(list(enumerate(log)))
    expected = set()
    for heard in catalogue.beats.values():
        if heard.at >= now - MISSED_BEATS * 1.0:
            for provider in heard.beat.ready:
                switched = [catalogue.switches.get(target, ENABLED) for target in (provider, provider.split("/")[0])]
                if all(switch.state != "disabled" for switch in switched):
                    expected.add(provider)

    assert catalogue.askable(now) == expected


@given(st.integers(1, 2_000), st.floats(0.5, 5.0))
def test_executors_that_are_gone_are_forgotten(count: int, apart_s: float) -> None:
    """Each start has a name of its own: what is kept is what spoke in the last 120 periods, whoever lives among it."""
    catalogue = Catalogue()
    for number in range(count):
        catalogue.take(ExecutorBeat(executor=f"e-{number}", period_ms=1_000, beat_at=0), number, number * apart_s)
    now = (count - 1) * apart_s
    assert len(catalogue.beats) <= FORGOTTEN_BEATS / apart_s + 2
    assert {beat.executor for beat in catalogue.living(now)} == {
        f"e-{number}" for number in range(count) if now - number * apart_s <= MISSED_BEATS
    }
