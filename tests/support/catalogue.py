"""Calls a built-in provider as the executor does: params, files and result held to the capability's contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agents_sdk.artifacts import ArtifactStore
from backplane.manifests.registry import load_registry
from backplane.providers import claim_check
from backplane.providers.python import ProviderContext, Resources
from backplane.recovery.outcome import Answer


class Bench:
    """A data directory, its artifacts, and the built-in manifests."""

    def __init__(self, data_dir: Path) -> None:
        self.artifacts = ArtifactStore(data_dir)
        self.registry = load_registry()
        self.context = ProviderContext(
            data_dir=data_dir,
            artifacts=self.artifacts,
            config={},
            resources=Resources(),
            call_id="c",
            run_id="0192-abcdef",
            agent="a",
            attempt=1,
            timeout_seconds=30,
        )

    def call(self, capability: str, function: Callable[..., Any], params: Mapping[str, Any]) -> Any:
        """The result, its files stored; raises what the provider raises."""
        contract = self.registry.get(capability)
        misfit = contract.check_params(params)
        assert misfit is None, misfit
        given = function(contract.with_defaults(params), self.context)
        answer = claim_check.checked(given if isinstance(given, Answer) else Answer(result=given), self.artifacts)
        assert isinstance(answer, Answer), answer
        misfit = contract.check_result(answer.result)
        assert misfit is None, misfit
        return answer.result
