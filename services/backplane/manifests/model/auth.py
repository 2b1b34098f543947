"""How a request proves who sends it."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from backplane.manifests.model.part import Part
from backplane.manifests.model.reference import Reference, SecretReference


class SecretAuth(Part):
    """A secret that goes with every request, in the place that the API wants."""

    kind: Literal["bearer", "header", "query", "basic"]
    secret: SecretReference
    """For ``basic``: user and password with a colon between."""
    name: str = ""
    """The header's or the query parameter's name."""
    prefix: str = ""
    """Put before the secret in the header, with its space: ``"Token "``."""

    @model_validator(mode="after")
    def _named(self) -> SecretAuth:
        if self.kind in ("header", "query") and not self.name:
            raise ValueError(f"auth kind {self.kind!r} needs the name of the {self.kind}")
        if self.prefix and self.kind != "header":
            raise ValueError(f"auth kind {self.kind!r} has no prefix; only 'header' does")
        return self

    def references(self) -> list[Reference | SecretReference]:
        """The secrets that a request needs."""
        return [self.secret]


class ClientCredentials(Part):
    """OAuth 2.0's client credentials (RFC 6749 §4.4). A token is fetched with the client's secret and used until it
    expires or is refused. It is fetched once, however many attempts need it at that moment."""

    kind: Literal["oauth2_client_credentials"]
    token_url: Reference
    client_id: Reference
    client_secret: SecretReference
    scope: str = ""
    audience: str = ""
    """An extension that some servers ask for, Auth0's for one."""
    place: Literal["basic", "body"] = "basic"
    """Where id and secret go: an Authorization header, which every server must take, or the form."""

    def references(self) -> list[Reference | SecretReference]:
        """The secrets that a request needs."""
        return [self.token_url, self.client_id, self.client_secret]


Auth: TypeAlias = Annotated[SecretAuth | ClientCredentials, Field(discriminator="kind")]
