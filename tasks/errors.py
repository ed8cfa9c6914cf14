"""Errors that several packages raise or catch."""

from __future__ import annotations


class JudgementError(Exception):
    """The holdout or the scores do not allow a judgement; the message says why."""


class SpecError(ValueError):
    """A model file or its settings are wrong; the message lists every fault."""
