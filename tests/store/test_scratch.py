"""Temporary files of a killed run are removed by the next one, those of a running one never."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tasks.store import scratch
from tasks.store.files import StoreError, write_json


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def killed() -> None:
    """A process that dies with a temporary file in its own folder."""
    child = os.fork()
    if not child:
        with scratch.own_folder():
            Path(tempfile.mkdtemp(), "half").write_text("x")
            os._exit(9)
    os.waitpid(child, 0)


def test_all_temporary_files_of_a_run_go_with_it(place: Path) -> None:
    with scratch.own_folder():
        (own,) = place.iterdir()
        assert Path(tempfile.mkdtemp()).parent == own == Path(os.environ["TMPDIR"])
        with scratch.own_folder():
            assert [*place.iterdir()] == [own]
    assert [*place.iterdir()] == []
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(place)


def test_the_next_run_removes_what_a_killed_one_left(place: Path) -> None:
    killed()
    (place / f"{scratch.PREFIX}empty").mkdir()
    others = [place / "tmp-of-others", place / f"{scratch.PREFIX}without-lock" / "file"]
    others[0].mkdir()
    others[1].parent.mkdir()
    others[1].touch()
    with scratch.own_folder():
        scratch.remove_left(place, 0.0)  # as another run does, which finds this one's folder held
        assert all(other.exists() for other in others)
        left = {each.name for each in place.iterdir()} - {others[0].name, others[1].parent.name}
        assert len(left) == 1
        assert Path(tempfile.gettempdir()).name in left


def test_a_run_that_is_interrupted_removes_its_own(place: Path) -> None:
    scratch.remove_own()
    assert place.exists()
    with scratch.own_folder():
        tempfile.mkdtemp()
        scratch.remove_own()
        assert [*place.iterdir()] == []


def test_files_half_written_into_the_state_are_removed_after_an_hour(
    place: Path, home: Path
) -> None:
    write_json(home / "reports" / "toy" / "report.json", {})
    half = [home / "reports" / "toy" / ".abc.tmp", home / ".x.tmp", home / "artifacts" / ".y.tmp"]
    half[2].parent.mkdir()
    for file in half:
        file.touch()
    scratch.remove_left(place, half[0].stat().st_mtime + scratch.LEFT - 60)
    assert all(file.exists() for file in half)
    scratch.remove_left(place, half[0].stat().st_mtime + scratch.LEFT + 60)
    assert [file.exists() for file in half] == [False, False, True]
    assert (home / "reports" / "toy" / "report.json").exists()


def test_no_room_for_temporary_files_is_said_in_words(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device", str(place))

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    said = r"temporary cannot be written: No space left on device"
    with pytest.raises(StoreError, match=said), scratch.own_folder():
        pass
