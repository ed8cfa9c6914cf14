"""Calls of MLflow's client that share one session of a local database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from tasks.registry.client import database_of

if TYPE_CHECKING:
    from mlflow import MlflowClient


_open: ContextVar[Mapping[_Maker, Any]] = ContextVar("open", default={})  # noqa: B039
"""The sessions that are shared here, by whose they are."""


@contextmanager
def one_session_of_runs(client: MlflowClient) -> Iterator[None]:
    """Meanwhile what is asked of the store of runs shares one session.

    Else each call sets up its own and commits by itself, which takes longer than most of them. A
    server gets each request as before. For calls of which none may fail and be passed over: after
    an error nothing that was not committed is kept. Nothing that takes long belongs in it, since a
    local database has one writer at a time.
    """
    with _one_session(client._tracking_client.store):
        yield


@contextmanager
def one_session_of_versions(client: MlflowClient) -> Iterator[None]:
    """The same of the store of versions."""
    with _one_session(client._get_registry_client().store):  # type: ignore[no-untyped-call]
        yield


@contextmanager
def _one_session(store: Any) -> Iterator[None]:
    if database_of(store) is None:
        yield
        return
    if not isinstance(store.ManagedSessionMaker, _Maker):
        store.ManagedSessionMaker = _Maker(store.ManagedSessionMaker)
    maker: _Maker = store.ManagedSessionMaker
    with maker(read_only=False) as session:
        before = _open.set({**_open.get(), maker: session})
        try:
            yield
        finally:
            _open.reset(before)


class _Maker:
    """MLflow's maker of sessions, which gives the one that is shared here, if any."""

    def __init__(self, own: Callable[..., AbstractContextManager[Any]]) -> None:
        self._own = own

    @contextmanager
    def __call__(self, read_only: bool = True) -> Iterator[Any]:
        session = _open.get().get(self)
        if session is None:
            with self._own(read_only=read_only) as made:
                yield made
            return
        yield session
        session.flush()
        session.expire_all()
