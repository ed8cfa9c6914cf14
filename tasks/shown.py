"""What people and other programs are shown: no secret, no control character, not too long.

Messages repeat what a driver, a library or a cell of the data said. Every text passes here before
it is printed, stored or sent.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote, unquote

HIDDEN = "***"
LONGEST = 10_000
"""Most characters of one text."""
NAMED_COLUMNS = 30
"""Most columns that a message lists."""
LONGEST_ALARM = 2_000
"""Most characters of one message to people who listen."""
SECRET_OPTION = (
    r"(?:[\w.-]*(?:pass|pwd|secret|token|signature|credential|api[-_.]?key|access[-_.]?key)[\w.-]*"
    r"|(?:[\w-]*[-_.])?(?:sig|sas|pw|auth|authorization))"
)
"""Names of options of an address whose values are secret."""
OPTION = re.compile(rf"(?i)([?&;#])({SECRET_OPTION}|key|code)=(?!\$\{{)[^\s&;#\"'<>]+")
SETTING = re.compile(
    r"(?i)\b((?:ssl)?password|passwd|pwd|secret|token|api_?key|access_?key)=(?!\$\{)[^\s&;,)\"'<>]+"
)
"""The same in what a driver says of its settings."""
LOGIN = re.compile(r"://([^\s/@:\"]*):(?!\$\{)([^\s/\"]*(?=@)|(?!\d{1,5}/)[^\s@\"]*(?=@))@")
USER = re.compile(r"(?i)(https?://)(?!\$\{)[^\s/@:\"]+@")
SECRET_VARIABLE = re.compile(
    r"(?i)(?:.*_)?(?:\w*PASS(?:WORD|WD|PHRASE)?|PWD|PW|SECRETS?|\w*TOKEN|TOK|SIGNATURE|SIG|SAS"
    r"|CREDENTIALS?|API_?KEY|ACCESS_?KEY|SECRET_?KEY|SEAL_?KEY|AUTH_STRING|WEBHOOK_URL)(?:_.*)?"
)
"""Names of environment variables whose values are secret."""
SHORTEST = 6
"""A shorter value of such a variable is no secret: as text it stands in too many words."""
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Characters that steer a terminal, turn the direction of text, or cannot be seen or encoded."""
FLAT = {ord("<"): 0x2039, ord(">"): 0x203A}
"""Brackets that mark up a link or a call in a chat, and the quotation marks that look like them."""
CALLS = re.compile(r"(?i)@(?=(?:channel|here|everyone|all)\b)")


def stand_any_terminal() -> None:
    """Print a ? for what the terminal cannot show, instead of ending with an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def hide(text: str, secrets: Iterable[str | None] = ()) -> str:
    """The text without secrets: those of addresses in it, of the environment, and these.

    A password or token in an address becomes ``***``, and so does the value of every environment
    variable whose name says that it is secret. ``${NAME}`` in an address stays.

    Args:
        text: What a driver or a library said, or an address.
        secrets: More of them; None and empty ones are passed over.
    """
    return _hidden(text, _spellings(secrets))


def _spellings(secrets: Iterable[str | None] = ()) -> list[str]:
    """What is not to be shown, the longest first: one may be a part of another."""
    known = {secret for secret in (*secrets, *_secrets_in(tuple(os.environb.items()))) if secret}
    return sorted(known | {quote(secret, safe="") for secret in known}, key=len, reverse=True)


def _hidden(text: str, spellings: Iterable[str]) -> str:
    for spelling in spellings:
        text = text.replace(spelling, HIDDEN)
    if "://" in text:
        text = USER.sub(rf"\1{HIDDEN}@", LOGIN.sub(rf"://\1:{HIDDEN}@", text))
    if "=" in text:
        text = SETTING.sub(rf"\1={HIDDEN}", OPTION.sub(rf"\1\2={HIDDEN}", text))
    return text


def clean(text: str) -> str:
    """The text without secrets, and with ``?`` for each character that is not for people."""
    return _cleaned(text, _spellings())


def _cleaned(text: str, spellings: Iterable[str]) -> str:
    return UNSAFE.sub("?", _hidden(text, spellings).replace("\r\n", "\n"))


def shown(text: str, longest: int = LONGEST) -> str:
    """The text as ``clean`` gives it, its begin and end where it is too long."""
    return _shown(text, longest, _spellings())


def _shown(text: str, longest: int, spellings: Iterable[str]) -> str:
    if len(text) > 10 * longest:  # what is cut off need not be cleaned
        text = f"{text[: 2 * longest]}{text[-2 * longest :]}"
    text = _cleaned(text, spellings)
    if len(text) <= longest:
        return text
    left = f" … ({len(text) - longest:,} characters left out) … "
    return f"{text[: longest * 3 // 4]}{left}{text[-(longest // 4) :]}"


def all_shown(found: Any) -> Any:
    """Plain JSON types with every text in them as ``shown`` gives it."""
    return _all_shown(found, _spellings())


def _all_shown(found: Any, spellings: Sequence[str]) -> Any:
    if isinstance(found, str):
        return found if type(found) is not str else _shown(found, LONGEST, spellings)
    if isinstance(found, dict):
        return {
            _all_shown(name, spellings): _all_shown(value, spellings)
            for name, value in found.items()
        }
    if isinstance(found, list | tuple):
        return type(found)(_all_shown(each, spellings) for each in found)
    return found


def as_alarm(text: str) -> str:
    """A text for a chat: nothing in it calls people, and nothing is a link under another name."""
    plain = shown(text, LONGEST_ALARM).translate(FLAT)
    return CALLS.sub("@ ", plain)


def as_markdown(text: str) -> str:
    """A text inside Markdown: one line, with no HTML, link, picture or border of a table in it."""
    line = " ".join(text.split())
    return re.sub(r"([\[\]|])", r"\\\1", line.replace("<", "&lt;"))


def counted(count: int, thing: str) -> str:
    """How many of a thing: ``1 day``, ``1,234 days``."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def block(label: str, texts: Iterable[str]) -> list[str]:
    """Lines of texts for a terminal, wrapped, beside a label; a command is broken at no hyphen."""
    import textwrap

    wrap = textwrap.TextWrapper(86, break_long_words=False, break_on_hyphens=False).wrap
    wrapped = [line for text in texts for line in wrap(text)]
    return [f"{label if i == 0 else '':<10}  {line}" for i, line in enumerate(wrapped)]


def few(names: Iterable[object], most: int = 5) -> str:
    """The first names, and the number of further ones."""
    listed = list(map(str, names))
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


@functools.lru_cache(maxsize=1)
def _secrets_in(environment: tuple[tuple[bytes, bytes], ...]) -> frozenset[str]:
    """Values of secret variables, and the passwords in the addresses that others hold."""
    found: set[str] = set()
    for name, value in ((os.fsdecode(name), os.fsdecode(value)) for name, value in environment):
        found |= set(secrets_of_address(value)) if "://" in value else set()
        if SECRET_VARIABLE.fullmatch(name) and value[:1] != "/":
            found |= {value, value.partition(":")[2] if "://" not in value else ""}  # user:password
    return frozenset(one for one in found if len(one) >= SHORTEST)


def secrets_of_address(address: str) -> list[str]:
    """The password of an address and the values of its secret options, as they are and decoded.

    A password that is the user's name is none.
    """
    found = [one[0].partition("=")[2] for one in OPTION.finditer(address)]
    if (login := LOGIN.search(address)) and login[2] != login[1]:
        found.append(login[2])
    return [one for each in found for one in (each, unquote(each))]
