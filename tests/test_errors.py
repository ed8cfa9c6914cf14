"""Every error of the project has one base, which says how a command ends."""

import errno
import importlib
import inspect
import pkgutil

import pytest

import deployments
import tasks
from tasks.cli import exits
from tasks.errors import NightlyError

CODES = {
    "ApprovalError": 2,
    "AddressError": 2,
    "AlarmsError": 2,
    "BacktestError": 2,
    "BundleError": 2,
    "HistoryError": 2,
    "InferError": 2,
    "ModelCodeError": 2,
    "RevisionError": 2,
    "RollbackError": 2,
    "SettingsError": 2,
    "SourceSettingsError": 2,
    "SpecError": 2,
    "WorkerError": 2,
    "WrongInputError": 2,
}
"""All others: 1."""


def _errors() -> list[type[BaseException]]:
    found = set()
    for package in (tasks, deployments):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            room = vars(importlib.import_module(module.name)).values()
            found |= {
                each
                for each in room
                if inspect.isclass(each)
                and issubclass(each, BaseException)
                and each.__module__ == module.name
            }
    return sorted(found, key=lambda error: error.__qualname__)


@pytest.mark.filterwarnings("default")  # of the libraries that all modules import
def test_every_error_derives_from_the_one_base() -> None:
    errors = _errors()
    assert len(errors) > 20
    assert [e.__qualname__ for e in errors if not issubclass(e, NightlyError)] == []
    wrong = {e.__name__: e.exit_code for e in errors if e.exit_code != CODES.get(e.__name__, 1)}
    assert wrong == {}
    stays = {e.__name__ for e in errors if not e.may_pass}
    assert stays == {*CODES, "FitError", "LeaseLostError", "SealError"}


@pytest.mark.parametrize(
    ("error", "code", "then"),
    [
        (type("OneError", (NightlyError,), {"exit_code": 2, "may_pass": False}), 2, "unchanged"),
        (type("OneError", (NightlyError,), {"may_pass": False}), 1, "unchanged"),
        (type("OneError", (NightlyError,), {}), 1, "the same command again"),
        (OSError, 1, "the same command again"),
    ],
)
def test_a_command_ends_as_the_class_of_its_error_says(
    error: type[Exception], code: int, then: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exits.end_failed(error("it broke")) == code
    said = capsys.readouterr().err
    ours = issubclass(error, NightlyError)
    assert said.startswith("nightly: it broke" if ours else f"nightly: {error.__name__}: it broke")
    assert then in said


def test_a_full_disk_is_told_as_such_whoever_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/srv/artifacts/1")
    assert exits.end_failed(full) == 1
    said = capsys.readouterr().err
    assert said.startswith("nightly: /srv/artifacts/1 cannot be written: No space left on device.")
    assert "(df -i)" in said
