"""The store is whole at any instant, and never gives a wrong answer."""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from sklearn.ensemble import HistGradientBoostingClassifier

from tasks.settings import PROJECT
from tasks.store import cleanup, files, frames, locks, models
from tasks.store.frames import Part, Ref, find_days, read_days, write_days
from tasks.store.trusted_types import TRUSTED_TYPES
from tests.samples import samples


def frame(rows: int, first: int = 0) -> pd.DataFrame:
    numbers = np.arange(first, first + rows)
    return pd.DataFrame(
        {
            "day": pd.Series(pd.Timestamp("2026-11-21"), index=range(rows)).astype("datetime64[s]"),
            "number": numbers,
            "size": numbers / 3,
            "text": [f"größe {n}" for n in numbers],
            "shop": pd.Categorical([f"shop {n:03}" for n in numbers]),
            "small": numbers.astype("int8"),
            "yes": numbers % 2 == 0,
        }
    )


def block(home: Path, ref: Ref) -> Path:
    return home / "store" / ref.path


def test_days_come_back_in_the_order_asked() -> None:
    first = write_days("clean", {"a": frame(3), "b": frame(2, 10)})
    second = write_days("clean", {"c": frame(4, 20)})
    found = find_days("clean", ["c", "a", "missing", "b"])
    assert found == first | second
    wanted = [found[key] for key in ("b", "c", "a")]
    expected = pd.concat(
        [f.astype({"shop": str}) for f in (frame(2, 10), frame(4, 20), frame(3))],
        ignore_index=True,
    )
    back = read_days(wanted)
    assert back["shop"].dtype.categories.is_monotonic_increasing
    assert_frame_equal(back.astype({"shop": str}), expected)
    assert_frame_equal(read_days(wanted, columns=["size", "day"]), expected[["size", "day"]])


def test_one_call_writes_one_block(home: Path) -> None:
    write_days("clean", {f"day {n}": frame(2, n) for n in range(50)})
    assert len(list((home / "store/clean").glob("*.arrow"))) == 1
    assert not list((home / "store/clean").glob("*.tmp"))


def test_the_same_days_are_the_same_however_they_share_blocks() -> None:
    together = write_days("one", {"a": frame(3), "b": frame(3, 50)})
    apart = write_days("two", {"b": frame(3, 50)}) | write_days("two", {"a": frame(3)})
    for key in ("a", "b"):
        assert_frame_equal(read_days([together[key]]), read_days([apart[key]]))


def contents(days: dict[str, pd.DataFrame]) -> dict[str, str]:
    return {key: ref.content for key, ref in write_days("x", days, by_content=True).items()}


def gaps(first: int) -> pd.DataFrame:
    """A day with every kind of missing value."""
    return frame(9, first).assign(
        size=[None, *range(first, first + 8)],
        text=[None, "", "a", "ab", "b", "ü", "", "c", "d"],
        shop=pd.Categorical([None, "x", *"abcdefg"]),
        whole=pd.array([first, None, *range(7)], dtype="Int64"),
        at=pd.to_datetime([None, *["2026-01-01 10:00"] * 8]),
        several=[[1], [1, 2], [], [3]] * 2 + [[4]],
    )


def test_the_digest_of_a_days_rows_does_not_know_what_it_is_packed_with() -> None:
    days = {"a": gaps(0), "b": gaps(50), "none": gaps(0).head(0)}
    together = contents(days)
    assert len(set(together.values())) == 3
    assert contents(dict(reversed(days.items()))) == together
    assert [contents({key: day})[key] for key, day in (("a", gaps(0)), ("b", gaps(50)))] == [
        together["a"],
        together["b"],
    ]
    assert find_days("x", ["a"])["a"].content == together["a"]
    assert write_days("y", {"a": gaps(0)})["a"].content == ""


@pytest.mark.parametrize("name", [*gaps(0), "order", "type", "name", "text joined"])
def test_the_digest_of_a_days_rows_sees_every_change(name: str) -> None:
    day = gaps(0)
    if name == "order":
        changed = day.iloc[::-1]
    elif name == "type":
        changed = day.astype({"number": "float64"})
    elif name == "name":
        changed = day.rename(columns={"number": "Number"})
    elif name == "text joined":
        changed = day.assign(text=[None, "a", "", "ab", "b", "ü", "", "c", "d"])
    else:
        changed = day.copy()
        changed[name] = day[name].iloc[[*range(1, 9), 2 if name in ("day", "yes") else 0]].array
        if name == "day":
            changed[name] += pd.Timedelta(days=1)
    assert contents({"a": changed}) != contents({"a": day})


def test_more_categories_than_one_day_could_number() -> None:
    days = {f"{n}": frame(100, 100 * n).drop(columns="small") for n in range(4)}
    refs = write_days("clean", days)
    back = read_days(list(refs.values()))
    assert list(back["shop"].astype(str)) == [f"shop {n:03}" for n in range(400)]


def test_a_day_without_rows_keeps_its_types() -> None:
    empty = frame(2).iloc[:0]
    for kind, days in (("all", {"none": empty}), ("one", {"none": empty, "some": frame(2)})):
        back = read_days([write_days(kind, days)["none"]])
        assert len(back) == 0
        assert back.drop(columns="shop").dtypes.equals(empty.drop(columns="shop").dtypes), kind
        assert isinstance(back["shop"].dtype, pd.CategoricalDtype)


def test_a_category_that_was_never_seen() -> None:
    none = pd.DataFrame({"shop": pd.Categorical([None, None]), "n": [1, 2]})
    some = pd.DataFrame({"shop": pd.Categorical([7, None]), "n": [3, 4]})
    refs = write_days("one", {"a": none, "b": none})
    refs |= write_days("two", {"c": some}) | write_days("three", {"d": none, "e": some})
    assert read_days([refs["a"], refs["b"]])["shop"].isna().all()
    back = read_days([refs[key] for key in ("a", "c", "d", "e", "b")])
    assert back["shop"].astype("float").sum() == 14
    assert list(back["n"]) == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]


@pytest.mark.parametrize("kind", ["str", "category", "datetime64[s]", "bool"])
def test_a_join_without_a_match_on_one_day_is_missing_texts(kind: str) -> None:
    none = pd.DataFrame({"last": [float("nan"), float("nan")]})
    some = pd.DataFrame({"last": pd.Series([0, 1]).astype(kind)})
    for name, order in (("first", (none, some)), ("last", (some, none))):
        refs = write_days(name, dict(zip("ab", order, strict=True)))
        back = read_days([refs["a"], refs["b"]])["last"]
        assert back.isna().sum() == 2
        assert back.dropna().astype(kind).tolist() == some["last"].tolist()
    apart = [write_days(key, {key: rows})[key] for key, rows in (("c", none), ("d", some))]
    assert read_days(apart)["last"].isna().tolist() == [True, True, False, False]


@pytest.mark.parametrize("order", [1, -1])
def test_whole_numbers_with_a_gap_on_one_day_keep_every_digit(order: int) -> None:
    long = 1_234_567_890_123_456_789
    whole = write_days("clean", {"a": pd.DataFrame({"n": [long]})})
    gap = write_days("clean", {"b": pd.DataFrame({"n": pd.array([None, long], "Int64")})})
    none = write_days("clean", {"c": pd.DataFrame({"n": pd.array([long], "Int64")})})
    refs = [whole["a"], gap["b"]][::order]
    found = read_days(refs)["n"]
    assert found.dtype == "Int64"
    assert sorted(found.dropna().tolist()) == [long, long]
    assert read_days([whole["a"], none["c"]][::order])["n"].dtype == "Int64"
    assert read_days([whole["a"]])["n"].dtype == "int64"


def test_whole_numbers_within_lists_keep_every_digit_beside_a_gap() -> None:
    long = 1_234_567_890_123_456_789
    kept = [{"n": long, "of": [long, None]}, {"n": None, "of": None}]
    ref = write_days("clean", {"a": pd.DataFrame({"x": pd.Series(kept, dtype=object)})})["a"]
    first, second = read_days([ref])["x"]
    assert [first["n"], *first["of"]] == [long, long, None]
    assert second == kept[1]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.list_(pa.int64()), [2**60 + 1, None]),
        (pa.list_(pa.int64(), 2), [2**60 + 1, None]),
        (pa.struct({"a": pa.int64()}), {"a": 2**60 + 1}),
        (pa.map_(pa.string(), pa.int64()), [("a", 1)]),
        (pa.binary(3), b"abc"),
        (pa.dictionary(pa.int32(), pa.string()), "a"),
    ],
    ids=str,
)
def test_columns_of_types_that_pandas_cannot_name_come_back_as_they_were(
    kind: Any, value: Any
) -> None:
    rows = pd.DataFrame({"x": pd.array([value, None], pd.ArrowDtype(kind)), "n": [1, 2]})
    refs = write_days("clean", {"a": rows, "b": rows[::-1].reset_index(drop=True)})
    assert_frame_equal(read_days([refs["a"]]), rows)
    together = pd.concat([rows[::-1], rows], ignore_index=True)
    assert_frame_equal(read_days([refs["b"], refs["a"]]), together)


def test_parts_of_the_same_days_unpack_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    days = {f"{n}": pd.DataFrame({"x": np.arange(4.0) + 10 * n, "y": 1}) for n in range(3)}
    refs = list(write_days("examples", days).values())
    parts = [[Part(**asdict(ref) | {"rows": 2}, start=at) for ref in refs] for at in (0, 2)]
    alone = [read_days(part) for part in parts]
    unpacked = list[int]()
    real = frames.arrow_blocks.read_block

    def read(path: Path, positions: list[int], columns: Any) -> list[Any]:
        unpacked.extend(positions)
        return real(path, positions, columns)

    monkeypatch.setattr(frames.arrow_blocks, "read_block", read)
    with frames.unpacked_once():
        for part, same in zip(parts, alone, strict=True):
            assert_frame_equal(read_days(part), same)
            assert_frame_equal(read_days(part[:2], ["y"]), same[["y"]].head(4))
        assert unpacked == [0, 1, 2, 0, 1]
        next(files.root().rglob("*.arrow")).write_bytes(b"spoilt")
        with pytest.raises(files.StoreError, match="is missing or altered"):
            read_days(parts[0])


def test_ordered_categories_stay_and_must_agree() -> None:
    def sizes(*order: str) -> pd.DataFrame:
        return pd.DataFrame({"size": pd.Categorical(["s"], categories=order, ordered=True)})

    ref = write_days("clean", {"a": sizes("s", "m", "l")})["a"]
    assert read_days([ref])["size"].dtype == sizes("s", "m", "l")["size"].dtype
    with pytest.raises(ValueError, match="ordered categories differ"):
        write_days("clean", {"a": sizes("s", "m"), "b": sizes("m", "s")})


def test_days_of_one_call_must_have_the_same_columns() -> None:
    with pytest.raises(ValueError, match=r"b has the columns.*all days"):
        write_days("clean", {"a": frame(1), "b": frame(1).drop(columns="yes")})


def test_a_column_that_is_not_there_is_named() -> None:
    ref = write_days("clean", {"a": frame(1)})["a"]
    with pytest.raises(ValueError, match="no column"):
        read_days([ref], columns=["numbr"])


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
cells = st.tuples(
    st.integers(-(2**63), 2**63 - 1), st.floats(), st.none() | texts, st.none() | texts
)


@settings(
    max_examples=samples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(days=st.lists(st.lists(cells, max_size=4), min_size=1, max_size=4))
def test_any_frames_come_back(days: list[list[Any]]) -> None:
    frames = {
        f"{n}": pd.DataFrame(rows, columns=["whole", "real", "text", "kind"]).astype(
            {"whole": "int64", "real": "float64", "text": "str", "kind": "str"}
        )
        for n, rows in enumerate(days)
    }
    marked = {key: f.astype({"kind": "category"}) for key, f in frames.items()}
    write_days("any", marked)
    found = find_days("any", list(frames))
    back = read_days([found[key] for key in frames])
    assert_frame_equal(back.astype({"kind": "str"}), pd.concat(frames.values(), ignore_index=True))
    for key, expected in frames.items():
        assert_frame_equal(read_days([found[key]]).astype({"kind": "str"}), expected)


@pytest.mark.parametrize("harm", ["cut", "altered", "missing", "empty"])
def test_a_spoilt_block_is_a_miss_with_a_warning(
    harm: str, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = write_days("clean", {"good": frame(2, 9)})
    bad = write_days("clean", {"a": frame(5), "b": frame(6)})
    path = block(home, bad["a"])
    assert len(find_days("clean", ["a", "b"])) == 2
    content, state = path.read_bytes(), path.stat()
    time.sleep(0.02)  # the clock of a file system ticks every few milliseconds
    if harm == "missing":
        path.unlink()
    else:
        middle = len(content) // 2
        flipped = bytes([content[middle] ^ 1])
        path.write_bytes(
            {"cut": content[:-1], "empty": b""}.get(
                harm, content[:middle] + flipped + content[middle + 1 :]
            )
        )
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with caplog.at_level(logging.WARNING, "nightly"):
        assert find_days("clean", ["a", "good", "b"]) == good
    assert len(caplog.records) == 1
    assert "made again" in caplog.text
    with pytest.raises(files.StoreError, match="missing or altered"):
        read_days([bad["a"]])
    again = write_days("clean", {"a": frame(5), "b": frame(6)})
    assert find_days("clean", ["a", "b"]) == again


def test_a_spoilt_index_line_is_a_miss(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_days("clean", {"a": frame(1), "b": frame(2)})
    last = write_days("clean", {"c": frame(3)})
    index = home / "store/clean/index.jsonl"
    index.write_bytes(index.read_bytes().replace(b'"batch": 1', b'"batch": 0', 1))
    with caplog.at_level(logging.WARNING, "nightly"):
        assert find_days("clean", ["a", "b", "c"]) == last
    assert "incomplete line" in caplog.text


def test_a_line_of_the_index_is_read_once_and_another_index_is_read_whole(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bytes] = []
    monkeypatch.setattr(frames, "is_complete", lambda line: not looked.append(line))
    for name in ("first", "second", "third"):
        write_days("clean", {name: frame(1)})
        assert name in find_days("clean", [name])
    assert len(looked) == 3
    index = home / "store/clean/index.jsonl"
    index.write_bytes(b"".join(index.read_bytes().splitlines(keepends=True)[1:]))
    assert list(find_days("clean", ["first", "second", "third"])) == ["second", "third"]


def test_a_line_cut_by_a_kill_does_not_spoil_the_next(home: Path) -> None:
    first = write_days("clean", {"a": frame(1)})
    index = home / "store/clean/index.jsonl"
    with index.open("ab") as file:
        file.write(b'0123456789abcdef {"b": {"path"')
    second = write_days("clean", {"c": frame(2)})
    assert find_days("clean", ["a", "b", "c"]) == first | second


WRITER = """
import sys, itertools
import pandas as pd
from tasks.store import frames
import pyarrow, numpy
print("ready", flush=True)
for n in itertools.count():
    keys = [f"{sys.argv[1]}-{n}-{i}" for i in range(20)]
    frames.write_days("clean", {k: pd.DataFrame({"key": [k] * 300, "n": range(300)}) for k in keys})
    print(n, flush=True)
    if n + 1 == int(sys.argv[2]):
        break
"""


def writer(name: str, rounds: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, name, str(rounds)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )


def written(name: str, rounds: int) -> list[str]:
    return [f"{name}-{n}-{i}" for n in range(rounds) for i in range(20)]


def test_killed_at_any_instant_the_store_is_whole(caplog: pytest.LogCaptureFixture) -> None:
    moments = random.Random(7)
    told: dict[str, int] = {}
    for victim in (f"victim{n}" for n in range(3)):
        running = [writer(f"{victim}.{part}", 0) for part in range(3)]
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        # On a busy machine nobody writes within the moments below: the last ones wait for a round.
        first = [process.stdout.readline() for process in running] if victim == "victim2" else []
        for process in running:
            time.sleep(moments.uniform(0.001, 0.08))
            process.send_signal(signal.SIGKILL)
        for part, process in enumerate(running):
            out, _ = process.communicate()
            assert process.returncode == -signal.SIGKILL
            told[f"{victim}.{part}"] = len([*first[part : part + 1], *out.split()])
        for name, rounds in told.items():
            keys = written(name, rounds)
            found = find_days("clean", keys)
            assert list(found) == keys, "what was said to be written is there"
            if keys:
                back = read_days([found[key] for key in keys])
                assert list(back["key"].unique()) == keys
                assert len(back) == 300 * len(keys)
    assert sum(told.values()) > 0
    assert not [r for r in caplog.records if "altered" in r.message]
    write_days("clean", {"after": frame(1)})
    assert list(find_days("clean", ["after"])) == ["after"]


def test_writers_at_the_same_time_lose_nothing() -> None:
    running = [writer(f"w{n}", 10) for n in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    for process in running:
        assert process.stdout is not None
        process.stdout.close()
    keys = [key for n in range(3) for key in written(f"w{n}", 10)]
    assert list(find_days("clean", keys)) == keys


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "report.json"
    files.write_json(path, {"größe": 1})
    assert files.read_json(path) == {"größe": 1}
    assert path.stat().st_mode & 0o777 == 0o600

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(files.StoreError, match=r"report\.json.*No space left.*Free some space"):
        files.write_json(path, {"größe": 2})
    assert files.read_json(path) == {"größe": 1}
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]


def test_a_full_disk_while_the_index_grows_leaves_the_index_whole(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = write_days("clean", {"a": frame(1)})
    index = (home / "store/clean/index.jsonl").read_bytes()
    block_of_b = write_days("spare", {"b": frame(2)})["b"]
    content = block(home, block_of_b).read_bytes()
    files.write_file(home / block_of_b.path.replace("spare", "store/clean"), content)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(files.StoreError, match=r"index\.jsonl cannot be written"):
            write_days("clean", {"b": frame(2)})
    assert (home / "store/clean/index.jsonl").read_bytes() == index
    assert find_days("clean", ["a", "b"]) == first
    assert not caplog.records


def test_a_limit_of_the_kernel_is_told_in_plain_words(home: Path) -> None:
    code = (
        "import resource, pandas as pd\n"
        "from tasks.store import files, frames\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "frame = pd.DataFrame({'n': range(9000)})\n"
        "try:\n"
        "    frames.write_days('clean', {'a': frame})\n"
        "except files.StoreError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True
    )
    assert "cannot be written" in done.stdout
    assert "Free some space" in done.stdout
    assert list((home / "store/clean").iterdir()) == []


def test_a_place_that_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(files.StoreError, match=r"file/report\.json cannot be written"):
        files.write_file(tmp_path / "file" / "report.json", b"")


def boosted() -> tuple[Any, np.ndarray]:
    x = np.arange(60.0).reshape(-1, 1)
    return HistGradientBoostingClassifier(max_iter=3).fit(x, x[:, 0] > 30), x


def test_a_model_comes_back() -> None:
    model, x = boosted()
    models.write_model("models", "k", model, TRUSTED_TYPES)
    assert models.has_model("models", "k")
    back = models.read_model("models", "k", TRUSTED_TYPES)
    assert np.array_equal(back.predict_proba(x), model.predict_proba(x))


def test_only_trusted_types_are_built() -> None:
    model, _ = boosted()
    models.write_model("models", "k", model, TRUSTED_TYPES)
    with pytest.raises(files.StoreError, match=r"not trusted.*TreePredictor"):
        models.read_model("models", "k", [])


@pytest.mark.parametrize("harm", ["cut", "missing", "no record", "torn record"])
def test_a_spoilt_model_is_a_miss(harm: str) -> None:
    models.write_model("models", "k", boosted()[0], TRUSTED_TYPES)
    path, _ = models.model_file("models", "k")
    record = path.with_name("k.json")
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif harm == "missing":
        path.unlink()
    elif harm == "no record":
        record.unlink()
    else:
        record.write_text("[")
    assert not models.has_model("models", "k")
    with pytest.raises(files.StoreError):
        models.read_model("models", "k", TRUSTED_TYPES)


def test_a_model_is_replaced_as_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = boosted()
    models.write_model("models", "k", model, TRUSTED_TYPES)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(models, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            models.write_model("models", "k", boosted()[0], TRUSTED_TYPES)
    back = models.read_model("models", "k", TRUSTED_TYPES)
    assert np.array_equal(back.predict(x), model.predict(x))


def test_clean_up_removes_the_oldest_and_keeps_what_is_needed(home: Path) -> None:
    refs = {}
    for age, key in enumerate(("champion", "old", "newer", "newest")):
        refs |= write_days("clean", {key: frame(50, age)})
        os.utime(block(home, refs[key]), (1_000_000 + age, 1_000_000 + age))
    size = sum(p.stat().st_size for p in (home / "store").glob("*/*.arrow"))
    assert cleanup.clean_up({}, size) == []
    gone = cleanup.clean_up({"clean": {"champion"}}, size // 2)
    assert gone == [block(home, refs["old"]), block(home, refs["newer"])]
    assert list(find_days("clean", list(refs))) == ["champion", "newest"]


def test_what_no_model_keeps_goes_after_two_weeks_however_small_the_store_is() -> None:
    refs = write_days("clean", {"needed": frame(1)}) | write_days("clean", {"left": frame(2)})
    fresh = write_days("clean", {"fresh": frame(3)})["fresh"]
    written = (files.root() / refs["left"].path).stat().st_mtime
    days = 86_400.0
    assert cleanup.clean_up({"clean": ["needed"]}, 10**9, now=written + 13 * days) == []
    os.utime(files.root() / fresh.path, (written + 2 * days,) * 2)
    gone = cleanup.clean_up({"clean": ["needed"]}, 10**9, now=written + 15 * days)
    assert gone == [files.root() / refs["left"].path]


def test_clean_up_keeps_the_models_needed() -> None:
    models.write_model("models", "champion", boosted()[0], TRUSTED_TYPES)
    models.write_model("models", "other", boosted()[0], TRUSTED_TYPES)
    cleanup.clean_up({"models": {"champion"}}, 0)
    assert models.has_model("models", "champion")
    assert not models.has_model("models", "other")


def test_a_model_that_a_night_will_look_for_does_not_grow_old() -> None:
    for key in ("coming", "past"):
        models.write_model("models", key, boosted()[0], TRUSTED_TYPES)
    written, days = models.model_file("models", "past")[0].stat().st_mtime, 86_400.0
    models.note_use("models", ["coming", "not there"], written + 10 * days)
    cleanup.clean_up({}, 10**9, now=written + 15 * days)
    assert models.has_model("models", "coming")
    assert not models.has_model("models", "past")


HOLDER = (
    "from tasks.store import locks\nwith locks.lock('night'):\n print('held', flush=True)\n input()"
)


def test_a_lock_is_freed_by_the_kernel() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    expected = rf"night is held by process {holder.pid} since \d{{4}}-"
    with pytest.raises(locks.LockedError, match=expected), locks.lock("night"):
        pass
    began = time.monotonic()
    with pytest.raises(locks.LockedError), locks.lock("night", wait=0.2, poll=0.05):
        pass
    assert time.monotonic() - began >= 0.2
    holder.kill()
    with locks.lock("night", wait=10):
        pass
    holder.communicate()


def test_a_lock_is_free_again_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), locks.lock("night"):
        _ = 1 / 0
    with locks.lock("night"), pytest.raises(locks.LockedError), locks.lock("night"):
        pass


def test_refs_are_plain_json() -> None:
    ref = write_days("clean", {"a": frame(1)})["a"]
    assert Ref(**json.loads(json.dumps(vars(ref)))) == ref


def test_what_another_model_needs_is_not_cleaned_up(home: Path) -> None:
    """Two models share one store: each keeps its own files, and those of the other."""
    for number, owner in enumerate(("first", "second", "nobody")):
        write_days("clean", {owner: frame(50, number)})
    cleanup.clean_up({"clean": ["first"]}, 10**9, "first")
    assert len(cleanup.clean_up({"clean": ["second"]}, 0, "second")) == 1
    assert list(find_days("clean", ["first", "second", "nobody"])) == ["first", "second"]
    long_ago = 2 * cleanup.FORGOTTEN.total_seconds()
    os.utime(home / "store" / "kept" / "first.json", (long_ago, long_ago))
    cleanup.clean_up({"clean": ["second"]}, 0, "second")
    assert list(find_days("clean", ["first", "second"])) == ["second"], "first has no nights now"


def test_split_days_that_nobody_reads_go_for_room_and_after_two_months(home: Path) -> None:
    now = 1_800_000_000.0
    ages = {"used-today": 0, "renamed": 10, "older": 20, "forgotten": 61}
    for name, age in ages.items():
        place = home / "data" / name
        place.mkdir(parents=True)
        (place / "day=2026-11-21.parquet").write_bytes(b"x" * 1000)
        os.utime(place, (now - age * 86_400,) * 2)

    def left() -> set[str]:
        return {place.name for place in (home / "data").iterdir()}

    assert [p.name for p in cleanup.remove_unused(10_000, now)] == ["forgotten"]
    cleanup.remove_unused(2_500, now)
    assert left() == {"used-today", "renamed"}
    cleanup.remove_unused(0, now)
    assert left() == {"used-today"}


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EACCES, "Make the folder writable, or set NIGHTLY_HOME"),
        (errno.EIO, r"Look at the disk \(dmesg\), or set NIGHTLY_HOME"),
        (errno.EROFS, "Mount its file system for writing"),
        (errno.EMFILE, "Let more files be open"),
        (errno.ENOTDIR, "Correct the path"),
        (errno.EINTR, "A signal came in between: change nothing"),
    ],
)
def test_what_to_do_about_a_file_that_cannot_be_written_fits_the_error(
    number: int, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fail)
    said = (
        rf"report\.json cannot be written: {os.strerror(number)}\. {advice}.*, then run the night"
    )
    with pytest.raises(files.DiskError, match=said):
        files.write_json(tmp_path / "report.json", {})


def test_a_fault_of_the_disk_is_told_from_one_of_a_file() -> None:
    def of(cause: BaseException) -> RuntimeError:
        error = RuntimeError("the download failed")
        error.__cause__ = cause
        return error

    full = files.disk_fault("It cannot be read", of(OSError(28, "No space left on device")))
    assert str(full) == "It cannot be read: No space left on device. Run the night again."
    said = "## path: [Errno 5] Input/output error: 'x'"
    assert "Input/output error" in str(files.disk_fault("It cannot be read", RuntimeError(said)))
    assert files.disk_fault("It cannot be read", "OSError: [Errno 28] No space") is not None
    assert files.disk_fault("It cannot be read", of(FileNotFoundError(2, "No such file"))) is None
    assert files.disk_fault("It cannot be read", "[Errno 13] Permission denied") is None
