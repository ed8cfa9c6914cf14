"""Formatted Python code; from the data it holds only literals."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Sequence

WIDTH = 100
SIGNS = "€£¥§°²³µ±‰"
"""Signs in names of columns, such as units, that are like no other character."""


def literal(value: object) -> str:
    """A text, number, or tuple or dictionary of them as a Python literal, safely quoted."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(key)}: {literal(one)}' for key, one in value.items())}}}"
    if isinstance(value, tuple):
        inner = ", ".join(map(literal, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool) or value is None:
        return repr(value)
    number = float(value)  # type: ignore[arg-type]
    if number == int(number) and abs(number) < 1e15:
        whole = int(number)
        return f"{whole:_}" if abs(whole) >= 10_000 else str(whole)
    return repr(number)


def call(head: str, parts: Sequence[str], indent: int = 0, tail: str = "") -> list[str]:
    """``head(part, part)`` on one line where it fits, else one part per line.

    Args:
        head: Text before the parts, with its opening bracket.
        parts: Code of each.
        indent: Spaces before the first line.
        tail: Text after the closing bracket.
    """
    closing = {"(": ")", "[": "]", "{": "}"}[head[-1]] + tail
    space = " " * indent
    line = f"{space}{head}{', '.join(parts)}{closing}"
    if len(line) <= WIDTH and not any("\n" in part for part in parts):
        return [line]
    inner = [f"{space}    {part}," for part in parts]
    return [f"{space}{head}", *map(_bearable, inner), f"{space}{closing}"]


def nested(head: str, parts: Sequence[str], indent: int) -> str:
    """A call that is a part of another; ``indent`` is the column of its first line."""
    return "\n".join(call(head, parts, indent)).strip()


def constant(name: str, values: Sequence[object], note: str = "") -> list[str]:
    """``NAME = (value, value)``, a tuple."""
    line = f"{name} = {literal(tuple(values))}{note}"
    if len(line) <= WIDTH:
        return [line]
    return call(f"{name} = (", [literal(value) for value in values], tail=note)


def identifier(name: str, taken: Sequence[str]) -> str:
    """A name for a field: the column's own if Python and pandera allow it, else a similar one."""
    plain = (
        unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    )
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain)  # movieId
    plain = re.sub(r"\W+", "_", plain).strip("_").lower() or "column"
    plain = f"column_{plain}" if plain[0].isdigit() else plain
    wanted = name if is_plain(name) and not name.startswith("_") else plain
    if keyword.iskeyword(wanted) or keyword.issoftkeyword(wanted) or wanted in taken:
        wanted += "_"
    number, found = 2, wanted
    while found in taken:
        found, number = f"{wanted}{number}", number + 1
    return found


def is_plain(name: str) -> bool:
    """Whether a name is an ASCII identifier in lower case."""
    return bool(re.fullmatch(r"[a-z][a-z0-9_]*", name)) and not keyword.iskeyword(name)


def told(text: str) -> str:
    """Text for a docstring: only Latin letters, digits, harmless punctuation and signs of units."""
    fine = f" _-.,:;%/()[]'=?!<>+*&@#{SIGNS}"
    return "".join(c if c in fine or _is_latin(c) else "?" for c in text)


def _is_latin(character: str) -> bool:
    if character.isascii():
        return character.isalnum()
    return unicodedata.name(character, "").startswith("LATIN ") and character.isalpha()


def _quoted(text: str) -> str:
    """A literal in the formatter's quotes, with confusable characters escaped."""
    mark = "'" if text.count('"') > text.count("'") else '"'
    found = ""
    for c in text:
        if c in (mark, "\\"):
            found += "\\" + c
        elif c == "\n":
            found += "\\n"
        elif (c.isascii() and c.isprintable()) or c in SIGNS or _is_latin(c):
            found += c
        else:
            code = ord(c)
            escape = f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
            found += escape if code < 65536 else f"\\U{code:08x}"
    return f"{mark}{found}{mark}"


def _bearable(line: str) -> str:
    """A line with a noqa comment where it cannot be broken, such as a long path."""
    return line if len(line) <= WIDTH or "\n" in line else f"{line}  # noqa: E501"
