"""What a run says to Prefect and to its terminal: every error and every line passes here."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any, ParamSpec, TypeVar

import prefect
from prefect.utilities.annotations import opaque

from tasks.shown import clean, shown

P = ParamSpec("P")
R = TypeVar("R")
Needs = Callable[[Mapping[str, Any]], Mapping[str, float]]


class _Task(prefect.Task[P, R]):
    """A task that Prefect hands its records whole.

    Prefect looks into every argument for results of other tasks, however deep: of a night's days,
    references and figures that took a tenth of a small night, and there are none in them. Which
    task has made a record is still seen.

    Attributes:
        needs: What a worker must have for it, of the task's arguments.
    """

    needs: Needs = staticmethod(lambda _: {})

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return super().__call__(*map(_whole, arguments), **all_whole(named))

    def submit(self, *arguments: Any, **named: Any) -> Any:
        return super().submit(*map(_whole, arguments), **all_whole(named))


def _whole(argument: Any) -> Any:
    return opaque(argument) if is_dataclass(argument) else argument


def all_whole(named: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a task, each record marked as one to hand on whole."""
    return {name: _whole(argument) for name, argument in named.items()}


def task(
    *, needs: Needs | None = None, **options: Any
) -> Callable[[Callable[P, R]], prefect.Task[P, R]]:
    """``prefect.task`` whose errors are fit to be shown: Prefect stores what they say.

    Args:
        needs: Gives the resources that a worker must have for it, of the task's arguments.
        options: Those of ``prefect.task``.
    """

    def decorate(function: Callable[P, R]) -> prefect.Task[P, R]:
        @functools.wraps(function)
        def guarded(*arguments: P.args, **named: P.kwargs) -> R:
            with errors_shown():
                return function(*arguments, **named)

        made = _Task(guarded, **options)
        made.needs = needs or made.needs
        return made

    return decorate


@contextmanager
def errors_shown() -> Iterator[None]:
    """Errors of libraries and of a model's code leave as ``shown`` gives their texts."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            cause.args = tuple(shown(each) if type(each) is str else each for each in cause.args)
            cause = cause.__cause__ or cause.__context__
        raise


def guard_logs() -> None:
    """Let every handler that Prefect has set up log lines as ``clean`` gives them."""
    named = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for logger in (logging.root, *named):
        for handler in logger.handlers:
            if type(handler).__module__.startswith("prefect."):
                handler.addFilter(_clean_record)


def _clean_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = shown(record.getMessage()), ()
    if record.exc_info and record.exc_info[0]:
        record.exc_text = clean(logging.Formatter().formatException(record.exc_info))
    return True
