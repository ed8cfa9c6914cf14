"""What is shown holds no secret, however it is spelled."""

import os
import re
import subprocess
import sys

import pytest

from tasks.errors import NightlyError
from tasks.shown import LONGEST, LONGEST_ALARM, all_shown, as_alarm, as_markdown, hide, shown


def test_a_secret_is_hidden_as_it_is_and_as_a_url_spells_it() -> None:
    assert hide("p@ss, p%40ss and p", ["p@ss"]) == "***, *** and p"


def test_the_longer_of_two_secrets_is_hidden_whole() -> None:
    assert hide("one onetwo", ["one", "onetwo"]) == "*** ***"


def test_a_terminal_that_knows_few_letters_shows_a_question_mark() -> None:
    code = "from tasks.shown import stand_any_terminal as s; s(); print('groceries · ✓ é')"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("groceries ? ? ?\n", "")


def test_no_secret_hides_nothing() -> None:
    assert hide("text", [None, ""]) == "text"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("postgresql://user:pass@host/shop", "postgresql://user:***@host/shop"),
        ("postgresql://user:p@ss@host/shop", "postgresql://user:***@host/shop"),
        ("postgresql://user:p/ss@host/shop", "postgresql://user:***@host/shop"),
        ("postgresql://u:${PW}@host/shop", "postgresql://u:${PW}@host/shop"),
        ("https://ghp_1@host/x, at http://u:p@h", "https://***@host/x, at http://u:***@h"),
        ("abfs://bucket@account.net/days", "abfs://bucket@account.net/days"),
        ("https://host/a@b", "https://host/a@b"),
        ("http://host:4200/a@b", "http://host:4200/a@b"),
        ("data/a@b.csv", "data/a@b.csv"),
        ("h/x?token=a&day=1&apikey=b", "h/x?token=***&day=1&apikey=***"),
        (
            "h/x?sig=a;X-Amz-Signature=b#access_token=c",
            "h/x?sig=***;X-Amz-Signature=***#access_token=***",
        ),
        ("h/x?token=${TOK}&key=a", "h/x?token=${TOK}&key=***"),
        ("host=db password=a dbname=b", "host=db password=*** dbname=b"),
        ("passed=3, design=4, token_pattern=5", "passed=3, design=4, token_pattern=5"),
    ],
)
def test_what_is_secret_in_an_address_is_hidden_wherever_it_stands(text: str, told: str) -> None:
    assert hide(text) == told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SHOP_PASSWORD", "marked-1"),
        ("AWS_SECRET_ACCESS_KEY", "marked-1"),
        ("GITHUB_TOKEN", "marked-1"),
        ("TOK", "marked-1"),
        ("DB_PW", "marked-1"),
        ("PREFECT_API_AUTH_STRING", "nightly:marked-1"),
        ("NIGHTLY_WEBHOOK_URL", "https://hooks.example/services/marked-1"),
        ("DATABASE_URL", "postgresql://shop:marked-1@host/shop"),
        ("LAKE", "https://host/days?sv=1&sig=marked-1"),
    ],
)
def test_the_environment_says_what_is_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert "marked-1" not in hide(f"the driver said: {value}")


@pytest.mark.parametrize(
    ("name", "value"),
    [("PWD", "/srv/nightly"), ("TOKEN", "on"), ("DB", "db://nightly:nightly@h/x")],
)
def test_what_says_no_secret_stays(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert hide("on /srv/nightly") == "on /srv/nightly"


def test_every_error_of_this_project_hides_secrets_and_cleans_what_it_repeats() -> None:
    found = NightlyError("https://u:pass@host said \x1b[2J\x9b\u202e" + "x" * 300_000)
    assert str(found).startswith("https://u:***@host said ?[2J??xx")
    assert len(str(found)) < LONGEST + 100


BAD = "a\x1b[31mb\x9b2Jc\u202ed\u2066e\u200bf\x07\ud800g\x00"


def test_what_steers_a_terminal_or_turns_text_is_replaced() -> None:
    assert shown(BAD) == "a?[31mb?2Jc?d?e?f??g?"
    assert shown("Größe 東京 👩\u200d👧\n\tتقويم") == "Größe 東京 👩\u200d👧\n\tتقويم"


def test_a_long_text_is_cut_in_its_middle() -> None:
    cut = shown(f"begin{'x' * 269_000}end")
    assert (cut[:5], cut[-3:]) == ("begin", "end")
    assert "characters left out" in cut
    assert len(cut) < LONGEST + 50


def test_a_chat_calls_nobody_and_links_nothing_that_the_data_say() -> None:
    told = as_alarm("<!channel> <http://evil.example|your bank> @here, me@all.example")
    assert not set("<>") & set(told)
    assert "@here" not in told
    assert len(as_alarm("x" * 269_000)) < LONGEST_ALARM + 50


def test_markdown_renders_nothing_of_the_data() -> None:
    told = as_markdown("<img src=x> ![p](http://e/p.png) [bank](http://e) | a\nb")
    assert "<" not in told
    assert "\n" not in told
    assert re.search(r"(?<!\\)[\[\]|]", told) is None


def test_every_text_of_a_report_is_shown_wherever_it_stands() -> None:
    found = all_shown({"a\x1b": [("x\x9b", 1, None)], "b": {"c": 2.5, "d": "\u202e"}})
    assert found == {"a?": [("x?", 1, None)], "b": {"c": 2.5, "d": "?"}}
