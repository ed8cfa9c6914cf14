"""What machines share, as a file for docker compose: Docker is not here, so it is taken apart."""

from __future__ import annotations

import re
import shlex
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests import pages
from tests.nights import MLFLOW_WARNINGS, PROJECT

pytestmark = [pytest.mark.filterwarnings(text) for text in MLFLOW_WARNINGS]

FILE = "deployments/compose.yaml"
TEXT = (PROJECT / FILE).read_text()
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
OPERATIONS = pages.read("deployments/OPERATIONS.md")
SEVERAL = pages.section("deployments/OPERATIONS.md", "Several machines")
OF_A_MACHINE = dict(re.findall(r"^#   ([A-Z_]+)=(\S+)$", TEXT, re.MULTILINE))
OURS = ("mlflow", "prefect")


def test_it_starts_what_the_page_says_that_machines_share() -> None:
    assert {*SERVICES} == {"database", "store", "bucket", "mlflow", "prefect"}
    asked = f"docker compose -f {FILE} up --detach --wait"
    assert asked in pages.commands("deployments/OPERATIONS.md")
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) == (name != "bucket"), name
        for other in service.get("depends_on", ()):
            assert service["depends_on"][other]["condition"] == "service_healthy"


def test_every_setting_is_one_that_is_known() -> None:
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_valid_setting_names

    given = {*OF_A_MACHINE} | {n for name in OURS for n in SERVICES[name]["environment"]}
    assert {n for n in given if n.startswith("PREFECT_")} <= _get_valid_setting_names(Settings)
    known = {*re.findall(r"\b(?:NIGHTLY|MLFLOW|PREFECT)_[A-Z_]+\b", OPERATIONS)}
    assert {n for n in given if n.startswith("NIGHTLY_")} <= known
    shared = re.findall(r"`([A-Z_]+_(?:URI|URL|KEY))`", SEVERAL)
    assert {*shared} <= {*OF_A_MACHINE, "NIGHTLY_SEAL_KEY"}


def test_no_password_is_written_in() -> None:
    """And what has to be set is asked for."""
    assert {*re.findall(r"\$\{(\w+)", TEXT)} == {"SHARED_PASSWORD", "SHARED_HOST"}
    assert {*re.findall(r"\$\{(\w+):\?", TEXT)} == {"SHARED_PASSWORD", "SHARED_HOST"}
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|AUTH", name) or "@" in value:
                assert "${SHARED_PASSWORD" in value, name
    assert not re.search(r"://\w+:(?!\$)[^@\s]*@", TEXT)


def test_machines_reach_the_ports_that_are_open() -> None:
    ports = {
        port.rsplit(":", 2)[1]: port.rsplit(":", 2)[0]
        for service in SERVICES.values()
        for port in service.get("ports", ())
    }
    for name, value in OF_A_MACHINE.items():
        if "://" in value and not value.startswith("s3:"):
            host, _, port = urlsplit(value).netloc.rpartition("@")[2].partition(":")
            opened = ports[port or "5432"]
            assert opened == "127.0.0.1" if host == "127.0.0.1" else "SHARED_HOST" in opened, name
    assert SERVICES["bucket"]["entrypoint"][-1] == "here/nightly"
    assert OF_A_MACHINE["NIGHTLY_STORE_URL"] == "s3://nightly/store"


def test_mlflow_takes_its_command() -> None:
    from mlflow.cli import server

    program, command, *options = SERVICES["mlflow"]["command"]
    assert (program, command) == ("mlflow", "server")
    found = server.make_context(command, options).params
    assert found["default_artifact_root"] == f"{OF_A_MACHINE['NIGHTLY_STORE_URL']}/artifacts"
    asked = {one.envvar for one in server.params if one.envvar}
    assert "MLFLOW_BACKEND_STORE_URI" in asked


def test_prefect_takes_its_command() -> None:
    from prefect.cli._app import _app

    program, *command = SERVICES["prefect"]["command"]
    assert program == "prefect"
    called, found, _ = _app.parse_args(command, exit_on_error=False, print_error=False)
    assert (called.__name__, found.arguments["port"]) == ("start", 4200)


@pytest.mark.parametrize("name", OURS)
def test_its_servers_are_installed_as_the_project_is(name: str) -> None:
    """From the lock, and from files that are there."""
    build = SERVICES[name]["build"]
    text = build["dockerfile_inline"].replace("\\\n", " ")
    for line in text.splitlines():
        if line.startswith("COPY"):
            for source in shlex.split(line)[1:-1]:
                assert (PROJECT / source).exists(), source
    assert "--no-deps --require-hashes -r requirements.lock" in text
    assert '-e ".[postgres,s3]"' in text
