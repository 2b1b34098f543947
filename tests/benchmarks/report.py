"""The figures as ratios to the floors, beside what is aimed at. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

Found = dict[str, dict[str, Any]]


class Aim(NamedTuple):
    """One line of the table."""

    figure: str
    """Dotted key in the JSON."""
    unit: str
    at_least: float | None = None
    at_most: float | None = None


TABLE: Final = (
    Aim("floor.produce_per_s", "records/s"),
    Aim("floor.produce_avro_per_s", "records/s"),
    Aim("floor.pingpong_p50_ms", "ms"),
    Aim("floor.transaction_p50_ms", "ms"),
    Aim("ledger.commands_per_s", "commands/s", at_least=10_000),
    Aim("ledger.ratio", "× (produce + Avro)", at_least=0.4),
    Aim("state_write.p50_ms", "ms"),
    Aim("state_write.p95_ms", "ms"),
    Aim("state_write.p99_ms", "ms"),
    Aim("state_read.p50_ms", "ms", at_most=4.0),
    Aim("state_read.p95_ms", "ms"),
    Aim("state_write.ratio", "× (ping-pong + transaction)", at_most=1.5),
    Aim("state_write.ratio_to_pingpong", "× ping-pong", at_most=4.0),
    Aim("proofs.fact_us", "µs to prove a fact"),
    Aim("proofs.fact_check_us", "µs to check one"),
    Aim("proofs.answer_us", "µs to prove an answer"),
    Aim("proofs.answer_check_us", "µs to check one"),
    Aim("proofs.command_us", "µs to sign a command"),
    Aim("proofs.proofs_us", "µs of proofs in what a ledger does for a command"),
    Aim("proofs.rights_us", "µs of rights in it"),
    Aim("proofs.proofs_share", "of what a ledger does for a command: proofs", at_most=0.1),
    Aim("proofs.rights_share", "of it: rights", at_most=0.1),
    Aim("fingerprints.write_us", "µs of a ledger for a write of a handler"),
    Aim("fingerprints.write_share", "of it: fingerprints"),
    Aim("fingerprints.read_share", "of a read: fingerprints"),
    Aim("fingerprints.publish_share", "of a message: fingerprints"),
    Aim("fingerprints.share", "of the three: fingerprints", at_most=0.03),
    Aim("message.roundtrip_p50_ms", "ms, two messages", at_most=12.0),
    Aim("message.roundtrip_p99_ms", "ms"),
    Aim("message.roundtrips_per_s", "round trips/s, 100 runs", at_least=2500),
    Aim("message.ask_p50_ms", "ms, question and answer", at_most=5.0),
    Aim("message.ask_p99_ms", "ms, question and answer"),
    Aim("message.asks_per_s", "questions/s, 100 runs", at_least=2500),
    Aim("message.trigger_p50_ms", "ms after the last completion"),
    Aim("message.trigger_p99_ms", "ms after the last completion"),
    Aim("message.fan_out_100_p50_ms", "ms to the last of 100 agents"),
    Aim("message.fan_in_100_p50_ms", "ms after the last of 100 agents"),
    Aim("call.p50_ms", "ms", at_most=10.0),
    Aim("call.p99_ms", "ms"),
    Aim("call.ratio", "× (4 ping-pong + 2 transactions)", at_most=2.0),
    Aim("call.per_s", "calls/s, 100 runs", at_least=5000),
    Aim("call.per_s_1000_runs", "calls/s, 1,000 runs", at_least=5000),
    Aim("call.executor_cpu_us", "µs of the executor's processor a call"),
    Aim("call_local.p50_ms", "ms, in the agent's process", at_most=4.0),
    Aim("call_local.p99_ms", "ms, in the agent's process"),
    Aim("call_slow.seconds", "s, 1,000 calls of 1 s each", at_most=3.0),
    Aim("call_slow.kib_each", "KiB each of them occupies", at_most=50.0),
    Aim("call_fallback.p50_ms", "ms from a failure to the next provider"),
    Aim("call_fallback.p99_ms", "ms from a failure to the next provider"),
    Aim("call_breaker.late_calls", "calls that asked a provider after its breaker had opened", at_most=1),
    Aim("sink.visible_p50_ms", "ms from Kafka to a query"),
    Aim("sink.visible_p95_ms", "ms from Kafka to a query", at_most=2_000),
    Aim("sink.visible_in_flow_p95_ms", "ms from Kafka to a query, 5,000 facts/s beside", at_most=2_000),
    Aim("sink.rows_per_s", "rows/s", at_least=50_000),
    Aim("sink.floor_rows_per_s", "rows/s"),
    Aim("sink.ratio", "× floor", at_least=0.6),
    Aim("insight.cost_p95_ms", "ms, cost by agent of a run among 10 million facts", at_most=100),
    Aim("insight.timeline_p95_ms", "ms, a run's timeline", at_most=100),
    Aim("insight.lineage_p95_ms", "ms, lineage of twelve hops", at_most=150),
    Aim("insight.cost_of_all_p50_ms", "ms, cost by agent of all runs"),
    Aim("insight.reconcile_p50_ms", "ms, all of the store held against itself"),
    Aim("console.timeline_server_p95_ms", "ms, the timeline of a run of 10,000 facts, opened first"),
    Aim("console.events_server_p95_ms", "ms, its list of events"),
    Aim("console.timeline_console_cpu_ms", "ms of the console's processor"),
    Aim("console.timeline_store_cpu_ms", "ms of the store's processor"),
    Aim("console.timeline_browser_p95_ms", "ms until it is loaded in Chromium", at_most=1_000),
    Aim("console.events_browser_p95_ms", "ms until it is loaded in Chromium", at_most=1_000),
    Aim("restart.seconds", "s, with a snapshot"),
    Aim("restart.without_snapshot_seconds", "s, all facts folded"),
    Aim("takeover.ledger_restarted_p50_s", "s from SIGKILL, restarted", at_most=1.5),
    Aim("takeover.executor_restarted_p50_s", "s from SIGKILL, restarted", at_most=1.5),
    Aim("takeover.agent_restarted_p50_s", "s from SIGKILL, restarted", at_most=1.5),
    Aim("takeover.ledger_again_p50_s", "s from a second SIGKILL in the middle", at_most=1.5),
    Aim("takeover.executor_again_p50_s", "s from a second SIGKILL in the middle", at_most=1.5),
    Aim("takeover.agent_again_p50_s", "s from a second SIGKILL in the middle", at_most=1.5),
    Aim("takeover.ledger_left_p50_s", "s from SIGKILL, others take over", at_most=1.5),
    Aim("takeover.executor_left_p50_s", "s from SIGKILL, others take over", at_most=1.5),
    Aim("takeover.agent_left_p50_s", "s from SIGKILL, others take over", at_most=1.5),
    Aim("overload.lost", "acknowledged and not there", at_most=0),
    Aim("overload.quiet_p99_ms", "ms, a client that asks for little", at_most=5_000),
    Aim("overload.recovered_s", "s after the flood", at_most=10),
    Aim("runs.idle_bytes", "bytes an idle run, resident", at_most=4096),
    Aim("runs.open", "runs open at once", at_least=100_000),
    Aim("runs.starts_per_s", "starts/s"),
    Aim("runs.restart_seconds", "s, with all of them open"),
    Aim("cold_start.seconds", "s"),
)


def with_ratios(found: Found) -> Found:
    """The same figures with their ratios to the floors, as far as both were measured."""
    floor = found.get("floor", {})
    pingpong, transaction = floor.get("pingpong_p50_ms"), floor.get("transaction_p50_ms")
    whole = {name: dict(figures) for name, figures in found.items()}
    if pingpong and transaction:
        if "state_write" in whole:
            p50 = whole["state_write"]["p50_ms"]
            whole["state_write"]["ratio"] = round(p50 / (pingpong + transaction), 2)
            whole["state_write"]["ratio_to_pingpong"] = round(p50 / pingpong, 2)
        if "call" in whole:
            whole["call"]["ratio"] = round(whole["call"]["p50_ms"] / (4 * pingpong + 2 * transaction), 2)
    if "ledger" in whole and floor.get("produce_avro_per_s"):
        whole["ledger"]["ratio"] = round(whole["ledger"]["commands_per_s"] / floor["produce_avro_per_s"], 3)
    if "sink" in whole:
        whole["sink"]["ratio"] = round(whole["sink"]["rows_per_s"] / whole["sink"]["floor_rows_per_s"], 2)
    return whole


def lines(found: Found) -> list[str]:
    """The table: figure, value, unit, aim, whether it was reached; then memory."""
    rows = []
    for aim in TABLE:
        section, key = aim.figure.split(".")
        value = found.get(section, {}).get(key)
        if value is not None:
            rows.append(f"{aim.figure:34} {value:>12,} {aim.unit:36} {_verdict(aim, value)}".rstrip())
    for part, sizes in found.get("memory_mb", {}).items():
        rows.append(f"{'memory_mb.' + part:34} {sizes['idle']:>12,} MB at rest, {sizes['load']:,} under load")
    return rows


def machine_line(machine: Mapping[str, Any]) -> str:
    """Where it was measured."""
    return (
        f"{machine['cores']} cores, Python {machine['python']}, {machine['memory_gb']} GB, "
        f"load {machine['load_at_start']} at the start, {machine['load_at_end']} at the end"
    )


def _verdict(aim: Aim, value: float) -> str:
    if aim.at_least is not None:
        return f"aim ≥ {aim.at_least:,}: {'reached' if value >= aim.at_least else 'not reached'}"
    if aim.at_most is not None:
        return f"aim ≤ {aim.at_most:,}: {'reached' if value <= aim.at_most else 'not reached'}"
    return ""
