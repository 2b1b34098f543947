"""``@step``: functions whose calls in a handler are steps, and what their models used."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast, overload

import msgspec

from agents_sdk.retry import Retry
from agents_sdk.steps import Effect, Options, Running, called, current_context, note, running_step
from agents_sdk.usage import usage_of

P = ParamSpec("P")
R = TypeVar("R")


class StepFunction(Generic[P, R]):
    """A function whose calls in a handler are steps; elsewhere it is the plain function."""

    def __init__(self, fn: Callable[P, Awaitable[R]] | Callable[P, R], name: str, options: Options) -> None:
        self.fn = fn
        self.name = name
        self.options = options
        functools.update_wrapper(self, fn)

    def named(self, name: str) -> StepFunction[P, R]:
        """The same step under another name."""
        return StepFunction(self.fn, name, self.options)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        ctx = current_context.get()
        if ctx is None or running_step.get() is not None:
            running = running_step.get() or Running(self.name, self.options)
            return cast("Coroutine[Any, Any, R]", called(self.fn, args, kwargs, running, self.options.timeout))
        return cast("Coroutine[Any, Any, R]", ctx.step_with(self.name, self.fn, args, kwargs, self.options))


class _StepDecorator:
    """``step``: makes functions steps, and tells what the model of the running step used."""

    __name__ = "step"

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> StepFunction[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> StepFunction[P, R]: ...
    @overload
    def __call__(
        self,
        *,
        name: str = "",
        retry: Retry | int | None = None,
        timeout: float | None = None,
        effect: Effect = "safe",
        reconcile: Callable[..., Any] | None = None,
        prompt: str = "",
    ) -> Callable[[Callable[P, Any]], StepFunction[P, Any]]: ...
    def __call__(  # type: ignore[misc]  # a function or none, which mypy holds against the named options
        self,
        fn: Any = None,
        /,
        *,
        name: str = "",
        retry: Retry | int | None = None,
        timeout: float | None = None,
        effect: Effect = "safe",
        reconcile: Callable[..., Any] | None = None,
        prompt: str = "",
    ) -> Any:
        """Makes a function a step: each of its calls in a handler is made once and recorded, under the function's name
        or ``name``. ``retry``, ``timeout``, ``effect`` and ``reconcile`` as in ``ctx.step``; ``prompt`` as in
        ``ctx.model``. Outside a handler, and inside another step, it is the plain function. Raises ValueError."""
        options = Options(retry, timeout, effect, reconcile, prompt=prompt)
        if fn is None:
            return lambda given: StepFunction(given, name or given.__name__, options)
        return StepFunction(fn, name or fn.__name__, options)

    @staticmethod
    def usage(
        answer: Any = None, *, model: str = "", provider: str = "", prompt: str = "", **tokens: int | str
    ) -> None:
        """Says, inside a step, what one answer of a model used.

        ``answer`` is a response of the SDK of OpenAI, Anthropic or Google, or of LiteLLM, or a mapping like it. Model
        and tokens of every class are read from it. Fields given by name have precedence: ``input_tokens``,
        ``output_tokens``, ``cached_tokens`` and so on, as attempts have them. ``prompt`` is the prompt's version, such
        as ``"writer@3"``. The price is that of the package genai-prices.

        Raises RuntimeError outside a step, TypeError for an answer without a usage."""
        running = running_step.get()
        if running is None:
            raise RuntimeError("step.usage(…) was called outside a step; call it in the function of a step")
        usage = usage_of(answer, model, provider, **tokens)
        note(running, msgspec.structs.replace(usage, prompt_version=prompt) if prompt else usage)


step: Final = _StepDecorator()
