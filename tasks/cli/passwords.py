"""Passwords of the pages and of the answers on this machine."""

from __future__ import annotations

import secrets
from pathlib import Path

from tasks.store import files


def ensure_password(file: Path) -> str:
    """``user:password``: read, or made at random and stored for its owner only."""
    if not file.exists() or not file.read_text().strip():  # empty: cut off while it was made
        files.write_file(file, f"nightly:{secrets.token_urlsafe(24)}\n".encode())
    return file.read_text().strip()
