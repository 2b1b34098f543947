"""Errors and cut-off answers in bodies whose status says success, in the forms of their vendors."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from backplane.providers import classify, said

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
TEXT = [{"type": "text", "text": "Half of"}]


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        ({"error": {"message": "Rate limit exceeded", "code": 429}}, "rate_limited"),
        ({"error": {"message": "x", "code": 503}, "id": "gen-1"}, "outage"),
        ({"error": {"message": "no", "type": "insufficient_quota", "code": "insufficient_quota"}}, "quota"),
        ({"error": {"message": "no", "type": "server_error"}, "choices": None}, "transient"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "outage"),
        ({"type": "error", "error": {"type": "authentication_error", "message": "no"}, "request_id": "r"}, "auth"),
        ([{"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}], "rate_limited"),
        ({"error": {"code": 400, "message": "API key not valid", "status": "INVALID_ARGUMENT"}}, "invalid_request"),
        ({"id": "x", "choices": [{"error": {"code": 502, "message": "provider"}, "finish_reason": "error"}]}, "outage"),
        (
            {"id": "resp", "status": "failed", "error": {"code": "server_error", "message": "no"}, "output": []},
            "transient",
        ),
        ({"ok": False, "error": "ratelimited"}, "rate_limited"),
        ({"ok": False, "error": "invalid_auth"}, "auth"),
        ({"ok": False, "error_code": 429, "description": "Too Many Requests: retry after 5"}, "rate_limited"),
        ({"success": False, "errors": [{"code": 10000, "message": "Authentication error"}], "result": None}, "auth"),
        ({"errors": [{"message": "Not found", "extensions": {}}], "data": None}, "invalid_request"),
        ({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}, "reply": ""}, "rate_limited"),
        ({"__type": "ThrottlingException", "message": "Rate exceeded"}, "rate_limited"),
        ({"code": "InvalidApiKey", "message": "no", "request_id": "r"}, "auth"),
        ({"code": 1301, "msg": "sensitive"}, "unknown"),
        ({"status": "error", "message": "it broke"}, "unknown"),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "Internal error"}}, "transient"),
        ({"error": "model 'x' not found"}, "invalid_request"),
        ({"error": "Service Unavailable", "status": 503, "path": "/v1"}, "outage"),
        ({"detail": "no", "error": True, "success": False}, "unknown"),
    ],
)
def test_a_body_that_is_an_error_is_that_error(body: Any, error_class: str) -> None:
    """As each vendor writes it; it may have had its effect all the same."""
    failure = classify.of_response(200, "OK", None, body, [], NOW)

    assert failure is not None
    assert (failure.error_class, failure.code, failure.uncertain) == (error_class, "error_body", True)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        "error",
        42,
        [{"error": None}],
        {"error": None, "data": 1},
        {"error": "", "result": 1},
        {"error": {}, "result": 1},
        {"error": {"code": 0, "message": ""}, "data": {}},
        {"errors": [], "data": {"a": 1}},
        {"errors": [{"message": "one field"}], "data": {"a": 1}},
        {"output": "", "error": "NameError: name 'x' is not defined"},
        {"status": "ok", "message": "done"},
        {"status": "succeeded", "error": None, "output": ["https://x"]},
        {"code": 0, "message": "success", "data": []},
        {"code": 200, "msg": "ok"},
        {"code": "print(1)", "language": "python", "message": "x"},
        {"success": True, "errors": []},
        {"hits": [{"error": {"message": "the title of a page"}}]},
        {"choices": [{"message": {"content": "an error occurred"}, "finish_reason": "stop"}]},
        {"title": "error", "type": "article", "message": "x"},
        {"failed": 3, "status": "failed over", "nodes": []},
    ],
)
def test_a_result_is_no_error(body: Any) -> None:
    """Though it speaks of one."""
    assert classify.of_response(200, "OK", None, body, [], NOW) is None


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": '{"a'}, "finish_reason": "length"}]},
        {"choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}]},
        {"choices": [{"text": "x", "finish_reason": "max_tokens"}]},
        {"choices": [{"finish_reason": "model_length"}]},
        {"type": "message", "content": TEXT, "stop_reason": "max_tokens"},
        {"type": "message", "content": TEXT, "stop_reason": "model_context_window_exceeded"},
        {"candidates": [{"content": {}, "finishReason": "MAX_TOKENS"}]},
        [{"candidates": [{"content": {}}]}, {"candidates": [{"finishReason": "MAX_TOKENS"}]}],
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []},
        {"output": {"message": {"content": []}}, "stopReason": "max_tokens"},
        {"generation": "x", "stop_reason": "length"},
        {"results": [{"outputText": "x", "completionReason": "LENGTH"}]},
        {"completions": [{"data": {}, "finishReason": {"reason": "length"}}]},
        {"generated_text": "x", "details": {"finish_reason": "length"}},
        [{"generated_text": "x", "details": {"finish_reason": "length"}}],
        {"message": {"content": "x"}, "done": True, "done_reason": "length"},
        {"output": {"choices": [{"finish_reason": "length"}]}, "usage": {}},
        {"message": {"content": []}, "finish_reason": "MAX_TOKENS"},
    ],
)
def test_an_answer_that_was_cut_off_says_so(body: Any) -> None:
    """It cannot pass by itself, so it is not asked for again; the manifest may keep it."""
    failure = classify.of_response(200, "OK", None, body, [], NOW)

    assert failure is not None
    assert (failure.error_class, failure.code, failure.uncertain) == ("invalid_request", "cut_off", True)
    assert "cut off by its limit of length" in failure.message
    assert classify.of_response(200, "OK", None, body, [], NOW, cut_off="keep") is None


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"finish_reason": "stop"}]},
        {"choices": [{"finish_reason": "tool_calls"}]},
        {"stop_reason": "end_turn"},
        {"candidates": [{"finishReason": "STOP"}]},
        {"status": "completed", "incomplete_details": None},
        {"hits": [{"stop_reason": "max_tokens"}]},
        {"length": "length"},
        None,
        [1, 2],
    ],
)
def test_an_answer_that_ended_is_not_cut_off(body: Any) -> None:
    """By whatever reason it ended."""
    assert said.cut_off(body) == ""
