"""Paths and settings from the environment, with defaults beside pyproject.toml."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tasks.errors import WrongInputError
from tasks.shown import hide

PROJECT = Path(__file__).resolve().parent.parent
SHARED = ("NIGHTLY_STATE_URL", "NIGHTLY_STORE_URL")
"""What names the state that several machines share."""


class SettingsError(WrongInputError, RuntimeError):
    """What the environment says cannot be used."""


def home() -> Path:
    """The state directory: ``NIGHTLY_HOME``, else ``.nightly/`` beside pyproject.toml; absolute."""
    named = os.environ.get("NIGHTLY_HOME")
    return Path(named).expanduser().absolute() if named else PROJECT / ".nightly"


def ensure_home() -> Path:
    """The state directory, created for its owner only where it does not exist.

    Raises:
        SettingsError: Where it is a file, or cannot be made or written.
    """
    check_home()
    place = home()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"The state directory {place} cannot be created: {error.strerror}. Set NIGHTLY_HOME "
            "to a directory that you may write."
        ) from error
    return place


def check_home() -> None:
    """Raise SettingsError where there is a state directory that cannot be used, such as that of
    another account."""
    place = home()
    if "?" in str(place):
        raise SettingsError(
            f"The state directory {place} has a question mark in its path, where the address of a "
            "database ends. Set NIGHTLY_HOME to a directory without one."
        )
    try:
        there = place.exists()
        if not there or os.access(place, os.R_OK | os.W_OK | os.X_OK):
            return
        if os.statvfs(place).f_flag & os.ST_RDONLY:  # a kernel makes it so where the disk fails
            raise SettingsError(
                f"The file system of the state directory {place} is read-only. Look whether its "
                "disk has failed and mount it writable, or set NIGHTLY_HOME to another directory."
            )
        own = place.stat().st_uid == os.geteuid()
        owner = "" if own else f", which belongs to {place.owner()},"
    except (OSError, KeyError):
        owner = ""
    raise SettingsError(
        f"The state directory {place}{owner} is not readable and writable. Run as its owner, "
        "change its mode, or set NIGHTLY_HOME to a directory of your own."
    )


@contextmanager
def borrowed_home() -> Iterator[None]:
    """A temporary state directory, shared with nobody, that has the days and types already found in
    sources."""
    kept = home() / "data"
    with tempfile.TemporaryDirectory(prefix="nightly-check-") as place:
        data = Path(place) / "data"
        data.mkdir()
        for folder in kept.glob("[!.]*"):
            (data / folder.name).symlink_to(folder)
        if (home() / "columns").is_dir():
            shutil.copytree(home() / "columns", Path(place) / "columns")
        before = {name: os.environ.pop(name, None) for name in ("NIGHTLY_HOME", *SHARED)}
        os.environ["NIGHTLY_HOME"] = place
        try:
            yield
        finally:
            os.environ.pop("NIGHTLY_HOME")
            os.environ.update({name: value for name, value in before.items() if value})


def tracking_uri() -> str:
    """Where MLflow keeps runs and models: ``MLFLOW_TRACKING_URI``, else SQLite in ``home()``.

    Raises:
        SettingsError: Where it names a folder: MLflow writes no registry into files any more.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if named and not re.match(r"(?!file:)[\w+.-]+://|databricks", named):
        raise SettingsError(
            f"MLFLOW_TRACKING_URI: found {hide(named)!r}, a folder of files, expected a database "
            "such as sqlite:////srv/mlflow.db or the address of a server. What the folder holds "
            "`mlflow migrate-filestore` brings into a database."
        )
    return named or f"sqlite:///{home() / 'mlflow.db'}"


def mlflow_pages() -> str | None:
    """Address of the MLflow pages: ``NIGHTLY_MLFLOW_UI``, else its server, if there is one."""
    server = tracking_uri()
    pages = os.environ.get("NIGHTLY_MLFLOW_UI") or (server if server.startswith("http") else None)
    return hide(pages) if pages else None


def artifact_root() -> Path:
    """Where the default tracking store keeps its artifacts."""
    return home() / "artifacts"


def keep_versions() -> int:
    """How many of the newest versions the registry keeps: ``NIGHTLY_KEEP_VERSIONS``, else 30."""
    return _whole_number("NIGHTLY_KEEP_VERSIONS", 30, 2)


def keep_nights() -> int:
    """How many of the newest nights keep report and decision: ``NIGHTLY_KEEP_NIGHTS``, else 400."""
    return _whole_number("NIGHTLY_KEEP_NIGHTS", 400, 60)


def store_bytes() -> int:
    """How large the store of prepared days may grow: ``NIGHTLY_STORE_GB``, else 20."""
    return _whole_number("NIGHTLY_STORE_GB", 20, 1) * 10**9


def workers() -> int | str | None:
    """Where the parts of a run go that can go side by side.

    Returns:
        How many processes of this machine, ``NIGHTLY_WORKERS``; the address of a Dask scheduler,
        ``NIGHTLY_DASK_ADDRESS``; None for threads of the run's own process.

    Raises:
        SettingsError: Where one cannot be used, both are set, or what they need is not installed.
    """
    count, address = (os.environ.get(n) for n in ("NIGHTLY_WORKERS", "NIGHTLY_DASK_ADDRESS"))
    if not count and not address:
        return None
    if count and address:
        raise SettingsError(
            f"NIGHTLY_WORKERS ({count}) and NIGHTLY_DASK_ADDRESS ({hide(address)}) are both set, "
            "expected one: processes of this machine, or the workers of a Dask scheduler."
        )
    if address and not re.fullmatch(
        r"(tcp|tls)://[^\s/:]+:\d+|(tcp|tls)://\[[^\s/]+\]:\d+", address
    ):
        raise SettingsError(
            f"NIGHTLY_DASK_ADDRESS: found {hide(address)!r}, expected the address of a Dask "
            "scheduler such as tls://10.0.0.5:8786."
        )
    found = address or _whole_number("NIGHTLY_WORKERS", 1, 1)
    absent = [name for name in ("distributed", "prefect_dask") if find_spec(name) is None]
    if absent:
        named = "NIGHTLY_DASK_ADDRESS" if address else "NIGHTLY_WORKERS"
        raise SettingsError(
            f"{named} needs the package {absent[0]}, which is not installed: "
            "pip install -e '.[dask]'"
        )
    return found


def check_workers(server: str | None) -> None:
    """Raise SettingsError where the workers of a run cannot be used.

    Args:
        server: Address of the Prefect server; None for one that the command starts.
    """
    named = workers()
    if isinstance(named, str) and not server:
        host = re.sub(r":\d+$", "", named.partition("://")[2]).strip("[]")
        if host not in ("127.0.0.1", "localhost", "::1"):
            raise SettingsError(
                f"NIGHTLY_DASK_ADDRESS: {hide(named)} is another machine, whose workers cannot "
                "reach a Prefect server that this command would start. Set PREFECT_API_URL to one "
                "that they reach, here and for the workers."
            )


def predictions_folder() -> Path:
    """Where the files lie that the app reads: ``NIGHTLY_PREDICTIONS_DIR``, else in ``home()``."""
    named = os.environ.get("NIGHTLY_PREDICTIONS_DIR")
    return Path(named).expanduser().absolute() if named else home() / "predictions"


def readers() -> tuple[int, int | None]:
    """Who may read the files for the app: their mode and the number of their group.

    ``NIGHTLY_PREDICTIONS_MODE``, else 640 where ``NIGHTLY_PREDICTIONS_GROUP`` names a group, else
    600; None for the group of the process.

    Raises:
        SettingsError: Where one of the two cannot be used.
    """
    import grp

    group = os.environ.get("NIGHTLY_PREDICTIONS_GROUP") or None
    mode = os.environ.get("NIGHTLY_PREDICTIONS_MODE") or ("640" if group else "600")
    if not re.fullmatch(r"0?6[04][04]", mode):
        raise SettingsError(
            f"NIGHTLY_PREDICTIONS_MODE: found {mode!r}, expected 600 (the owner reads), 640 (and "
            "the group) or 644 (and everybody)."
        )
    try:
        return int(mode, 8), grp.getgrnam(group).gr_gid if group else None
    except KeyError:
        raise SettingsError(
            f"NIGHTLY_PREDICTIONS_GROUP: found {group!r}, expected a group of this machine. Create "
            "it, and make the account that runs the nights and that of the app its members."
        ) from None


def check_readers() -> None:
    """Raise SettingsError where others may read the files for the app, but cannot reach them."""
    mode, _ = readers()
    place, state = predictions_folder(), home()
    needed = (mode >> 2) & 0o011
    inside = place.is_relative_to(state) and state.is_dir()
    if inside and state.stat().st_mode & needed != needed:
        raise SettingsError(
            f"NIGHTLY_PREDICTIONS_MODE: found {mode:o}, but the files lie in the state directory "
            f"{state}, which only its owner may enter. Set NIGHTLY_PREDICTIONS_DIR to a folder "
            "outside of it, and move there what is in its folder predictions."
        )


def predictions_url() -> str | None:
    """Database for the app's table of predictions: ``NIGHTLY_PREDICTIONS_URL``, if any."""
    return os.environ.get("NIGHTLY_PREDICTIONS_URL") or None


def seal_key() -> str | None:
    """The key that versions are signed with: ``NIGHTLY_SEAL_KEY``; else one in ``home()``."""
    named = os.environ.get("NIGHTLY_SEAL_KEY")
    if named and len(named) < 32:
        raise SettingsError(
            "NIGHTLY_SEAL_KEY: expected at least 32 characters, the same on every machine that "
            "shares the registry, such as the output of `openssl rand -hex 32`; the value found is "
            "not shown, because it is a secret."
        )
    return named or None


def state_url() -> str | None:
    """The PostgreSQL database of machines that share their state: ``NIGHTLY_STATE_URL``, if any.

    Raises:
        SettingsError: Where it names something else.
    """
    url = os.environ.get("NIGHTLY_STATE_URL")
    if url and not re.match(r"postgres(ql)?(\+psycopg)?://", url):
        raise SettingsError(
            f"NIGHTLY_STATE_URL: found {hide(url)!r}, expected the address of a PostgreSQL "
            "database such as postgresql://user:password@host/nightly."
        )
    return url or None


def store_url() -> str | None:
    """Where machines that share their state keep what the store holds: ``NIGHTLY_STORE_URL``.

    Raises:
        SettingsError: Where it is no address, or the database that finds its files is not named.
    """
    url = os.environ.get("NIGHTLY_STORE_URL")
    if url and not re.match(r"file:///.|(?!file:)[\w+.-]+://.", url):
        raise SettingsError(
            f"NIGHTLY_STORE_URL: found {hide(url)!r}, expected an address such as "
            "file:///shared/nightly or s3://bucket/prefix."
        )
    if url and state_url() is None:
        raise SettingsError(
            "NIGHTLY_STORE_URL is set and NIGHTLY_STATE_URL is not: name the database in which "
            "what is stored is found as well."
        )
    return url or None


def lease_seconds() -> int:
    """How long a night that gives no sign of life keeps its model: ``NIGHTLY_LEASE_SECONDS``,
    else 120. Only between machines that share their state."""
    return _whole_number("NIGHTLY_LEASE_SECONDS", 120, 2)


def webhook_url() -> str | None:
    """Where alarms go: ``NIGHTLY_WEBHOOK_URL``, a secret that no message repeats."""
    url = os.environ.get("NIGHTLY_WEBHOOK_URL")
    if url and not re.fullmatch(r"https?://[^\s/]+\S*", url):
        raise SettingsError(
            "NIGHTLY_WEBHOOK_URL: expected an address such as "
            "https://hooks.slack.com/services/…; the value found is not shown, because it is a "
            "secret."
        )
    return url or None


def alarm_block() -> tuple[str, str] | None:
    """Which block of the Prefect server sends alarms: ``NIGHTLY_ALARM_BLOCK``, as (type, name)."""
    named = os.environ.get("NIGHTLY_ALARM_BLOCK")
    if not named:
        return None
    kind, _, name = named.partition("/")
    if not kind or not name:
        raise SettingsError(
            f"NIGHTLY_ALARM_BLOCK: found {named!r}, expected type/name such as slack-webhook/ops."
        )
    return kind, name


def _whole_number(name: str, default: int, least: int) -> int:
    named = os.environ.get(name, str(default))
    if not named.isdigit() or int(named) < least:
        raise SettingsError(
            f"{name}: found {named!r}, expected a whole number of at least {least}."
        )
    return int(named)
