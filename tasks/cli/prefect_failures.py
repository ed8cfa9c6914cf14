"""Failures of Prefect's server in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

UNAUTHORIZED = 401


def of_server(error: BaseException) -> str | None:
    """What failed, where an error is of a request to Prefect's server; else None."""
    import httpx
    from prefect.settings import PREFECT_API_URL

    address = PREFECT_API_URL.value()
    if not address:
        return None
    for found in _causes(error):
        if not isinstance(found, httpx.HTTPError) or not _is_to(address, found):
            continue
        asked = f"{found.request.method} {found.request.url.path}"
        if not isinstance(found, httpx.HTTPStatusError):
            return _told(address, f"does not answer {asked} ({type(found).__name__})")
        code = found.response.status_code
        said = f"answers {asked} with {code}"
        if code == UNAUTHORIZED:
            return _told(address, said, "Check PREFECT_API_AUTH_STRING.")
        return _told(address, said)
    return None


def in_words(error: BaseException) -> str:
    """What failed, where an error comes from Prefect and not from a flow."""
    from prefect.settings import PREFECT_API_URL

    first = str(error).partition("\n")[0]
    other = f"gives an answer that is not Prefect's ({type(error).__name__}: {first})"
    unread = isinstance(error, ValueError)  # it answered; what failed before was dealt with
    told = None if unread else of_server(error)
    return told or _told(PREFECT_API_URL.value() or "of this command", other)


def _told(address: str, what: str, advice: str = "Look at its log.") -> str:
    return f"The Prefect server at {address} {what}. {advice}"


def _is_to(address: str, error: object) -> bool:
    try:
        asked = str(error.request.url)  # type: ignore[attr-defined]
    except RuntimeError:  # it was raised before there was a request
        return False
    return urlsplit(asked)[:2] == urlsplit(address)[:2]


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__
