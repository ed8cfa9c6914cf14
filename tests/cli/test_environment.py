"""What is set before Prefect and MLflow are imported."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from tasks.cli import environment


@pytest.mark.parametrize(
    ("proxy", "before", "after"),
    [
        (None, None, None),
        (None, "intern", "intern"),
        ("http://proxy:3128", None, "127.0.0.1,localhost,::1"),
        ("http://proxy:3128", "intern, localhost", "intern,localhost,127.0.0.1,::1"),
        ("http://proxy:3128", "*", "*"),
    ],
)
def test_a_proxy_is_not_asked_for_this_machine(
    proxy: str | None, before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {})
    for name, value in (("https_proxy", proxy), ("no_proxy", before), ("NO_PROXY", before)):
        if value is not None:
            os.environ[name] = value
    for _ in range(2):
        environment.pass_proxy_by()
    assert (os.environ.get("no_proxy"), os.environ.get("NO_PROXY")) == (after, after)


def test_garbage_is_looked_for_seldom_while_libraries_are_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", {})
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    try:
        environment.set_defaults()
        assert gc.get_threshold() == (environment.COLLECT_AFTER, 10, 10)
    finally:
        gc.set_threshold(*before)


def test_no_warning_of_a_library_is_printed_also_where_its_threads_change_the_filters() -> None:
    code = (
        "from tasks.cli.environment import set_defaults; set_defaults(); import warnings; "
        "warnings.resetwarnings(); warnings.warn('of a library')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    loud = subprocess.run(
        [sys.executable, "-c", code, "--verbose"], capture_output=True, text=True, check=True
    )
    assert "of a library" in loud.stderr
