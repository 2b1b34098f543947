"""What the providers of the built-in manifests answer, after their own documentation; written down, not recorded.

Each vendor is a capability's provider with params, the variables that point it at a local server and give it its key, a
script that answers well, and what must come of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.http_server import Asked, Reply

KEY: Final = "key-0123456789"
ARTICLE: Final = {
    "title": "Logs",
    "summary": "They grow.",
    "paragraphs": [{"heading": "Growth", "text": "Logs grow at their end.", "sources": ["log.md"]}],
}
WRITE: Final = {
    "topic": "event logs",
    "sources": [{"id": "log.md", "title": "Logs", "text": "Logs grow at their end."}],
}


@dataclass(frozen=True)
class Refusal:
    """A failure that the vendor documents, and the class it must have."""

    status: int
    body: Any
    error_class: str
    words: str = ""
    """That the message must hold."""


@dataclass(frozen=True)
class Vendor:
    """One provider, on a good day and on its documented bad ones."""

    capability: str
    provider: str
    params: dict[str, Any]
    url_variable: str
    key_variable: str
    proof: tuple[str, str]
    """Header and value that prove who asks."""
    good: Callable[[Asked, str], Reply]
    """The answer to a request; told the server's own address."""
    expected: Callable[[list[Asked], Any], None]
    """Looks at the requests and the result."""
    refusals: list[Refusal]
    limit: Refusal
    """Of the rate."""
    tokens: tuple[int, int] = (0, 0)
    model: str = ""
    price: str = ""
    """How the id of the price list begins."""
    nano_usd: int = 0
    key: str = KEY
    environment: dict[str, str] = field(default_factory=dict)


def hit(result: Any) -> dict[str, Any]:
    """The first of the hits."""
    found: dict[str, Any] = result["hits"][0]
    return found


def brave() -> Vendor:
    def good(asked: Asked, url: str) -> Reply:
        hits = [
            {
                "title": f"Kafka {n}",
                "url": f"https://kafka.example/{n}",
                "description": "Event streaming.",
                "extra_snippets": ["A log.", "Partitions."],
                "profile": {"name": "Kafka"},
            }
            for n in (1, 2)
        ]
        return Reply(
            {"type": "search", "query": {"original": asked.query["q"]}, "web": {"type": "search", "results": hits}}
        )

    def expected(asked: list[Asked], result: Any) -> None:
        [one] = asked
        assert (one.method, one.path) == ("GET", "/web/search")
        assert (one.query["q"], one.query["count"]) == ("event streaming", "20")
        assert hit(result) == {
            "id": "https://kafka.example/1",
            "title": "Kafka 1",
            "url": "https://kafka.example/1",
            "snippet": "Event streaming.",
            "text": "Event streaming. A log. Partitions.",
            "score": 1.0,
        }
        assert [each["score"] for each in result["hits"]] == [1.0, 0.5]

    def told(code: str, detail: str, status: int) -> dict[str, Any]:
        error = {"code": code, "detail": detail, "status": status, "meta": {}}
        return {"type": "ErrorResponse", "error": error, "time": 1732500000}

    return Vendor(
        capability="web_search",
        provider="brave",
        params={"query": "event streaming", "results": 50},
        url_variable="BRAVE_BASE_URL",
        key_variable="BRAVE_API_KEY",
        proof=("x-subscription-token", KEY),
        good=good,
        expected=expected,
        limit=Refusal(
            429, told("RATE_LIMITED", "Request rate limit exceeded", 429), "rate_limited", "rate limit exceeded"
        ),
        refusals=[
            Refusal(429, told("QUOTA_LIMITED", "Monthly quota", 429), "quota", "Monthly quota"),
            Refusal(
                422,
                told("SUBSCRIPTION_TOKEN_INVALID", "The provided token is invalid", 422),
                "auth",
                "token is invalid",
            ),
            Refusal(
                422, told("VALIDATION", "Unable to validate request parameter(s)", 422), "invalid_request", "validate"
            ),
        ],
        price="brave-search-",
        nano_usd=5_000_000,
    )


def tavily() -> Vendor:
    def good(asked: Asked, url: str) -> Reply:
        hits = [
            {"title": "Kafka", "url": "https://kafka.example", "content": "A log.", "score": 0.98, "raw_content": None}
        ]
        return Reply(
            {"query": asked.json["query"], "answer": None, "images": [], "results": hits, "response_time": 1.2}
        )

    def expected(asked: list[Asked], result: Any) -> None:
        [one] = asked
        assert (one.method, one.path) == ("POST", "/search")
        assert one.json == {"query": "event streaming", "max_results": 3, "search_depth": "basic"}
        assert (hit(result)["score"], hit(result)["text"]) == (0.98, "A log.")

    def told(words: str) -> dict[str, Any]:
        return {"detail": {"error": words}}

    return Vendor(
        capability="web_search",
        provider="tavily",
        params={"query": "event streaming", "results": 3},
        url_variable="TAVILY_BASE_URL",
        key_variable="TAVILY_API_KEY",
        proof=("authorization", f"Bearer {KEY}"),
        good=good,
        expected=expected,
        limit=Refusal(
            429, told("Your request has been blocked due to excessive requests."), "rate_limited", "excessive"
        ),
        refusals=[
            Refusal(401, told("Unauthorized: missing or invalid API key."), "auth", "invalid API key"),
            Refusal(432, told("This request exceeds your plan's set usage limit."), "quota", "usage limit"),
            Refusal(433, told("This request exceeds the pay-as-you-go limit."), "quota", "pay-as-you-go"),
            Refusal(400, told("Query is too long."), "invalid_request", "too long"),
        ],
        price="tavily-",
        nano_usd=8_000_000,
    )


def openai_text() -> Vendor:
    def good(asked: Asked, url: str) -> Reply:
        message = {"role": "assistant", "content": json.dumps(ARTICLE), "refusal": None}
        usage = {"prompt_tokens": 1000, "completion_tokens": 500, "prompt_tokens_details": {"cached_tokens": 0}}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return Reply({"model": "gpt-4o-mini-2024-07-18", "choices": [choice], "usage": usage})

    def expected(asked: list[Asked], result: Any) -> None:
        [one] = asked
        assert one.path == "/chat/completions"
        assert "Logs grow at their end." in one.json["messages"][1]["content"]
        assert result == ARTICLE

    def told(code: str, words: str) -> dict[str, Any]:
        return {"error": {"message": words, "type": code, "code": code, "param": None}}

    return Vendor(
        capability="text_generation",
        provider="openai_compatible",
        params=WRITE,
        url_variable="OPENAI_BASE_URL",
        key_variable="OPENAI_API_KEY",
        proof=("authorization", f"Bearer {KEY}"),
        good=good,
        expected=expected,
        limit=Refusal(
            429, told("rate_limit_exceeded", "Rate limit reached for gpt-4o-mini"), "rate_limited", "Rate limit"
        ),
        refusals=[
            Refusal(401, told("invalid_api_key", "Incorrect API key provided"), "auth", "Incorrect API key"),
            Refusal(
                429, told("insufficient_quota", "You exceeded your current quota"), "quota", "exceeded your current"
            ),
            Refusal(400, told("content_filter", "The response was filtered"), "content_refused", "filtered"),
            Refusal(
                400, told("context_length_exceeded", "maximum context length"), "invalid_request", "context length"
            ),
            Refusal(200, {"choices": [{"message": {"refusal": "I cannot"}}]}, "content_refused", "I cannot"),
        ],
        tokens=(1000, 500),
        model="gpt-4o-mini-2024-07-18",
        price="genai-prices-",
        nano_usd=450_000,
    )


def anthropic() -> Vendor:
    def good(asked: Asked, url: str) -> Reply:
        blocks = [
            {"type": "text", "text": "Here it is."},
            {"type": "tool_use", "id": "toolu_1", "name": "hand_in", "input": ARTICLE},
        ]
        usage = {"input_tokens": 1000, "output_tokens": 500, "cache_read_input_tokens": 0}
        answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001"}
        return Reply({**answer, "content": blocks, "stop_reason": "tool_use", "usage": usage})

    def expected(asked: list[Asked], result: Any) -> None:
        [one] = asked
        assert (one.path, one.headers["anthropic-version"]) == ("/v1/messages", "2023-06-01")
        assert (one.json["tool_choice"], one.json["max_tokens"]) == ({"type": "tool", "name": "hand_in"}, 8000)
        assert "Logs grow at their end." in one.json["messages"][0]["content"]
        assert result == ARTICLE

    def told(kind: str, words: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"}

    return Vendor(
        capability="text_generation",
        provider="anthropic",
        params=WRITE,
        url_variable="ANTHROPIC_BASE_URL",
        key_variable="ANTHROPIC_API_KEY",
        proof=("x-api-key", KEY),
        good=good,
        expected=expected,
        limit=Refusal(
            429, told("rate_limit_error", "would exceed your rate limit"), "rate_limited", "exceed your rate"
        ),
        refusals=[
            Refusal(401, told("authentication_error", "invalid x-api-key"), "auth", "invalid x-api-key"),
            Refusal(403, told("permission_error", "no permission"), "auth", "no permission"),
            Refusal(400, told("invalid_request_error", "Your credit balance is too low"), "quota", "credit balance"),
            Refusal(400, told("invalid_request_error", "messages: at least one"), "invalid_request", "at least one"),
            Refusal(413, told("request_too_large", "exceeds the maximum"), "invalid_request", "exceeds"),
            Refusal(529, told("overloaded_error", "Overloaded"), "outage", "Overloaded"),
            Refusal(200, {"content": [], "stop_reason": "refusal"}, "content_refused"),
            Refusal(200, {"content": [], "stop_reason": "max_tokens"}, "invalid_request"),
        ],
        tokens=(1000, 500),
        model="claude-haiku-4-5-20251001",
        price="genai-prices-",
        nano_usd=3_500_000,
    )


def gemini() -> Vendor:
    def good(asked: Asked, url: str) -> Reply:
        text = json.dumps(ARTICLE)
        parts = [{"text": "Let me think.", "thought": True}, {"text": text[:20]}, {"text": text[20:]}]
        candidate = {"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}
        usage = {
            "promptTokenCount": 1000,
            "candidatesTokenCount": 400,
            "thoughtsTokenCount": 100,
            "totalTokenCount": 1500,
        }
        return Reply({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"})

    def expected(asked: list[Asked], result: Any) -> None:
        [one] = asked
        assert one.path == "/models/gemini-2.5-flash:generateContent"
        assert one.json["generationConfig"]["responseMimeType"] == "application/json"
        assert "Logs grow at their end." in one.json["contents"][0]["parts"][0]["text"]
        assert result == ARTICLE

    def told(code: int, status: str, words: str, reason: str = "") -> dict[str, Any]:
        details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
        return {"error": {"code": code, "message": words, "status": status, "details": details}}

    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    stopped = {"candidates": [{"finishReason": "SAFETY", "index": 0}]}
    return Vendor(
        capability="text_generation",
        provider="gemini",
        params=WRITE,
        url_variable="GEMINI_BASE_URL",
        key_variable="GEMINI_API_KEY",
        proof=("x-goog-api-key", KEY),
        good=good,
        expected=expected,
        limit=Refusal(429, told(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted"), "rate_limited", "exhausted"),
        refusals=[
            Refusal(400, told(400, "INVALID_ARGUMENT", "API key not valid", "API_KEY_INVALID"), "auth", "not valid"),
            Refusal(400, told(400, "INVALID_ARGUMENT", "Unknown name"), "invalid_request", "Unknown name"),
            Refusal(403, told(403, "PERMISSION_DENIED", "no permission"), "auth", "no permission"),
            Refusal(503, told(503, "UNAVAILABLE", "The model is overloaded"), "outage", "overloaded"),
            Refusal(200, blocked, "content_refused", "PROHIBITED_CONTENT"),
            Refusal(200, stopped, "content_refused", "SAFETY"),
        ],
        tokens=(1000, 500),
        model="gemini-2.5-flash",
        price="genai-prices-",
        nano_usd=1_550_000,
    )


VENDORS: Final = [brave(), tavily(), openai_text(), anthropic(), gemini()]
