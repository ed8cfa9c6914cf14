"""Databases by their URL."""

import pytest
import sqlalchemy

from tasks.store.database import AddressError, open_engine, parse_url, secrets_of


def test_passwords_among_the_options_of_a_url_are_secrets_too() -> None:
    address = parse_url("postgresql://u:one@host/shop?sslpassword=two&sslmode=require")
    assert secrets_of(address) == ["one", "two"]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_with_psycopg(scheme: str) -> None:
    assert parse_url(f"{scheme}://host/shop").drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("no url", "not a database URL"),
        ("postgresql://host:port/shop", "not a database URL"),
        ("sqllite:///x.db", "not a database URL"),
        ("mysql+pymysql://u:secret@host/shop", "the package 'pymysql' is not installed"),
    ],
)
def test_what_is_wrong_with_an_address_is_said_without_it(url: str, why: str) -> None:
    with pytest.raises(AddressError) as raised:
        open_engine(parse_url(url))
    assert why in str(raised.value)
    assert "secret" not in str(raised.value)


def test_an_engine_keeps_no_connection_open() -> None:
    engine = open_engine(parse_url("sqlite://"), timeout=1)
    assert isinstance(engine.pool, sqlalchemy.pool.NullPool)
