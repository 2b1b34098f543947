"""What the providers of the built-in manifests answer, after their own documentation; written down, not recorded.

Each vendor is a capability's provider with params, the variables that point it at a local server and give it its key, a
script that answers well, and what must come of it.
"""

# long because: ten vendors in one table: each is read beside the others

from __future__ import annotations

import hashlib
import io
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from PIL import Image

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


def png(width: int, height: int) -> bytes:
    """An image of this size."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), "navy").save(out, "PNG")
    return out.getvalue()


def openai_images() -> Vendor:
    picture = png(1536, 1024)

    def good(asked: Asked, url: str) -> Reply:
        usage = {"input_tokens": 20, "output_tokens": 1568, "total_tokens": 1588}
        return Reply({"created": 1732500000, "data": [{"b64_json": b64encode(picture).decode()}], "usage": usage})

    def expected(asked: list[Asked], result: Any) -> None:
        [one] = asked
        assert one.path == "/images/generations"
        assert (one.json["model"], one.json["size"], one.json["n"]) == ("gpt-image-1", "1536x1024", 1)
        assert one.json["prompt"] == "A lake\nAt dusk"
        assert result["artifact"]["sha256"] == hashlib.sha256(picture).hexdigest()
        assert (result["width"], result["height"], result["alt"]) == (1536, 1024, "A lake")

    def told(code: str, words: str) -> dict[str, Any]:
        return {"error": {"message": words, "type": "image_generation_user_error", "code": code, "param": None}}

    return Vendor(
        capability="image_generation",
        provider="openai_images",
        params={"prompt": "A lake", "subtitle": "At dusk"},
        url_variable="OPENAI_BASE_URL",
        key_variable="OPENAI_API_KEY",
        proof=("authorization", f"Bearer {KEY}"),
        good=good,
        expected=expected,
        limit=Refusal(
            429, told("rate_limit_exceeded", "Rate limit reached for gpt-image-1"), "rate_limited", "Rate limit"
        ),
        refusals=[
            Refusal(400, told("moderation_blocked", "rejected by the safety system"), "content_refused", "safety"),
            Refusal(400, told("billing_hard_limit_reached", "Billing hard limit"), "quota", "hard limit"),
            Refusal(429, told("insufficient_quota", "exceeded your current quota"), "quota", "quota"),
            Refusal(400, told("invalid_value", "Invalid value: size"), "invalid_request", "size"),
            Refusal(200, {"data": [{"b64_json": b64encode(b"no image").decode()}]}, "transient", "no image"),
            Refusal(200, {"data": []}, "transient", "no file"),
        ],
        tokens=(20, 1568),
        price="openai-gpt-image-1",
        nano_usd=62_820_000,
    )


def stability() -> Vendor:
    picture = png(64, 64)

    def good(asked: Asked, url: str) -> Reply:
        return Reply({"image": b64encode(picture).decode(), "finish_reason": "SUCCESS", "seed": 343940597})

    def expected(asked: list[Asked], result: Any) -> None:
        [one] = asked
        assert one.path == "/v2beta/stable-image/generate/core"
        assert one.headers["content-type"].startswith("multipart/form-data; boundary=")
        assert one.headers["accept"] == "application/json"
        text = one.body.decode()
        assert 'name="aspect_ratio"\r\n\r\n1:1\r\n' in text
        assert 'name="seed"\r\n\r\n7\r\n' in text
        assert result["artifact"]["size"] == len(picture)

    def told(name: str, words: str) -> dict[str, Any]:
        return {"id": "a6dc6c6e20acda010fe14d71f180658f", "name": name, "errors": [words]}

    return Vendor(
        capability="image_generation",
        provider="stability",
        params={"prompt": "A lake", "width": 500, "height": 500, "seed": 7},
        url_variable="STABILITY_BASE_URL",
        key_variable="STABILITY_API_KEY",
        proof=("authorization", f"Bearer {KEY}"),
        good=good,
        expected=expected,
        limit=Refusal(
            429, told("rate_limit_exceeded", "150 requests every 10 seconds"), "rate_limited", "150 requests"
        ),
        refusals=[
            Refusal(403, told("content_moderation", "flagged by our content moderation"), "content_refused", "flagged"),
            Refusal(402, told("payment_required", "You lack sufficient credits"), "quota", "credits"),
            Refusal(401, told("unauthorized", "authorization: invalid"), "auth", "authorization"),
            Refusal(422, told("unprocessable", "language not supported"), "invalid_request", "language"),
            Refusal(200, {"image": "", "finish_reason": "CONTENT_FILTERED"}, "content_refused", "CONTENT_FILTERED"),
        ],
        price="stability-core",
        nano_usd=30_000_000,
    )


FILM: Final = b"\x00\x00\x00\x18ftypmp42" + b"film" * 1000


def runway() -> Vendor:
    def good(asked: Asked, url: str) -> Reply:
        if asked.path == "/v1/text_to_video":
            return Reply({"id": "17f20503-6c24-4c16-946b-35dbbce2af2f"})
        if asked.path == "/film.mp4":
            return Reply(FILM, headers={"content-type": "video/mp4"})
        task = {"id": "17f20503-6c24-4c16-946b-35dbbce2af2f", "createdAt": "2026-11-24T12:00:00Z"}
        return Reply({**task, "status": "SUCCEEDED", "output": [f"{url}/film.mp4"]})

    def expected(asked: list[Asked], result: Any) -> None:
        create, look, film = asked
        assert create.json == {
            "model": "veo3.1_fast",
            "promptText": "A lake",
            "ratio": "1280:720",
            "duration": 6,
            "audio": False,
        }
        assert look.path == "/v1/tasks/17f20503-6c24-4c16-946b-35dbbce2af2f"
        assert create.headers["x-runway-version"] == look.headers["x-runway-version"] == "2024-11-06"
        assert "authorization" not in film.headers
        assert (result["seconds"], result["artifact"]["size"]) == (6, len(FILM))

    def ended(code: str, words: str) -> dict[str, Any]:
        return {"id": "t", "status": "FAILED", "failure": words, "failureCode": code}

    return Vendor(
        capability="video_generation",
        provider="runway",
        params={"prompt": "A lake", "seconds": 5},
        url_variable="RUNWAYML_BASE_URL",
        key_variable="RUNWAYML_API_SECRET",
        proof=("authorization", f"Bearer {KEY}"),
        good=good,
        expected=expected,
        limit=Refusal(429, {"error": "You have reached your daily task limit"}, "rate_limited", "daily task limit"),
        refusals=[
            Refusal(401, {"error": "The API key is invalid"}, "auth", "key is invalid"),
            Refusal(400, {"error": "You do not have enough credits to run this task."}, "quota", "credits"),
            Refusal(400, {"error": "Validation of body failed", "issues": []}, "invalid_request", "Validation"),
            Refusal(200, ended("SAFETY.INPUT.TEXT", "moderated"), "content_refused", "moderated"),
            Refusal(200, ended("INPUT_PREPROCESSING.SAFETY.TEXT", "bad input"), "invalid_request", "bad input"),
            Refusal(200, ended("INTERNAL.BAD_OUTPUT.CODE01", "it failed"), "transient", "it failed"),
        ],
        price="runway-",
        nano_usd=600_000_000,
    )


def luma() -> Vendor:
    def good(asked: Asked, url: str) -> Reply:
        generation = {"id": "123e4567", "generation_type": "video", "model": "ray-flash-2", "failure_reason": None}
        if asked.path == "/generations/video":
            return Reply({**generation, "state": "queued", "assets": None}, 201)
        if asked.path == "/film.mp4":
            return Reply(FILM, headers={"content-type": "video/mp4"})
        return Reply({**generation, "state": "completed", "assets": {"video": f"{url}/film.mp4"}})

    def expected(asked: list[Asked], result: Any) -> None:
        create, look, _ = asked
        assert create.json == {
            "generation_type": "video",
            "model": "ray-flash-2",
            "resolution": "720p",
            "prompt": "A lake",
            "aspect_ratio": "9:16",
            "duration": "9s",
        }
        assert (look.method, look.path) == ("GET", "/generations/123e4567")
        assert (result["seconds"], result["artifact"]["mime"]) == (9, "video/mp4")

    def ended(words: str) -> dict[str, Any]:
        return {"id": "123e4567", "state": "failed", "failure_reason": words, "assets": None}

    return Vendor(
        capability="video_generation",
        provider="luma",
        params={"prompt": "A lake", "seconds": 8, "width": 720, "height": 1080},
        url_variable="LUMAAI_BASE_URL",
        key_variable="LUMAAI_API_KEY",
        proof=("authorization", f"Bearer {KEY}"),
        good=good,
        expected=expected,
        limit=Refusal(429, {"detail": "Rate limit exceeded"}, "rate_limited", "Rate limit"),
        refusals=[
            Refusal(403, {"detail": "Not authenticated"}, "auth", "Not authenticated"),
            Refusal(400, {"detail": "Insufficient credits"}, "quota", "credits"),
            Refusal(400, {"detail": "Prompt is required"}, "invalid_request", "Prompt"),
            Refusal(200, ended("Prompt failed moderation"), "content_refused", "moderation"),
            Refusal(200, ended("400: advanced error"), "transient", "advanced error"),
        ],
        model="ray-flash-2",
        price="luma-",
        nano_usd=432_000_000,
    )


LOGIN: Final = "editor:abcd EFGH 1234 ijkl"


def wordpress() -> Vendor:
    def good(asked: Asked, url: str) -> Reply:
        if asked.method == "GET":
            return Reply([{"id": 42, "link": f"{url}/logs/"}])
        return Reply({"id": 42, "link": f"{url}/logs/", "slug": "logs", "status": "publish"})

    def expected(asked: list[Asked], result: Any) -> None:
        look, post = asked
        assert (look.path, look.query["slug"]) == ("/wp-json/wp/v2/posts", "logs")
        assert (post.method, post.path) == ("POST", "/wp-json/wp/v2/posts/42")
        assert (post.json["title"], post.json["status"], post.json["slug"]) == ("Logs", "publish", "logs")
        content = post.json["content"]
        assert "<h2>Growth &amp; more</h2><p>Logs <em>grow</em>" in content
        assert '<li id="source-1"><a href="https://log.example">Logs</a></li>' in content
        assert "<script" not in content
        assert (result["slug"], result["url"].endswith("/logs/")) == ("logs", True)

    def told(code: str, words: str, status: int) -> dict[str, Any]:
        return {"code": code, "message": words, "data": {"status": status}}

    paragraph = {"heading": "Growth & more", "text": "Logs *grow*.<script>x</script>", "sources": ["s1"]}
    return Vendor(
        capability="content_publish",
        provider="wordpress",
        params={
            "title": "Logs",
            "slug": "Logs",
            "paragraphs": [paragraph],
            "sources": [{"id": "s1", "title": "Logs", "url": "https://log.example"}],
        },
        url_variable="WORDPRESS_URL",
        key_variable="WORDPRESS_LOGIN",
        proof=("authorization", "Basic " + b64encode(LOGIN.encode()).decode()),
        good=good,
        expected=expected,
        limit=Refusal(429, told("too_many_requests", "Too many requests", 429), "rate_limited", "Too many"),
        refusals=[
            Refusal(401, told("incorrect_password", "The provided password is invalid", 401), "auth", "password"),
            Refusal(401, told("rest_cannot_create", "not allowed to create posts", 401), "auth", "not allowed"),
            Refusal(400, told("rest_invalid_param", "Invalid parameter(s): status", 400), "invalid_request", "status"),
            Refusal(404, told("rest_no_route", "No route was found", 404), "invalid_request", "No route"),
        ],
        price="own-site",
        key=LOGIN,
    )


VENDORS: Final = [
    brave(),
    tavily(),
    openai_text(),
    anthropic(),
    gemini(),
    openai_images(),
    stability(),
    runway(),
    luma(),
    wordpress(),
]
