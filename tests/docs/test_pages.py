"""All pages: every command, link and path is real, and every block is known to a test."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from tasks import settings
from tests import pages
from tests.nights import PROJECT

TYPED = [(page, one) for page in pages.PAGES for one in pages.commands(page)]
NAMED = [(page, one) for page in pages.PAGES for one in pages.inline_commands(page)]
EVERY = sorted({one for _, one in TYPED + NAMED})
BENCHMARK = "PYTHONPATH=. python tests/benchmarks/"
HELD_ELSEWHERE = {
    ("README.md", "python3 -m venv"),
    ("deployments/README.md", "python3 -m venv"),
    ("deployments/README.md", "source .venv/bin/activate"),
    ("deployments/SERVING.md", "export MLFLOW_TRACKING_URI="),
    ("deployments/SERVING.md", "mlflow models serve"),
    ("deployments/SERVING.md", "curl http"),
    ("deployments/OPERATIONS.md", "export NIGHTLY_"),
    ("deployments/OPERATIONS.md", "dask "),
    ("deployments/OPERATIONS.md", "docker compose "),
    ("deployments/SECURITY.md", "export DASK_"),
}
"""How commands of a page start that other tests take apart, here, in test_readme or test_walk."""
OF_THE_READER = {"deployments/orders.py", "deployments/visits.py"}
"""Files that a reader of the pages makes."""


def starting(start: str) -> list[str]:
    return [command for command in EVERY if command.startswith(start)]


def test_every_command_is_of_a_kind_that_is_checked() -> None:
    checked = ("python flows/", "python deployments/", "prefect ", BENCHMARK)
    left = [(page, one) for page, one in TYPED + NAMED if not one.startswith(checked)]
    unknown = [
        (page, one)
        for page, one in left
        if not any(page == held and one.startswith(start) for held, start in HELD_ELSEWHERE)
    ]
    assert unknown == []


def test_every_other_block_is_known_to_a_test() -> None:
    """Each of these is run or compared by the test that is named beside it."""
    found = Counter(
        (page, language)
        for page in pages.PAGES
        for language, _ in pages.FENCED.findall(pages.read(page))
        if language != "bash"
    )
    assert found == {
        ("README.md", "text"): 1,  # test_readme: what a night says
        ("README.md", "mermaid"): 1,  # below: its verdicts
        ("deployments/README.md", "python"): 2,  # test_walk; test_readme: the shortest model file
        ("deployments/README.md", "text"): 3,  # test_walk
        ("deployments/MOVING.md", "python"): 3,  # test_moving
        ("deployments/MOVING.md", "text"): 1,  # the line of cron that goes
        ("deployments/OPERATIONS.md", "yaml"): 1,  # test_deployments: a night that data start
        ("deployments/OPERATIONS.md", "python"): 1,  # test_predict: a night in a notebook
        ("deployments/SERVING.md", "sql"): 1,  # test_readme: the queries
        ("deployments/SERVING.md", "python"): 2,  # test_conformal, test_single_requests
    }
    for page in pages.PAGES:
        for block in pages.blocks(page, "python"):
            ast.parse(block)


@pytest.mark.parametrize("command", starting("python flows/"))
def test_a_flow_takes_the_options_shown(command: str) -> None:
    from tasks.cli import parsers

    _, script, *options = shlex.split(command)
    assert (PROJECT / script).is_file()
    parser = getattr(parsers, f"{Path(script).stem}_parser")()
    assert parser.parse_args(options)


@pytest.mark.parametrize("command", starting("python deployments/"))
def test_a_command_of_the_deployments_takes_the_options_shown(command: str) -> None:
    _, script, *options = shlex.split(command)
    assert (PROJECT / script).is_file()
    name = Path(script).stem
    module = import_module(f"deployments.{name}")
    if options or hasattr(module, f"{name}_parser"):
        assert getattr(module, f"{name}_parser")().parse_args(options)


class Parsed(BaseException):
    """The command line was understood."""


@pytest.mark.parametrize("command", starting(BENCHMARK))
def test_a_benchmark_takes_the_options_shown(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, script, *options = shlex.split(command)
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser) -> None:
        parse(parser)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [script, *options])
    main = import_module(script.removesuffix(".py").replace("/", ".")).main
    with pytest.raises(Parsed):
        main()


@pytest.mark.parametrize("command", starting("prefect "))
def test_prefect_takes_the_command_shown(command: str) -> None:
    from prefect.cli._app import _app

    called, _, _ = _app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)
    assert (
        called.__name__ == re.findall(r"deploy$|create|emit|start|run", command.split(" -")[0])[-1]
    )


@pytest.mark.parametrize("command", starting("dask "))
def test_dask_takes_the_command_shown(command: str) -> None:
    _, which, *options = shlex.split(command)
    main = import_module(f"distributed.cli.dask_{which}").main
    assert main.make_context(which, options).params["dashboard"] is False


@pytest.mark.parametrize("command", starting("export NIGHTLY_"))
def test_a_variable_is_set_to_what_the_settings_take(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, value = command.removeprefix("export ").split("=")
    monkeypatch.setenv(name, value)
    assert str(settings.workers()) == value


def test_the_variables_of_tls_are_those_that_dask_reads() -> None:
    import dask
    from distributed.security import Security

    told = dict(one.removeprefix("export ").split("=") for one in starting("export DASK_"))
    read = {name[5:].lower().replace("__", "."): value for name, value in told.items()}
    with dask.config.set(read):
        made = Security()
    assert made.require_encryption
    roles = ("scheduler", "worker", "client")
    kept = [getattr(made, f"tls_{role}_{p}") for role in roles for p in ("cert", "key")]
    assert [made.tls_ca_file, *kept] == [
        f"/etc/nightly/{p}.pem" for p in ["ca", *["cert", "key"] * 3]
    ]


def anchors(page: str) -> set[str]:
    """The addresses of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", pages.prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    folder = (PROJECT / page).parent
    for target in re.findall(r"\]\(([^)]*)\)", pages.prose(page)):
        assert "://" not in target, target
        file, _, anchor = target.partition("#")
        there = (folder / file if file else PROJECT / page).resolve()
        assert there.is_file(), target
        if anchor:
            assert anchor in anchors(str(there.relative_to(PROJECT))), target


def test_every_page_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((deployments/\w+\.md)\)", pages.read("README.md")))
    assert linked == set(pages.PAGES) - {"README.md"}


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_path_it_names_is_there(page: str) -> None:
    named = re.findall(
        r"`((?:flows|tasks|deployments|tests)/[\w/.]*|\w+\.(?:toml|yaml))`", pages.prose(page)
    )
    missing = {name for name in named if not (PROJECT / name).exists()}
    assert missing <= OF_THE_READER


def test_every_test_it_names_is_there() -> None:
    named = [
        one
        for page in pages.PAGES
        for one in re.findall(r"`(tests/[^`]*\.py)::(\w+)`", pages.read(page))
    ]
    assert named
    assert [(f, n) for f, n in named if f"\ndef {n}(" not in (PROJECT / f).read_text()] == []


def test_the_layout_names_every_package() -> None:
    layout = re.findall(r"^- `tasks/(\w+)/`", pages.section("README.md", "Layout"), re.MULTILINE)
    packages = {file.parent.name for file in (PROJECT / "tasks").glob("*/__init__.py")}
    assert set(layout) == packages
    assert len(layout) == len(packages)


def test_the_picture_shows_every_verdict() -> None:
    from tasks.promotion.checks import Status

    (picture,) = pages.blocks("README.md", "mermaid")
    assert set(re.findall(r"[A-Z]{4,}", picture)) == set(Status)


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(pages.read("README.md").split()) <= 1000


@pytest.mark.parametrize("page", [one for one in pages.PAGES if "REFERENCE" not in one])
def test_the_words_are_those_of_the_field(page: str) -> None:
    """Code words in backticks are the code's; so is what a command prints."""
    text = re.sub(r"`[^`]*`", "", pages.prose(page))
    odd = r"\b(promis\w*|taken back|take it back|look back|reliance|teach\w*|learned from)\b"
    assert re.findall(odd, text, re.IGNORECASE) == []


def test_every_environment_variable_is_told_of() -> None:
    code = [*(PROJECT / "tasks").rglob("*.py"), *(PROJECT / "deployments").glob("*.py")]
    read = {name for file in code for name in re.findall(r"NIGHTLY_[A-Z_]+\b", file.read_text())}
    table = pages.section("deployments/OPERATIONS.md", "Environment variables")
    assert set(re.findall(r"^\| `(NIGHTLY_\w+)` \|", table, re.MULTILINE)) == read


def test_the_exit_codes_are_those_of_the_commands() -> None:
    from tasks.cli import parsers

    table = pages.section("deployments/OPERATIONS.md", "Commands")
    rows = re.findall(r"^\| `flows/(\w+)\.py` \| .* \| ([\d, ]+) \|$", table, re.MULTILINE)
    assert {name for name, _ in rows} == {
        file.stem for file in (PROJECT / "flows").glob("[!_]*.py")
    }
    for name, codes in rows:
        epilog = getattr(parsers, f"{name}_parser")().epilog
        assert codes.split(", ") == re.findall(r"\d", epilog), name
