"""What one machine writes another one has; what a stale one would write is refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tasks import settings
from tasks.reporting import archive
from tasks.settings import SettingsError
from tasks.store import changes, files, leases, mirror, records, state_database


@pytest.fixture
def machines(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setenv("NIGHTLY_STATE_URL", postgres)
    return {name: tmp_path / name for name in "ABC"}


@pytest.fixture
def on(machines: dict[str, Path], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Go to a machine: what follows is done there, with its copies up to date."""

    def go(name: str) -> Path:
        monkeypatch.setenv("NIGHTLY_HOME", str(machines[name]))
        mirror.pull()
        return settings.home()

    return go


def test_what_one_machine_writes_and_removes_the_other_has(on, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    home = on("A")
    night = {"as_of": "2026-02-01", "verdict": "KEPT"}
    files.write_json(archive.report_folder("toy", date(2026, 2, 1)) / "report.json", night)
    published = settings.predictions_folder() / "toy"
    files.write_file(published / "next" / "2026-02-01.parquet", b"rows")
    files.move(published / "next" / "2026-02-01.parquet", published / "2026-02-01.parquet")
    files.point_to(published / "current.parquet", "2026-02-01.parquet")
    files.write_file(home / "store" / "clean" / "block.arrow", b"not shared")
    assert archive.last_judged("toy") == date(2026, 2, 1)

    home = on("B")
    assert archive.last_judged("toy") == date(2026, 2, 1)
    current = home / "predictions" / "toy" / "current.parquet"
    assert current.is_symlink()
    assert current.read_bytes() == b"rows"
    assert not (home / "store").exists()
    assert not (current.parent / "next").exists()
    files.remove(archive.report_folder("toy", date(2026, 2, 1)) / "report.json")
    files.write_file(home / "live" / "toy" / "2026-02-01.json", b"{}")

    home = on("A")
    assert archive.last_judged("toy") is None
    assert (home / "live" / "toy" / "2026-02-01.json").read_bytes() == b"{}"
    newest = records.newer(0)
    assert mirror.differing(newest) == []
    files.write_file(home / "live" / "toy" / "2026-02-01.json", b"{}")
    assert records.newer(newest[-1].seq) == []  # what is the same is not written anew

    published = home.parent / "for-the-app"
    monkeypatch.setenv("NIGHTLY_PREDICTIONS_DIR", str(published))
    monkeypatch.setenv("NIGHTLY_PREDICTIONS_MODE", "644")
    on("C")
    assert (published / "toy" / "current.parquet").read_bytes() == b"rows"
    assert (published / "toy" / "2026-02-01.parquet").stat().st_mode & 0o777 == 0o644


def test_what_a_stale_holder_writes_is_refused_and_not_written(on, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(leases, "_renew", lambda *_: None)
    file = on("A") / "fleets" / "toy.json"
    files.write_file(file, b"before")
    run_out = "UPDATE nightly_leases SET expires = clock_timestamp()"
    with leases.lease("night-toy", "a"):
        state_database.run(lambda c: c.exec_driver_sql(run_out).rowcount)
        with pytest.raises(leases.LeaseLostError):
            files.write_file(file, b"late")
        with pytest.raises(leases.LeaseLostError):
            files.remove(file)
    assert file.read_bytes() == b"before"
    assert [record.path for record in records.newer(0)] == ["fleets/toy.json"]


@pytest.mark.long
def test_a_database_that_restarts_loses_nothing_of_a_night(  # type: ignore[no-untyped-def]
    on, postgres_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, outages, written = on("A"), list[str](), list[Path]()
    fault = state_database._fault
    monkeypatch.setattr(
        state_database, "_fault", lambda error, url: outages.append(url) or fault(error, url)
    )
    with leases.lease("night-toy", "a") as mine:
        restart = Thread(target=lambda: (postgres_server.stop(), postgres_server.start()))
        restart.start()
        while restart.is_alive() or not written:
            written.append(home / "live" / "toy" / f"{len(written)}.json")
            files.write_json(written[-1], len(written))
        changes.begin_change("toy", "{}")
        assert outages
        assert state_database.run(leases.check_leases) == mine.token
    on("B")
    kept = [files.read_json(settings.home() / file.relative_to(home)) for file in written]
    assert kept == list(range(1, len(written) + 1))
    assert changes.open_change("toy") == "{}"


def test_a_laptop_joins_with_all_it_has_and_leaves_with_all_there_is(  # type: ignore[no-untyped-def]
    on, machines: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        place = machines["A"] / "reports" / "toy" / f"2026-02-0{number}" / "report.json"
        files.write_here(place, b"laptop")
    files.write_here(machines["A"] / "predictions" / "toy" / "2026-02-01.parquet", b"rows")
    files.link_here(machines["A"] / "predictions" / "toy" / "current.parquet", "2026-02-01.parquet")
    with pytest.raises(SettingsError, match=r"parquet and 3 more .*share\.py --push"):
        on("A")
    assert records.newer(0) == []
    assert len(mirror.push(replace=False)) == 4
    on("A")
    home = on("B")
    assert (home / "predictions" / "toy" / "current.parquet").read_bytes() == b"rows"
    files.write_file(home / "reports" / "toy" / "2026-02-02" / "report.json", b"of B")

    files.write_here(machines["C"] / "reports" / "toy" / "2026-02-01" / "report.json", b"of C")
    with pytest.raises(SettingsError, match="are not in the database"):
        on("C")
    with pytest.raises(SettingsError, match=r"another reports/toy/2026-02-01/report\.json"):
        mirror.push(replace=False)
    assert mirror.push(replace=True) == ["reports/toy/2026-02-01/report.json"]

    on("A")
    mirror.leave()
    monkeypatch.delenv("NIGHTLY_STATE_URL")
    kept = [machines["A"] / "reports" / "toy" / f"2026-02-0{n}" / "report.json" for n in (1, 2)]
    assert [file.read_bytes() for file in kept] == [b"of C", b"of B"]
    assert not (machines["A"] / "shared.json").exists()


def test_a_record_leads_nowhere_else(on) -> None:  # type: ignore[no-untyped-def]
    home = on("A")
    for name in ("../x", "reports/../../x", "/etc/x", "seal.key", "store/models/x.json"):
        with pytest.raises(ValueError, match="outside of its folders"):
            records.place_of(name)
    records.keep("predictions/toy/current.parquet", b"../../seal.key", records.LINK)
    mirror.pull()
    assert (home / "predictions" / "toy" / "current.parquet").readlink() == Path("seal.key")
    state_database.run(lambda c: c.exec_driver_sql("UPDATE nightly_records SET body = 'x'"))
    with pytest.raises(ValueError, match="was altered"):
        records.read_body(records.newer(0)[0])
