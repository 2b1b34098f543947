"""An OpenAPI 3 document → drafts of manifests, one capability an operation. Pure.

It leaves out the parts that a draft cannot express and names them. An operation without JSON has no capability, and is
listed with its reason. Schemas stay references: what an operation uses of the document's own becomes its ``$defs``, so
that what refers to itself may go on doing so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from backplane.manifests.openapi_schema import Schemas, resolve
from backplane.manifests.openapi_styles import Unsupported, identifier
from backplane.manifests.openapi_styles import place as put

METHODS: Final = ("get", "put", "post", "delete", "patch")
SIDE_EFFECTS: Final = {"get": "read", "put": "idempotent", "delete": "idempotent", "patch": "unsafe", "post": "unsafe"}
"""By RFC 9110 §9.2: what is safe, what is idempotent, and what is neither."""
ENCODINGS: Final = {
    "application/json": "json",
    "application/x-www-form-urlencoded": "form",
    "multipart/form-data": "multipart",
}
NAME_LENGTH: Final = 63
SHORTEST: Final = 10
"""Characters of a description, below which a manifest is refused."""
DESCRIPTION_LENGTH: Final = 200
"""Characters; agents read it every time, so a draft takes no page of prose."""


class NoDocument(ValueError):
    """The input is no OpenAPI document of version 3."""


@dataclass(frozen=True, slots=True)
class SkippedOperation:
    """An operation that no draft was made of."""

    operation: str
    reason: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A manifest, as the mapping that its YAML holds."""

    operation: str
    manifest: dict[str, Any]


def drafts(document: Any, *, base_url: str = "", prefix: str = "") -> Iterator[Draft | SkippedOperation]:
    """A draft of each operation, in the document's order, or why there is none. ``base_url`` goes before the
    document's own; ``prefix`` before every name. Raises NoDocument."""
    version = document.get("openapi") if isinstance(document, Mapping) else None
    if not isinstance(version, str) or not version.startswith("3.") or not isinstance(document.get("paths"), Mapping):
        found = "Swagger 2.0; convert it first" if isinstance(document, Mapping) and "swagger" in document else "none"
        raise NoDocument(f"this is no OpenAPI document of version 3 with paths: {found}")
    api = _Api(document, base_url, prefix)
    taken: set[str] = set()
    for path, item in document["paths"].items():
        for method in METHODS:
            declared = resolve(document, item).get(method)
            if not isinstance(declared, Mapping):
                continue
            operation = f"{method.upper()} {path}"
            try:
                manifest = api.capability(path, method, resolve(document, item), declared, taken)
            except Unsupported as reason:
                yield SkippedOperation(operation, str(reason))
            else:
                taken.add(manifest["name"])
                yield Draft(operation, manifest)


class _Api:
    """The document and what all its operations have in common."""

    def __init__(self, document: Mapping[str, Any], base_url: str, prefix: str) -> None:
        self.document = document
        self.prefix = prefix
        title = _snake(str(document.get("info", {}).get("title") or "api"))
        self.variable = title.upper()[:40].rstrip("_")
        self.provider = title[:NAME_LENGTH].rstrip("_")
        self.base_url = {"env": f"{self.variable}_BASE_URL"} | (
            {"value": url} if (url := base_url or self._url()) else {}
        )

    def capability(
        self, path: str, method: str, item: Mapping[str, Any], operation: Mapping[str, Any], taken: set[str]
    ) -> dict[str, Any]:
        """The manifest of one operation. Raises Unsupported."""
        schemas = Schemas(self.document, unsent="readOnly")
        params, request = self._request(path, method, item, operation, schemas)
        result_schemas = Schemas(self.document, unsent="writeOnly")
        result = result_schemas.complete(self._result(operation, result_schemas))
        provider: dict[str, Any] = {"name": self.provider, "kind": "http", "request": request}
        auth = self._auth(operation)
        if auth is not None:
            provider["auth"] = auth
        return {
            "name": self._name(path, method, operation, taken),
            "description": _description(path, method, operation),
            "side_effects": SIDE_EFFECTS[method],
            "params": schemas.complete(params),
            "result": result,
            "providers": [provider],
        }

    def _name(self, path: str, method: str, operation: Mapping[str, Any], taken: set[str]) -> str:
        given = _snake(self.prefix + str(operation.get("operationId") or f"{method} {path}"))[:NAME_LENGTH].rstrip("_")
        name, number = given, 2
        while name in taken:
            name = f"{given[: NAME_LENGTH - 4]}_{number}"
            number += 1
        return name

    def _url(self) -> str:
        """The first server's, its variables at their defaults; "" for one without a host."""
        server: Mapping[str, Any] = next(iter(self.document.get("servers") or []), {})
        url = str(server.get("url") or "")
        for name, variable in (server.get("variables") or {}).items():
            url = url.replace("{" + name + "}", str(variable.get("default", "")))
        return url.rstrip("/") if url.startswith(("http://", "https://")) else ""

    def _request(
        self, path: str, method: str, item: Mapping[str, Any], operation: Mapping[str, Any], schemas: Schemas
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """(schema of the params, request template)."""
        params: dict[str, Any] = {"type": "object", "required": [], "additionalProperties": False, "properties": {}}
        request: dict[str, Any] = {"method": method.upper(), "base_url": self.base_url, "path": path}
        for parameter in self._parameters(item, operation):
            name, place = str(parameter["name"]), parameter["in"]
            key = name if name not in params["properties"] else f"{place}_{name}"
            schema = schemas.schema(_schema_of(parameter))
            if parameter.get("description"):
                schema = {"description": _short(str(parameter["description"])), **schema}
            params["properties"][key] = schema
            if parameter.get("required") or place == "path":
                params["required"].append(key)
            put(self.document, request, parameter, key)
        if re.search(r"(?<!\$)\{", request["path"]):
            raise Unsupported("its path has a parameter that is not declared")
        body = resolve(self.document, operation.get("requestBody") or {})
        if body:
            encoding, schema = self._content(body.get("content") or {}, schemas)
            params["properties"]["body"] = schema
            params["required"] += ["body"] * bool(body.get("required"))
            request["body"] = "${params.body}" if encoding == "json" else _form(self.document, body, encoding)
            request |= {"encoding": encoding} if encoding != "json" else {}
        return params, request

    def _parameters(self, item: Mapping[str, Any], operation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Those of the path and of the operation, which go before those of the path of the same name and place."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for declared in [*(item.get("parameters") or []), *(operation.get("parameters") or [])]:
            parameter = resolve(self.document, declared)
            if parameter.get("in") in ("path", "query", "header") and parameter.get("name"):
                found[str(parameter["name"]), str(parameter["in"])] = parameter
            elif parameter.get("required"):
                raise Unsupported(f"its parameter {parameter.get('name')!r} is a {parameter.get('in')}, and required")
        return list(found.values())

    def _content(self, content: Mapping[str, Any], schemas: Schemas) -> tuple[str, dict[str, Any]]:
        for mime, encoding in ENCODINGS.items():
            for declared, media in content.items():
                if _is_json(declared) if encoding == "json" else declared.partition(";")[0].strip() == mime:
                    return encoding, schemas.schema((media or {}).get("schema") or {})
        raise Unsupported(f"its request is neither JSON nor a form: {', '.join(content) or 'nothing'}")

    def _result(self, operation: Mapping[str, Any], schemas: Schemas) -> dict[str, Any]:
        """The schema of the first JSON response of success; null where there is no content."""
        responses = {
            str(status): resolve(self.document, each) for status, each in operation.get("responses", {}).items()
        }
        good = {status: each for status, each in sorted(responses.items()) if status.startswith("2")}
        for response in good.values() or [responses.get("default") or {}]:
            for mime, media in (response.get("content") or {}).items():
                if _is_json(mime):
                    return schemas.schema((media or {}).get("schema") or {})
        mimes = [mime for response in good.values() for mime in response.get("content") or {}]
        if mimes:
            raise Unsupported(f"its response is no JSON: {', '.join(mimes)}")
        return {} if "204" not in good else {"type": "null"}

    def _auth(self, operation: Mapping[str, Any]) -> dict[str, Any] | None:
        """Of the first way that it may be proven by one secret; None where it need not."""
        wanted = operation.get("security", self.document.get("security")) or []
        if not wanted or {} in wanted:
            return None
        schemes = (self.document.get("components") or {}).get("securitySchemes") or {}
        for way in wanted:
            if len(way) == 1 and (
                auth := self._scheme(resolve(self.document, schemes.get(next(iter(way))) or {}), way)
            ):
                return auth
        raise Unsupported(f"it wants a proof that no kind of auth gives: {', '.join('+'.join(way) for way in wanted)}")

    def _scheme(self, scheme: Mapping[str, Any], way: Mapping[str, Any]) -> dict[str, Any] | None:
        secret = {"env": f"{self.variable}_API_KEY"}
        kind, http = scheme.get("type"), str(scheme.get("scheme") or "").lower()
        if kind == "http" and http in ("bearer", "basic"):
            return {"kind": http, "secret": secret}
        if kind == "apiKey" and scheme.get("in") in ("header", "query"):
            return {"kind": scheme["in"], "name": scheme["name"], "secret": secret}
        if kind == "oauth2" and (flow := (scheme.get("flows") or {}).get("clientCredentials")):
            return {
                "kind": "oauth2_client_credentials",
                "token_url": {"env": f"{self.variable}_TOKEN_URL", "value": flow["tokenUrl"]},
                "client_id": {"env": f"{self.variable}_CLIENT_ID"},
                "client_secret": {"env": f"{self.variable}_CLIENT_SECRET"},
                "scope": " ".join(next(iter(way.values()))),
            }
        # a token that somebody fetched by another flow is a bearer token like any other
        return {"kind": "bearer", "secret": secret} if kind in ("oauth2", "openIdConnect") else None


def _schema_of(parameter: Mapping[str, Any]) -> Any:
    """Its own, or that of its content."""
    content = parameter.get("content")
    media = next(iter(content.values()), None) if isinstance(content, Mapping) else None
    return (media or {}).get("schema") or {} if content else parameter.get("schema") or {}


def _form(document: Mapping[str, Any], body: Mapping[str, Any], encoding: str) -> dict[str, str]:
    """A form has its fields one by one. Raises Unsupported where they are not declared."""
    media = next(each for mime, each in body["content"].items() if ENCODINGS.get(mime.partition(";")[0]) == encoding)
    fields = resolve(document, (media or {}).get("schema") or {}).get("properties")
    if not fields:
        raise Unsupported("its form does not declare its fields")
    return {name: "${params.body." + identifier(name) + "}" for name in fields}


def _description(path: str, method: str, operation: Mapping[str, Any]) -> str:
    summary = _short(str(operation.get("summary") or operation.get("description") or ""))
    if not summary and operation.get("operationId"):
        summary = _snake(str(operation["operationId"])).replace("_", " ").capitalize() + "."
    return summary if len(summary) >= SHORTEST else f"{summary} ({method.upper()} {path})".strip()


def _short(text: str) -> str:
    """The first sentence, on one line."""
    line = " ".join(text.split())
    sentence = re.split(r"(?<=[.!?])\s", line, maxsplit=1)[0]
    return sentence if len(sentence) <= DESCRIPTION_LENGTH else sentence[: DESCRIPTION_LENGTH - 1].rstrip() + "…"


def _snake(text: str) -> str:
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text)
    name = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    return name if name[:1].isalpha() else f"api_{name}".rstrip("_")


def _is_json(mime: str) -> bool:
    kind = mime.partition(";")[0].strip().lower()
    return kind in ("application/json", "*/*") or kind.endswith("+json")
