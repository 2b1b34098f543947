"""What a capability manifest says: the pydantic models of ``manifests/*.yaml``. Data only; nothing here calls anything.

Money is integer nano-USD (1 USD = 1,000,000,000), durations are seconds. Unknown keys are refused: a misspelt limit
must not pass for no limit.
"""

from __future__ import annotations

from agents_sdk.recovery import Retry
from backplane.capabilities.model.auth import Auth, ClientCredentials, SecretAuth
from backplane.capabilities.model.capability import Capability, Provider
from backplane.capabilities.model.http import (
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
from backplane.capabilities.model.pages import Pages
from backplane.capabilities.model.part import ErrorClass
from backplane.capabilities.model.price import Price
from backplane.capabilities.model.provider import SAFE_VARIABLES, McpProvider, PythonProvider, Rate, SubprocessProvider
from backplane.capabilities.model.reference import Reference, SecretReference, environment

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
