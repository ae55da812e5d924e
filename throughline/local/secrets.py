import os
import secrets
from pathlib import Path


def kept_secret(path: Path) -> str:
    """Return the secret in the file at ``path``, made at the first call; only its owner can read the file."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        secret = secrets.token_urlsafe(18)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret + "\n")
        return secret
