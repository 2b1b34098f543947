"""The language of capability manifests: the pydantic models of ``manifests/*.yaml``. Data only; nothing here calls
anything.

Money is integer nano-USD (1 USD = 1,000,000,000), durations are seconds. Unknown keys are refused: a misspelt limit
must not pass for no limit.
"""

from __future__ import annotations

from agents_sdk.recovery import Retry
from backplane.manifests.model.auth import Auth, ClientCredentials, SecretAuth
from backplane.manifests.model.capability import Capability, Provider
from backplane.manifests.model.http import (
    ArtifactRule,
    Ask,
    ErrorRule,
    HttpProvider,
    Lookup,
    Poll,
    Reconcile,
    Request,
    Response,
    Upload,
)
from backplane.manifests.model.pages import Pages
from backplane.manifests.model.part import ErrorClass
from backplane.manifests.model.price import Price
from backplane.manifests.model.provider import SAFE_VARIABLES, McpProvider, PythonProvider, Rate, SubprocessProvider
from backplane.manifests.model.reference import Reference, SecretReference, environment

__all__ = [
    "SAFE_VARIABLES",
    "ArtifactRule",
    "Ask",
    "Auth",
    "Capability",
    "ClientCredentials",
    "ErrorClass",
    "ErrorRule",
    "HttpProvider",
    "Lookup",
    "McpProvider",
    "Pages",
    "Poll",
    "Price",
    "Provider",
    "PythonProvider",
    "Rate",
    "Reconcile",
    "Reference",
    "Request",
    "Response",
    "Retry",
    "SecretAuth",
    "SecretReference",
    "SubprocessProvider",
    "Upload",
    "environment",
]
