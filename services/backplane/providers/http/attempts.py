"""Asks an HTTP provider once: the declared steps one after the other, under one deadline and one limit of bytes.

How far the attempt came says whether the effect may have happened, never the error that broke it off. It did not before
the first byte of the main request was written, nor after a clear refusal of it. Else it may have, for any error.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
from jmespath.exceptions import JMESPathError

from agents_sdk.artifacts import ArtifactStore
from agents_sdk.errors import BackplaneError, Unreachable
from backplane.manifests.egress import Policy
from backplane.manifests.model import ErrorClass, HttpProvider, Reconcile, Upload
from backplane.manifests.model.http import TOKENS
from backplane.manifests.template import ABSENT, expression, template
from backplane.providers import classify, said
from backplane.providers.attempts import Attempts, Surroundings
from backplane.providers.body import Allowance, Unreadable, parse
from backplane.providers.http import media
from backplane.providers.http.failed import Failed
from backplane.providers.http.pages import PageCursor, Turn
from backplane.providers.http.wire import FileStep, HttpResponse, Step, Wire
from backplane.providers.throttle import Throttle
from backplane.recovery.outcome import Answer, AttemptOutcome, AttemptRequest, Failure, Reconciled, Usage, counted

POLL_FAILURES: Final = 5
"""Looks in a row that may fail: the work goes on meanwhile, and beginning it again would cost it again."""
SUCCESS: Final = range(200, 300)
UNASKED: Final = frozenset({401, 402, 403, 407, 408, 425, 429, 451})
"""Refusals to say whether an effect happened: they are no answer to that."""
NO_CONTENT: Final = frozenset({204, 205})
EXPECTED: Final = ("input_tokens", "output_tokens")
"""Counts that every model gives; the other counts come where there are some."""
PASSING: Final = frozenset({"transient", "rate_limited", "outage"})


@dataclass(slots=True)
class _Under:
    """An attempt under way."""

    scope: dict[str, Any]
    allowance: Allowance
    until: float
    """Its end, by the loop's clock."""
    requests: int = 0
    sent: bool = False
    """The main request may have reached the provider, and was not clearly refused."""
    created: bool = False
    """A main request was answered with success: no later refusal undoes that."""

    def going_out(self, sent: bool) -> None:
        """The main request's first byte is written; or it was refused for certain."""
        self.sent = sent

    @property
    def uncertain(self) -> bool:
        """Its effect may have happened."""
        return self.sent or self.created


class HttpAttempts(Attempts):
    """Makes attempts at one HTTP provider over one connection pool."""

    def __init__(
        self,
        spec: HttpProvider,
        environment: Mapping[str, str],
        data_dir: Path,
        *,
        throttle: Throttle | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        artifacts: ArtifactStore | None = None,
        policy: Policy = Policy(),  # noqa: B008  # frozen
    ) -> None:
        """``throttle`` has let the first request of an attempt pass, and is asked for each further one. ``transport``
        takes the requests instead of the network, for tests. ``artifacts`` keeps files, without one below ``data_dir``;
        ``policy`` says where requests may go."""
        self._spec = spec
        self._environment = environment
        self._data_dir = data_dir
        self._throttle = throttle
        self._artifacts = artifacts or ArtifactStore(data_dir)
        self._wire = Wire(spec, environment, data_dir, transport, policy)
        self._main = Step(spec.request)
        self._lookup = Step(spec.lookup.request) if spec.lookup else None
        self._poll = Step(spec.poll.request) if spec.poll else None
        self._reconcile = Step(spec.reconcile.request) if spec.reconcile else None
        response = spec.response
        self._accepts = expression(spec.accepts) if spec.accepts else None
        self._result = expression(response.result)
        self._json_text = expression(response.json_text) if response.json_text else None
        names = ("model", "tier", *TOKENS)
        self._extras = {name: expression(text) for name in names if (text := getattr(response, name))}
        self._used = template(response.usage.model_dump(exclude_none=True))

    async def attempt(self, request: AttemptRequest) -> AttemptOutcome:
        """One attempt, one outcome; raises only CancelledError."""
        under = self._begun(request)
        outcome = await self._bounded(under, request.timeout_seconds)
        if isinstance(outcome, Answer):
            return outcome
        return replace(outcome, message=self._wire.redaction.text(outcome.message), uncertain=under.uncertain)

    async def reconcile(self, request: AttemptRequest) -> Reconciled:
        """The provider's answer about an attempt made before; raises only CancelledError."""
        if self._reconcile is None:
            return Reconciled("unknown", message="its manifest has no reconcile")
        under = self._begun(request)
        try:
            async with asyncio.timeout_at(under.until):
                received = await self._exchange(self._reconcile, under, Turn())
            assert self._spec.reconcile is not None
            return _reconciled(self._spec.reconcile, received)
        except Failed as broken:
            return Reconciled("unknown", message=self._wire.redaction.text(broken.failure.message))
        except Exception as error:  # noqa: BLE001  # whatever it is, nobody knows what became of the attempt
            return Reconciled("unknown", message=self._wire.redaction.text(f"{type(error).__name__}: {error}"))

    async def close(self) -> None:
        """Closes the connections."""
        await self._wire.close()

    def _begun(self, request: AttemptRequest) -> _Under:
        call = {
            "id": request.call_id, "run_id": request.run_id, "agent": request.agent, "attempt": request.attempt
        }  # fmt: skip
        return _Under(
            scope={
                "params": request.params,
                "call": call,
                "config": self._spec.config,
                "lookup": None,
                "uploaded": None,
            },
            allowance=Allowance(self._spec.response.max_bytes),
            until=asyncio.get_running_loop().time() + request.timeout_seconds,
        )

    async def _bounded(self, under: _Under, seconds: float) -> AttemptOutcome:
        try:
            async with asyncio.timeout_at(under.until):
                return await self._steps(under)
        except Failed as broken:
            return broken.failure
        except TimeoutError:
            message = f"no complete answer within {seconds:g} s"
            return Failure(error_class="transient", code="timeout", message=message)
        except Exception as error:  # noqa: BLE001  # one attempt, one outcome: nothing else may leave it
            return classify.of_exception(error, answered=under.sent)

    async def _steps(self, under: _Under) -> AttemptOutcome:
        if self._accepts is not None and not self._accepts(under.scope["params"]):
            message = f"it cannot do this: its manifest accepts only {self._spec.accepts!r}"
            return Failure(error_class="invalid_request", code="not_accepted", message=message)
        if self._lookup is not None:
            under.scope["lookup"] = await self._look_up(self._lookup, under)
        if self._spec.upload is not None:
            under.scope["uploaded"] = await self._upload(self._spec.upload, under)
        if self._spec.pages is not None:
            return await self._answer(under, await self._read_pages(under))
        received = await self._send(self._main, under, Turn())
        body = _json_of(received, needed=self._poll is None)
        if self._poll is not None:
            under.scope["created"] = body
            body = await self._poll_until_done(self._poll, under)
        return await self._answer(under, body)

    async def _look_up(self, step: Step, under: _Under) -> Any:
        assert self._spec.lookup is not None
        received = await self._exchange(step, under, Turn())
        if received.status in self._spec.lookup.absent:
            return None
        self._refuse_failures(received)
        return _json_of(received)

    async def _upload(self, upload: Upload, under: _Under) -> Any:
        reference = expression(upload.file)(under.scope["params"])
        if reference is None:
            return None
        try:
            file = await asyncio.to_thread(self._artifacts.get, str(reference))
        except BackplaneError as error:
            error_class: ErrorClass = "outage" if isinstance(error, Unreachable) else "invalid_request"
            raise Failed(Failure(error_class=error_class, code=error.code, message=error.message)) from error
        return _json_of(await self._send(FileStep(upload.request, file), under, Turn()))

    async def _read_pages(self, under: _Under) -> Any:
        assert self._spec.pages is not None
        limit = template(self._spec.pages.limit)(under.scope)
        reading = PageCursor(self._spec.pages, limit if isinstance(limit, int) else None)
        turn: Turn | None = reading.first()
        while turn is not None:
            received = await self._send(self._main, under, turn)
            turn = reading.take(_json_of(received), received.next_link, received.url)
        return reading.gathered()

    async def _poll_until_done(self, step: Step, under: _Under) -> Any:
        """The response that says it is done. Failures that can pass are borne, a few in a row. Raises Failed."""
        spec = self._spec.poll
        assert spec is not None
        done = expression(spec.done)
        failures = 0
        wait = spec.interval_seconds
        while True:
            await asyncio.sleep(wait)
            seen = await self._glance(step, under)
            if isinstance(seen, HttpResponse):
                failures, wait = 0, spec.interval_seconds
                if done(seen.body):
                    return seen.body
                continue
            failures += 1
            if seen.error_class not in PASSING or failures >= POLL_FAILURES:
                raise Failed(seen)
            wait = max(spec.interval_seconds, seen.retry_after or 0.0)

    async def _glance(self, step: Step, under: _Under) -> HttpResponse | Failure:
        """One look at work under way; a failure is one of looking. Raises Failed when the work itself has failed, which
        a successful response says that a rule makes a failure."""
        try:
            received = await self._exchange(step, under, Turn())
        except (httpx.HTTPError, Unreadable) as error:
            return classify.of_exception(error, answered=True)
        failure = self._failure_of(received)
        if failure is not None and received.status in SUCCESS:
            raise Failed(failure)
        if failure is None and received.body is ABSENT:
            return _no_json(received)
        return failure or received

    async def _send(self, step: Step, under: _Under, turn: Turn) -> HttpResponse:
        """A response that is a success. Raises Failed for one that is not."""
        received = await self._exchange(step, under, turn)
        failure = self._failure_of(received)
        if step is not self._main:
            self._refuse_failures(received)
        elif failure is not None:
            under.going_out(failure.uncertain)
            usage, model = self._measured(received.body)
            raise Failed(replace(failure, usage=usage, model=model))
        else:
            under.created = True
        return received

    async def _exchange(self, step: Step, under: _Under, turn: Turn) -> HttpResponse:
        if under.requests and self._throttle is not None:
            full = await self._throttle.another(under.until)
            if full is not None:
                raise Failed(full)
        under.requests += 1
        going_out = under.going_out if step is self._main else _nothing
        return await self._wire.send(step, under.scope, turn, under.allowance, going_out)

    def _refuse_failures(self, received: HttpResponse) -> None:
        failure = self._failure_of(received)
        if failure is not None:
            raise Failed(failure)

    def _failure_of(self, received: HttpResponse) -> Failure | None:
        return classify.of_response(
            received.status,
            received.reason,
            received.headers.get("retry-after"),
            None if received.body is ABSENT else received.body,
            self._spec.errors,
            dt.datetime.now(dt.UTC),
            error_bodies=self._spec.response.error_bodies,
            cut_off=self._spec.response.cut_off,
        )

    async def _answer(self, under: _Under, body: Any) -> AttemptOutcome:
        """The result and what it took, from the response's JSON."""
        usage, model = self._measured(body)
        try:
            result = self._result(await self._answered(under, body))
        except Exception as error:  # noqa: BLE001  # whatever it is, the attempt was made and is paid for
            broken = error.failure if isinstance(error, Failed) else classify.of_exception(error, answered=True)
            return replace(broken, usage=usage, model=model)
        used = self._made({**under.scope, "response": body, "result": result})
        made = replace(
            usage,
            images=used.images,
            seconds=used.seconds,
            bytes=used.bytes,
            uncounted=usage.uncounted | (used.uncounted & {"images", "seconds", "bytes"}),
        )
        return Answer(result=result, usage=made, model=model)

    def _measured(self, body: Any) -> tuple[Usage, str]:
        """The tokens and the model, as a response tells them; what it should tell and does not is uncounted."""
        fields = {name: _found(find, body) for name, find in self._extras.items()}
        model = fields.pop("model", None)
        return counted(fields, EXPECTED), str(model) if model else ""

    def _made(self, scope: dict[str, Any]) -> Usage:
        """Further use, as the manifest measures it."""
        return counted(_found(self._used, scope) or {}, ("images", "seconds", "bytes"))

    async def _answered(self, under: _Under, body: Any) -> Any:
        """The value from which ``response.result`` is taken. Raises Failed."""
        response = self._spec.response
        inner = body
        if self._json_text is not None:
            text = self._json_text(body)
            inner = parse(text.encode()) if isinstance(text, str) else ABSENT
            if inner is ABSENT:
                message = f"no JSON text at {response.json_text!r} of the response"
                raise Failed(
                    Failure(error_class="transient", code="malformed_response", message=message, uncertain=True)
                )
        if response.artifact is None:
            return inner
        base = self._spec.request.base_url.resolve(self._environment, self._data_dir)
        made = await media.keep(response.artifact, inner, self._wire, base, self._artifacts)
        return {**made, "response": inner, "params": under.scope["params"]}


def make(spec: HttpProvider, around: Surroundings) -> HttpAttempts:
    """A web API, ready to be asked."""
    return HttpAttempts(
        spec,
        around.environment,
        around.data_dir,
        throttle=around.throttle,
        artifacts=around.artifacts,
        policy=around.policy,
    )


def _json_of(received: HttpResponse, *, needed: bool = True) -> Any:
    """The response's JSON; None for one without content where none is needed or announced. Raises Failed."""
    if received.body is not ABSENT:
        return received.body
    if received.size == 0 and (received.status in NO_CONTENT or not needed):
        return None
    raise Failed(_no_json(received))


def _no_json(received: HttpResponse) -> Failure:
    kind = received.headers.get("content-type", "no content type")
    message = f"HTTP {received.status} with {received.size} bytes that are no JSON ({kind})"
    return Failure(error_class="transient", code="malformed_response", message=message, uncertain=True)


def _reconciled(asked: Reconcile, received: HttpResponse) -> Reconciled:
    shown = f"HTTP {received.status}"
    open_still = received.status >= 500 or 300 <= received.status < 400 or received.status in UNASKED
    if open_still or received.body is ABSENT:
        return Reconciled("unknown", message=shown)
    if received.status in SUCCESS and (error := said.error_of(received.body, classify.default_class)) is not None:
        return Reconciled("unknown", message=f"{shown} with an error: {error.code} {error.words}"[:300])
    scope = {"status": received.status, "body": received.body}
    happened = expression(asked.happened)(scope)
    if happened is not True:
        return Reconciled("not_happened" if happened is False else "unknown", message=shown)
    result = expression(asked.result)(scope) if asked.result else None
    return Reconciled("happened", Answer(result=result), shown)


def _nothing(sent: bool) -> None:
    """For requests that have no effect."""


def _found(find: Callable[[Any], Any], value: Any) -> Any:
    """The result of an expression; null where it cannot work with the value: an answer is not lost for want of a
    count."""
    try:
        return find(value)
    except JMESPathError:
        return None
