"""Secrets in what people read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote


def hidden(text: str, secrets: Iterable[str | None]) -> str:
    """The text without these secrets, as they are and as they are written in a URL.

    Args:
        text: What a driver or a library said.
        secrets: Passwords and the like; None and empty ones are passed over.
    """
    known = {secret for secret in secrets if secret}
    spellings = known | {quote(secret, safe="") for secret in known}
    for spelling in sorted(spellings, key=len, reverse=True):  # one may be a part of another
        text = text.replace(spelling, "***")
    return text


def without_login(url: str) -> str:
    """A URL without what stands before its host: user and password."""
    return re.sub(r"(?<=://)[^/]*@", "", url)
