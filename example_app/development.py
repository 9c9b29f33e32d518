"""Keeps a secret key for development, so that the example runs without any configuration."""

import os
import secrets
from pathlib import Path


def development_key(folder: str) -> str:
    """Return the key in ``folder``, which is made at the first call.

    A restart (and ``--debug`` restarts at every edit) must find the same key again. In production, set
    ``SECRET_KEY`` from wherever the deployment keeps its secrets.
    """
    path = Path(folder, "secret_key")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"secret_key.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex())
        draft.replace(path)  # Moved when it is whole: no other process reads half a key.
    return path.read_text()
