"""The connection to MLflow, and its errors as plain messages."""

from __future__ import annotations

import atexit
import functools
import gc
import importlib.metadata
import importlib.util
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from tasks import settings
from tasks.errors import NightlyError, RegistryError
from tasks.registry import seals
from tasks.shown import hide
from tasks.store import locks
from tasks.store.empty_databases import make_database
from tasks.store.files import DiskError, disk_fault
from tasks.store.leases import check_now

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


Client: TypeAlias = "MlflowClient"
"""What ``open_registry`` gives."""

Versions: TypeAlias = "Sequence[ModelVersion] | None"
"""Versions of a model as ``list_versions`` gives them, where they have been listed already."""

HOW_A_SERVER_FAILS = {
    "refused": "refuses the connection. Start it, or correct MLFLOW_TRACKING_URI.",
    "resolve": "cannot be found under that host name. Correct MLFLOW_TRACKING_URI.",
    "timed out|timeout": "accepts the connection but does not answer. Look at its log",
    "too many 5.. error": "answers {path} with a server error. Look at its log",
    "": "closed the connection",
}
"""Words of the client's error to a plain message."""
DOWNLOAD = re.compile(r"failures occurred while downloading one or more artifacts from (\S+):\n")
FILE = re.compile(r"##### File (.*) #####\n((?:(?!#####).*\n?)*)")
"""What MLflow says of each file."""
MISSING = re.compile(r"\b404\b|NoSuch|[Nn]ot [Ff]ound")
OF_STORES = ("boto3.", "botocore.", "s3transfer.")
"""Modules of a store's client, whose errors MLflow hands on as they are."""

_remembering: ContextVar[list[MlflowClient] | None] = ContextVar("remembering", default=None)
"""The one client of ``remembered``, once it is asked for."""
_whole: set[tuple[str, int]] = set()
"""Local databases that were found to be complete: path and inode."""


class OutageError(NightlyError, RuntimeError):
    """The registry's server or the store of artifacts cannot be reached or fails: nothing is known
    of what it holds."""


def open_registry() -> MlflowClient:
    """A client of the tracking store; a fresh local database is initialised once, under a lock.

    Raises:
        LeaseLostError: Where machines share their state and the lease of this process has run out:
            it must not write what another machine's run of the same night relies on.
    """
    check_now()
    uri = settings.tracking_uri()
    settings.ensure_home()
    place = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
    ready = place is None or _is_whole(place)
    import_ahead()
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(os.environ.get("MLFLOW_REGISTRY_URI", uri))
    if ready:
        client = _new_client()
        seals.adopt_once(client)
        return client
    assert place is not None
    with locks.lock("mlflow", wait=300):
        make_database(place, "mlflow")
        client = _new_client()
        client.search_experiments(max_results=1)
        _write_ahead(str(place))
    seals.adopt_once(client)
    return client


@contextmanager
def remembered() -> Iterator[None]:
    """Meanwhile ``open_registry`` gives one client, which reads each model once.

    For who is alone in changing these models.
    """
    before = _remembering.set([])
    try:
        yield
    finally:
        _remembering.reset(before)


def read_ahead(models: Sequence[str]) -> None:
    """Within ``remembered``: read these models at once, which are else read one by one."""
    from tasks.registry.model_client import RememberingClient

    client = open_registry()
    assert isinstance(client, RememberingClient)
    client.read_ahead(models)


def look_again(client: MlflowClient, model: str, *, versions: bool = False) -> None:
    """Where the client remembers what it has read, read a model anew: its tags and aliases.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        versions: To read its versions anew, not the model.
    """
    from tasks.registry.model_client import RememberingClient

    if isinstance(client, RememberingClient):
        client.forget_versions(model) if versions else client.forget_model(model)


def know_alias(client: MlflowClient, model: str, alias: str, version: str) -> None:
    """Tell a client that remembers what an alias was found to point at in the database."""
    from tasks.registry.model_client import RememberingClient

    if isinstance(client, RememberingClient):
        client.know_alias(model, alias, version)


def _new_client() -> MlflowClient:
    from tasks.registry.model_client import ModelClient, RememberingClient

    kept = _remembering.get()
    if kept is None:
        return ModelClient()
    if not kept:
        kept.append(RememberingClient())
    return kept[0]


def import_ahead(*, stores: bool = True) -> None:
    """Import MLflow as the registry is opened with, or before that while there is time.

    Args:
        stores: Whether a local database will be opened.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the steps wait and try again
    import mlflow

    if stores and settings.tracking_uri().startswith("sqlite:"):
        import mlflow.store.model_registry.sqlalchemy_store
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

        _close_at_exit()


@functools.cache
def _close_at_exit() -> None:
    """At the end of a process that imported MLflow: leave a local database whole in its one file.

    Then no garbage is looked for: that took longer than a second, and all is freed anyway.
    """
    from mlflow.store.model_registry import sqlalchemy_store as registry
    from mlflow.store.tracking import sqlalchemy_store as tracking

    def close() -> None:
        for store in (registry.SqlAlchemyStore, tracking.SqlAlchemyStore):
            for engine in store._engine_map.values():
                engine.dispose()
        gc.freeze()

    atexit.register(close)


def reach_server() -> None:
    """Send the registry's server a small request: an outage is known before the work starts.

    A local database is not asked: that would import MLflow before the candidates are fitted.

    Raises:
        OutageError: Where it does not answer.
        SettingsError: Where the local database is that of another MLflow.
    """
    check_schema()
    if settings.tracking_uri().startswith("sqlite:"):
        return
    client = open_registry()
    try:
        client.search_experiments(max_results=1)
        client.search_registered_models(max_results=1)
    except Exception as error:
        raise to_error("The registry cannot be read", error) from error


def check_schema() -> None:
    """Raise SettingsError where another version of MLflow has made the local database.

    Neither MLflow nor the database is changed; what MLflow knows is told by its migrations.
    """
    uri = settings.tracking_uri()
    file = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or not file.is_file() or not (migrations := _migrations()):
        return
    with closing(sqlite3.connect(file)) as database:
        try:
            made = database.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.DatabaseError:  # MLflow has not made its tables yet
            return
    if not made or any(made[0] in name for name in migrations):
        return
    raise settings.SettingsError(
        f"The MLflow database {file} has the schema {made[0]}, which MLflow "
        f"{importlib.metadata.version('mlflow')} does not know: a newer one has made it. Install "
        "that version, or name another database in MLFLOW_TRACKING_URI."
    )


def database_of(store: Any) -> Any:
    """MLflow's own access to the database of runs or of versions; None where that is a server."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Versions
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Runs

    return store if isinstance(store, (Runs, Versions)) else None


def repeats_requests(client: MlflowClient) -> bool:
    """Whether the client repeats a request whose answer was lost, which can make a thing twice."""
    runs, versions = client._tracking_client.store, client._get_registry_client().store  # type: ignore[no-untyped-call]
    return database_of(runs) is None or database_of(versions) is None


@dataclass(frozen=True)
class Registered:
    """What the registry notes on a model as a whole.

    Attributes:
        tags: Its tags.
        aliases: Alias to version.
    """

    tags: Mapping[str, str]
    aliases: Mapping[str, str]


def read_registered(client: MlflowClient, model: str) -> Registered:
    """Tags and aliases of a model, in one read; none before its first version."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_registered_model(model)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return Registered({}, {})
        raise to_error(f"The model {model} cannot be read", error) from error
    return Registered(dict(found.tags), {name: str(v) for name, v in found.aliases.items()})


def list_versions(
    client: MlflowClient, model: str, listed: Versions = None
) -> Sequence[ModelVersion]:
    """Every version of a model, with its tags: those listed before, or else asked for now."""
    if listed is not None:
        return listed
    return list(client.search_model_versions(f"name = '{model}'"))


@functools.cache
def _migrations() -> tuple[str, ...]:
    """Names of the migrations that the installed MLflow knows."""
    found = importlib.util.find_spec("mlflow")
    (package,) = (found.submodule_search_locations if found else None) or [""]
    return tuple(file.name for file in Path(package, "store/db_migrations/versions").glob("*.py"))


def outage(error: BaseException) -> str | None:
    """How the registry's server or the store of artifacts failed, in plain words, where an error
    comes from that."""
    causes = list(_causes(error))
    known = next((str(cause) for cause in causes if isinstance(cause, OutageError)), None)
    if known:
        return known
    said = "\n".join(map(str, causes))
    asked = re.search(r"API request to (http\S+) failed", said)
    if asked is None:
        return next(filter(None, map(_store_outage, causes)), None)
    url = urlsplit(asked[1])
    how = next(how for words, how in HOW_A_SERVER_FAILS.items() if re.search(words, said))
    address = f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
    return f"The MLflow server at {address} {how.format(path=url.path)}"


def _store_outage(cause: BaseException) -> str | None:
    """How the store of artifacts failed; None where it did not, or has no such file."""
    said = str(cause)
    if found := DOWNLOAD.search(said):
        files = FILE.findall(said[found.end() :])
        place, failed = hide(found[1]), [each for each in files if not MISSING.search(each[1])]
        if place.startswith("file:") or not failed:
            return None
        name, why = failed[0]
        what = f"{place} fails for {name}"
    elif type(cause).__module__.startswith(OF_STORES) and not MISSING.search(said):
        what, why = "fails", said
    else:
        return None
    return f"The store of artifacts {what}: {' '.join(hide(why).split())}"


def to_error(what: str, error: Exception) -> OutageError | RegistryError | DiskError:
    """The error to raise for an MLflow error: OutageError where the server or the store of
    artifacts failed, DiskError where this machine's disk did.

    Args:
        what: What cannot be done, as the start of the message.
        error: What MLflow raised.
    """
    if failed := outage(error):
        return OutageError(failed)
    return disk_fault(what, error) or RegistryError(f"{what}: {_moved(str(error)) or error}")


def _moved(said: str) -> str | None:
    """What to do where files are missed at the place that the state directory had before."""
    found = re.search(r"file://(/\S+?)/artifacts/", said)
    before, now = Path(found[1]) if found else Path(), settings.home()
    if not found or before.exists() or not (now / "artifacts").is_dir():
        return None
    return (
        f"MLflow expects its files in {before}, which is not there. Where this state directory was "
        f"moved, put it back, or leave a link: ln -s {now} {before}"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_whole(database: Path) -> bool:
    """Whether the database is complete and this MLflow's; asked once of each file in a process.

    Raises:
        SettingsError: Where another MLflow has made it.
    """
    if not database.is_file():
        return False
    named = (str(database), database.stat().st_ino)
    if named not in _whole:
        check_schema()
        if not _writes_ahead(database):
            return False
        _whole.add(named)
    return True


def _writes_ahead(database: Path) -> bool:
    """Whether the database is complete: the journal mode is set last.

    Asked of SQLite, never of the file: closing it here would drop the locks of MLflow's open
    connections, and another process would then delete the log they still write to.
    """
    with closing(sqlite3.connect(database)) as connection:
        return bool(connection.execute("PRAGMA journal_mode").fetchone() == ("wal",))


def _write_ahead(database: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
