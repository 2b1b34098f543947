"""A process opens a registry without what only OAuth needs."""

from __future__ import annotations

import subprocess
import sys


def test_authlib_is_not_imported_and_can_be_imported_afterwards() -> None:
    """It took most of the time that a process needs to begin."""
    program = (
        "import sys; from agents_sdk.wire.registry import registry_client as client; client()\n"
        "assert not [name for name in sys.modules if name.startswith(('authlib', 'joserfc'))], sorted(sys.modules)\n"
        "from authlib.integrations.httpx_client import OAuth2Client\n"
        "assert OAuth2Client.__module__.startswith('authlib')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
