"""A small OpenID Connect provider on loopback: real HTTP, real signatures, and lies on request."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from backplane.platform.ports import choose


class OidcProvider:
    """What it says of whoever logs in next is ``claims``; ``change`` lies about the rest."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.key = RSAKey.generate_key(2048, {"kid": "one"})
        self.claims: dict[str, Any] = {"sub": "42", "preferred_username": "anna", "groups": ["readers"]}
        self.codes: dict[str, dict[str, str]] = {}
        self.changed: dict[str, Any] = {}

    def token(self, algorithm: str = "RS256", key: Any = None, **changed: Any) -> str:
        """A token that holds, but for what is changed; None leaves a claim out."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": "backplane", "iat": now, "exp": now + 60, **self.claims, **changed}
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": algorithm, "kid": "one"}, kept, key or self.key, algorithms=[algorithm])

    def public(self) -> dict[str, Any]:
        """Its keys, as it publishes them."""
        return {**KeySet([self.key]).as_dict(private=False)}

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any], str]:
        """Status, document and where to go instead."""
        where = urlsplit(path)
        asked = {name: values[0] for name, values in parse_qs(where.query).items()}
        if where.path == "/.well-known/openid-configuration":
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            return 200, {"issuer": self.issuer, **{k: f"{self.issuer}/{v}" for k, v in names.items()}}, ""
        if where.path == "/keys":
            return 200, self.public(), ""
        if where.path == "/authorize":
            code = f"code-{len(self.codes)}"
            self.codes[code] = asked
            return 302, {}, f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
        return self._exchange(form)

    def _exchange(self, form: dict[str, str]) -> tuple[int, dict[str, Any], str]:
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}, ""
        changed = {"nonce": asked["nonce"], **self.changed}
        return 200, {"id_token": self.token(**changed), "token_type": "Bearer", "access_token": "x"}, ""


@contextmanager
def oidc_provider() -> Iterator[OidcProvider]:
    """One that listens."""
    port = choose(["oidc"], {})["oidc"]
    provider = OidcProvider(port)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer({name: values[0] for name, values in parse_qs(body).items()})

        def _answer(self, form: dict[str, str]) -> None:
            status, document, where = provider.answer(self.path, form)
            body = json.dumps(document).encode()
            self.send_response(status)
            if where:
                self.send_header("Location", where)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def shared_secret(provider: OidcProvider) -> OctKey:
    """The provider's public key as bytes, taken for a shared secret: the oldest trick with signed tokens."""
    return OctKey.import_key(json.dumps(provider.public()).encode())
