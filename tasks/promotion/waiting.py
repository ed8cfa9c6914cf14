"""What becomes of a version that waits for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.registry.waiting import Waiting


def why_not_approved(model: str, one: Waiting, champion: str | None) -> str | None:
    """Why a version that waits cannot be promoted, in words; None where it can.

    Args:
        model: Name of the model.
        one: The version.
        champion: The champion of now, if any.
    """
    if one.against == champion:
        return None
    then = f"against version {one.against}" if one.against else "when there was no champion"
    now = f"version {champion} is the champion now" if champion else "there is no champion now"
    return (
        f"Version {one.version} of {model} was judged {then}, but {now}: nobody has compared the "
        "two. The next night judges a new version; to withdraw this one, use --refuse."
    )


def how_to_answer(model: str) -> str:
    """The commands that end a wait."""
    command = f"python flows/approve.py --model {model} --by NAME --why REASON"
    return f"To promote it: {command}; to withdraw it, the same with --refuse."
