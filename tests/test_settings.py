"""Where things live."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import settings


def test_home_is_beside_pyproject_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NIGHTLY_HOME")
    assert settings.home() == settings.PROJECT / ".nightly"
    assert (settings.home().parent / "pyproject.toml").is_file()


def test_home_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTLY_HOME", "state")
    assert settings.home() == tmp_path / "state"


def test_ensure_home_is_for_its_owner_alone(home: Path) -> None:
    assert settings.ensure_home() == home
    assert home.stat().st_mode & 0o777 == 0o700
    assert settings.ensure_home() == home


def test_ensure_home_refuses_a_file(home: Path) -> None:
    home.write_text("")
    with pytest.raises(settings.SettingsError, match=r"home.*NIGHTLY_HOME"):
        settings.ensure_home()


def test_ensure_home_refuses_what_it_cannot_write(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(settings.SettingsError, match=r"home is not readable and writable"):
        settings.ensure_home()
    owner = home.owner()
    monkeypatch.setattr("os.geteuid", lambda: 12_345)
    with pytest.raises(settings.SettingsError, match=f"home, which belongs to {owner}, is not"):
        settings.check_home()


def test_a_question_mark_would_end_the_address_of_its_databases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / "why?" / "home"))
    for check in (settings.check_home, settings.ensure_home):
        with pytest.raises(settings.SettingsError, match=r"why\?/home has a question mark"):
            check()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_a_failing_disk_made_read_only_is_told_as_such(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    monkeypatch.setattr("os.access", lambda *_: False)
    found = os.statvfs_result((*os.statvfs(home)[:8], os.ST_RDONLY, 255))
    monkeypatch.setattr("os.statvfs", lambda _: found)
    with pytest.raises(settings.SettingsError, match=r"home is read-only"):
        settings.check_home()


def test_a_state_directory_that_cannot_even_be_seen_is_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def barred(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", barred)
    with pytest.raises(settings.SettingsError, match=r"home is not readable and writable"):
        settings.check_home()


@pytest.mark.parametrize("folder", ["file:///srv/mlruns", "mlruns", "./mlruns", "/srv/mlruns"])
def test_a_folder_of_runs_is_no_registry(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", folder)
    with pytest.raises(settings.SettingsError, match=f"found '{folder}'.*sqlite:////srv") as found:
        settings.tracking_uri()
    assert found.value.exit_code == 2
    for fine in ("databricks", "databricks://me", "https://mlflow:5000", "postgresql://db/mlflow"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", fine)
        assert settings.tracking_uri() == fine


def test_tracking_uri_of_the_environment_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert settings.tracking_uri() == f"sqlite:///{home}/mlflow.db"
    assert settings.artifact_root() == home / "artifacts"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert settings.tracking_uri() == "http://localhost:5000"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MODE", "777", "MODE: found '777', expected 600"),
        ("MODE", "640", "MODE: found 640, but the files lie in the state directory"),
        ("GROUP", "nobody knows", "GROUP: found 'nobody knows', expected a group"),
    ],
)
def test_who_reads_the_predictions_is_checked_at_the_start(
    name: str, value: str, message: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ensure_home()
    settings.check_readers()
    assert settings.readers() == (0o600, None)
    monkeypatch.setenv(f"NIGHTLY_PREDICTIONS_{name}", value)
    with pytest.raises(settings.SettingsError, match=f"NIGHTLY_PREDICTIONS_{message}"):
        settings.check_readers()
    if value == "640":
        home.chmod(0o750)
        settings.check_readers()


@pytest.mark.parametrize(
    ("name", "read", "default", "found"),
    [
        ("NIGHTLY_KEEP_VERSIONS", settings.keep_versions, 30, 500),
        ("NIGHTLY_KEEP_NIGHTS", settings.keep_nights, 400, 500),
        ("NIGHTLY_STORE_GB", settings.store_bytes, 20 * 10**9, 500 * 10**9),
        ("NIGHTLY_LEASE_SECONDS", settings.lease_seconds, 120, 500),
    ],
)
def test_limits(
    name: str,
    read: Callable[[], int],
    default: int,
    found: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read() == default
    monkeypatch.setenv(name, "500")
    assert read() == found
    for wrong in ("0", "-3", "many", ""):
        monkeypatch.setenv(name, wrong)
        with pytest.raises(settings.SettingsError, match=f"{name}: found '{wrong}', expected a wh"):
            read()


def test_where_alarms_go(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NIGHTLY_WEBHOOK_URL", "NIGHTLY_ALARM_BLOCK"):
        monkeypatch.delenv(name, raising=False)
    assert settings.webhook_url() is None
    assert settings.alarm_block() is None
    monkeypatch.setenv("NIGHTLY_WEBHOOK_URL", "https://hooks.example.com/secret")
    monkeypatch.setenv("NIGHTLY_ALARM_BLOCK", "slack-webhook/ops")
    assert settings.webhook_url() == "https://hooks.example.com/secret"
    assert settings.alarm_block() == ("slack-webhook", "ops")


@pytest.mark.parametrize("wrong", ["hooks.example.com/secret", "https://", "file:///secret"])
def test_a_wrong_webhook_is_not_repeated(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLY_WEBHOOK_URL", wrong)
    with pytest.raises(settings.SettingsError, match="NIGHTLY_WEBHOOK_URL: expected an") as caught:
        settings.webhook_url()
    assert "secret" not in str(caught.value).replace("it is a secret", "")


@pytest.mark.parametrize("wrong", ["ops", "/ops", "slack-webhook/"])
def test_a_wrong_block_is_named(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLY_ALARM_BLOCK", wrong)
    with pytest.raises(settings.SettingsError, match=f"NIGHTLY_ALARM_BLOCK: found '{wrong}'"):
        settings.alarm_block()


def test_days_cut_from_a_package_are_seen_and_none_are_added(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "data" / "made-before").mkdir(parents=True)
    monkeypatch.setenv("NIGHTLY_STATE_URL", "postgresql://host/nightly")
    with settings.borrowed_home():
        assert settings.state_url() is None
        borrowed = Path(os.environ["NIGHTLY_HOME"])
        assert [place.name for place in (borrowed / "data").iterdir()] == ["made-before"]
        (borrowed / "data" / "made-now").mkdir()
    assert [place.name for place in (home / "data").iterdir()] == ["made-before"]
    assert not borrowed.exists()
    assert settings.state_url() == "postgresql://host/nightly"


@pytest.mark.parametrize(
    ("count", "address", "server", "said"),
    [
        ("0", "", None, "NIGHTLY_WORKERS: found '0', expected a whole number of at least 1"),
        ("two", "", None, "NIGHTLY_WORKERS: found 'two', expected a whole number of at least 1"),
        (
            "2",
            "tcp://127.0.0.1:8786",
            None,
            r"NIGHTLY_WORKERS \(2\) and NIGHTLY_DASK_ADDRESS .*both",
        ),
        ("", "10.0.0.5:8786", None, "NIGHTLY_DASK_ADDRESS: found .*expected the address"),
        ("", "tcp://10.0.0.5:8786", None, "another machine.*Set PREFECT_API_URL"),
        ("", "tls://[fe80::1]:8786", None, "another machine.*Set PREFECT_API_URL"),
        ("", "tcp://127.0.0.1:8786", None, ""),
        ("", "tls://10.0.0.5:8786", "http://10.0.0.4:4200/api", ""),
        ("2", "", None, ""),
        ("", "", None, ""),
    ],
)
def test_what_is_said_of_workers(
    count: str, address: str, server: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLY_WORKERS", count)
    monkeypatch.setenv("NIGHTLY_DASK_ADDRESS", address)
    if said:
        with pytest.raises(settings.SettingsError, match=said):
            settings.check_workers(server)
    else:
        settings.check_workers(server)
        assert settings.workers() == (int(count) if count else address or None)


def test_workers_without_their_extra_name_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NIGHTLY_WORKERS", "2")
    monkeypatch.setattr("tasks.settings.find_spec", lambda _: None)
    with pytest.raises(settings.SettingsError, match=r"distributed, .*pip install -e '.\[dask\]'"):
        settings.workers()
    monkeypatch.delenv("NIGHTLY_WORKERS")
    assert settings.workers() is None
