"""The change of a champion that is meant, recorded between machines before an alias is moved.

It is written in the transaction that checks the lease of this process: who has lost it records
nothing, and what is not recorded is not applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.store import state_database
from tasks.store.leases import check_leases

if TYPE_CHECKING:
    from sqlalchemy import Connection


BEGIN = """
INSERT INTO nightly_changes (model, change, token) VALUES (%(model)s, %(change)s, %(token)s)
ON CONFLICT (model) WHERE closed IS NULL DO NOTHING
"""
OPEN = "SELECT change FROM nightly_changes WHERE model = %(model)s AND closed IS NULL"
MODELS = "SELECT model FROM nightly_changes WHERE closed IS NULL"
CLOSE = """
UPDATE nightly_changes SET closed = clock_timestamp() WHERE model = %(model)s AND closed IS NULL
"""


def open_change(model: str) -> str | None:
    """The change of a model that is recorded and not applied in full, if any."""
    asked = {"model": model}
    return state_database.run(lambda c: c.exec_driver_sql(OPEN, asked).scalar())


def open_models() -> list[str]:
    """The models that have such a change."""
    return state_database.run(lambda c: list(c.exec_driver_sql(MODELS).scalars()))


def begin_change(model: str, change: str) -> str:
    """Record a change, unless another one is open.

    Args:
        model: Registered model.
        change: What is meant.

    Returns:
        The change that is open now: this one, or the one that was.

    Raises:
        LeaseLostError: Where the lease of this process has run out; nothing is recorded.
    """

    def begin(connection: Connection) -> str:
        asked = {"model": model, "change": change, "token": check_leases(connection)}
        connection.exec_driver_sql(BEGIN, asked)
        return str(connection.exec_driver_sql(OPEN, asked).scalar_one())

    return state_database.run(begin)


def close_change(model: str) -> None:
    """Note that the change of a model has been applied in full.

    Raises:
        LeaseLostError: Where the lease of this process has run out; whoever has it now closes it.
    """

    def close(connection: Connection) -> None:
        check_leases(connection)
        connection.exec_driver_sql(CLOSE, {"model": model})

    state_database.run(close)
