"""The base of every error, and those that several packages raise or catch."""

from __future__ import annotations

from typing import ClassVar

from tasks.shown import shown


class NightlyError(Exception):
    """Base of every error that this project raises; its message is fit to be shown.

    Attributes:
        exit_code: How a command ends that fails with it: 2 where a person must correct the call,
            the model file or a setting, else 1.
        may_pass: Whether the same again may succeed with nothing corrected.
    """

    exit_code: ClassVar[int] = 1
    may_pass: ClassVar[bool] = True

    def __init__(self, *said: object) -> None:
        super().__init__(*(shown(each) if type(each) is str else each for each in said))


class WrongInputError(NightlyError):
    """Base of the errors that a person must correct: in the call, the model file or a setting."""

    exit_code = 2
    may_pass = False


class JudgementError(NightlyError):
    """The holdout or the scores do not allow a judgement; the message says why."""


class RegistryError(NightlyError, RuntimeError):
    """The registry does not hold what its tags say."""


class SpecError(WrongInputError, ValueError):
    """A model file or its settings are wrong; the message lists every fault."""


def to_message(error: BaseException) -> str:
    """What an error says: one of ours in its own sentences, another one after its type."""
    return str(error) if isinstance(error, NightlyError) else f"{type(error).__name__}: {error}"
