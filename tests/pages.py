"""The pages people read, taken apart for the tests that hold them to the code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from tests.nights import PROJECT

PAGES = (
    "README.md",
    *sorted(f"deployments/{p.name}" for p in (PROJECT / "deployments").glob("*.md")),
)
"""Every page, as a path from the project's folder."""

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:PYTHONPATH=\. )?(?:python|prefect|mlflow) [^`]*)`")
SCHEDULED = re.compile(r'bash_command="([^"]*)"')


def read(page: str) -> str:
    """The text of a page."""
    return (PROJECT / page).read_text()


def prose(page: str) -> str:
    """The text of a page without its fenced blocks."""
    return FENCED.sub("", read(page))


def section(page: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    _, found = read(page).split(f"\n## {heading}\n")
    return found.split("\n## ")[0]


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [text for named, text in FENCED.findall(read(page)) if named == language]


def commands(page: str) -> list[str]:
    """The commands of the page's bash blocks."""
    return [one for block in blocks(page, "bash") for one in _commands(block)]


def inline_commands(page: str) -> list[str]:
    """The commands in the page's sentences and tables."""
    text = prose(page)
    scheduled = [one.replace("{{ ds }}", "2026-11-21") for one in SCHEDULED.findall(text)]
    return INLINE.findall(text) + scheduled


def _commands(block: str) -> Iterator[str]:
    """One command may go on over lines until its quotes are closed."""
    command = ""
    for line in block.strip().splitlines():
        command += line
        try:
            shlex.split(command)
        except ValueError:
            command += "\n"
            continue
        if not command.startswith("#"):
            yield command
        command = ""
