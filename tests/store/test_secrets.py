"""No secret is shown, however it is spelled."""

import pytest
import sqlalchemy

from tasks.store.database import AddressError, open_engine, parse_url, secrets_of
from tasks.store.secrets import hidden, without_login


def test_a_secret_is_hidden_as_it_is_and_as_a_url_spells_it() -> None:
    assert hidden("p@ss, p%40ss and p", ["p@ss"]) == "***, *** and p"


def test_the_longer_of_two_secrets_is_hidden_whole() -> None:
    assert hidden("one onetwo", ["one", "onetwo"]) == "*** ***"


def test_no_secret_hides_nothing() -> None:
    assert hidden("text", [None, ""]) == "text"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:pass@host/shop", "postgresql://host/shop"),
        ("postgresql://user:p@ss@host/shop", "postgresql://host/shop"),
        ("https://host/a@b", "https://host/a@b"),
        ("data/a@b.csv", "data/a@b.csv"),
    ],
)
def test_a_url_is_shown_without_its_login(url: str, shown: str) -> None:
    assert without_login(url) == shown


def test_passwords_among_the_options_of_a_url_are_secrets_too() -> None:
    address = parse_url("postgresql://u:one@host/shop?sslpassword=two&sslmode=require")
    assert secrets_of(address) == ["one", "two"]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_with_psycopg(scheme: str) -> None:
    assert parse_url(f"{scheme}://host/shop").drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("no url", "no such address"),
        ("postgresql://host:port/shop", "no such address"),
        ("sqllite:///x.db", "no such address"),
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
