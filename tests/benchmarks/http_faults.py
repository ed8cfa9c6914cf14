"""Every request to a server fails once in a night: how many there are, and what was lost.

    PYTHONPATH=. python tests/benchmarks/http_faults.py --every 1
    PYTHONPATH=. python tests/benchmarks/http_faults.py --to prefect --every 1
    PYTHONPATH=. python tests/benchmarks/http_faults.py --to prefect --worker --every 1
    PYTHONPATH=. python tests/benchmarks/http_faults.py --to store --every 1
    PYTHONPATH=. python tests/benchmarks/http_faults.py --to alarms --every 1

To MLflow: nights follow one another on a real MLflow server behind a proxy. In each the n-th
request is answered with 500, or done and answered with 500, or done and its connection cut in the
middle of the answer, and MLflow's client does not try again by itself; with ``--for-ever`` every
later request too. Then the night is run again undisturbed and its state looked at.

To Prefect: nights follow one another as commands, or as a worker starts them, on a real Prefect
server behind a proxy. The n-th request is spoiled in one of the ways of ``tests/faults/proxy.py``;
Prefect's client tries again as it does by itself. A night that is not promoted must say why in one
line, and nothing of it may run on. Then the night is run again undisturbed, and its state and the
server's looked at.

To the store: nights follow one another on two machines that share a PostgreSQL and moto's emulator
of S3 behind a proxy (``tests/benchmarks/machines.py``). The n-th request is spoiled, and its client
does not try again by itself; only what asks for an object can be told that there is none. A night
that is not promoted must say why in one line. Then it is run again on the other machine, and both
are looked at. At the end all nights are run once more on one machine without any of this: figures
and digests must be equal.

By the alarms' set-up: the n-th request to Prefect's server is spoiled in each of the ways while
half of the automations are missing, the others old and one too many. It must end with one line, and
the next set-up must leave each automation once, as it is in the file.

Exit code 1 where anything was lost. See ``tests/operations.py``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psutil
import pytest

from tasks.settings import PROJECT
from tasks.steps.sweep import _begun
from tests import warm
from tests.benchmarks.machines import two_machines
from tests.benchmarks.operations import warm_processes
from tests.faults.proxy import Fault, Proxy, What, passed_on, served_registry, served_store
from tests.nights import COMMAND, nth_day, write_more
from tests.operations import (
    FIRST,
    TRACE,
    Place,
    forked,
    model_file,
    new_registry,
    place_of_runs,
    run_night,
)
from tests.servers import served_prefect

UNSEEN = -1
"""No operation fails, and what is left is not looked at: that sends requests too."""
KINDS: tuple[What, ...] = ("fail", "lose", "cut")
PREFECT_KINDS: tuple[What, ...] = (*KINDS, "deny", "babble", "busy", "gone")
STORE_KINDS: tuple[What, ...] = ("fail", "lose", "cut", "reset", "busy", "miss", "slow")
OBJECT = r"^(GET|HEAD) /nights/[^?]"
ID = "[0-9a-f-]{36}"


def night(proxy: Proxy, number: int) -> Callable[[Path], str]:
    """The night of a day, with its registry on the server."""

    def run(live: Path) -> str:
        os.environ["MLFLOW_TRACKING_URI"] = proxy.address
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "60"
        return run_night(live, number)

    return run


def main() -> int:
    """Walk, and print a line for each point and a last one for all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", choices=("mlflow", "prefect", "store", "alarms"), default="mlflow")
    parser.add_argument("--worker", action="store_true", help="as a worker starts a night")
    parser.add_argument("--every", type=int, default=1, help="only each so-manieth request")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--kinds", nargs="*", help="of faults; all by turns where none is named")
    parser.add_argument("--for-ever", action="store_true", help="every later request fails too")
    asked = parser.parse_args()
    walks = {"mlflow": walk_mlflow, "prefect": walk_prefect, "store": walk_store}
    walk = (walks | {"alarms": walk_alarms})[asked.to]
    done, lost = Counter[str](), 0
    for what, found in walk(asked):
        done[what] += 1
        lost += len(found)
    said = ", ".join(f"{kind} {count}" for kind, count in sorted(done.items()))
    print(f"{done.total()} points ({said}); lost: {lost}")
    return 1 if lost else 0


def requests_to_spoil(
    asked: argparse.Namespace, count: int, kinds: tuple[What, ...]
) -> Iterator[tuple[int, What, float]]:
    """Number and kind of each request to spoil, of so many, and how often it fails."""
    numbers = range(asked.first, count + 1, asked.every)
    times = float("inf") if asked.for_ever else 1
    for number, what in zip(numbers, itertools.cycle(asked.kinds or kinds), strict=False):
        yield number, what, times


def walk_mlflow(asked: argparse.Namespace) -> Iterator[tuple[What, list[str]]]:
    """Spoil a request to MLflow after another; what was done, and what was lost."""
    with (
        warm_processes(),
        place_of_runs({"no night"}, None) as place,
        tempfile.TemporaryDirectory(prefix="nightly-requests-") as folder,
        served_registry(Path(folder), new_registry(place)) as proxy,
    ):
        write_more(place.root / "days", FIRST + 6, FIRST + 8)
        place.begin_with("no night")
        assert forked(place, night(proxy, FIRST)).state == "PROMOTED"
        counting = Fault(".", "fail", times=0)
        with proxy.spoiled(counting):
            calm = forked(place, night(proxy, FIRST + 1), UNSEEN)
        assert calm.state == "PROMOTED", calm
        print(f"a night: {counting.met} requests", flush=True)
        day = FIRST + 1
        for number, what, times in requests_to_spoil(asked, counting.met, KINDS):
            day += 1
            write_more(place.root / "days", day, day)
            fault = Fault(".", what, times, after=number - 1)
            found = point(place, proxy, day, fault)
            print(f"{number} {what}: {'; '.join(found) or 'nothing lost'}", flush=True)
            if fault.met >= number:
                yield what, found


def point(place: Place, proxy: Proxy, day: int, fault: Fault) -> list[str]:
    """What was lost where this fault met the night of a day."""
    lost = []
    for left in (place.live / "tmp").iterdir():  # what the look before has downloaded
        shutil.rmtree(left)
    with proxy.spoiled(fault):
        failed = forked(place, night(proxy, day), UNSEEN)
    if failed.code:
        lost.append(f"the run ended with {failed.code}")
    if failed.state == "raised" and TRACE.search(failed.said):
        lost.append(f"no reason in words: {failed.said}")
    again = forked(place, night(proxy, day))
    if again.state != "PROMOTED":
        lost.append(f"the next run ended {again.state}: {again.said}")
    print(f"  {failed.state}: {failed.said.splitlines()[:1]}", flush=True)
    return [*lost, *again.broken]


def walk_prefect(asked: argparse.Namespace) -> Iterator[tuple[What, list[str]]]:
    """Spoil a request to Prefect after another; what was done, and what was lost."""
    kinds = itertools.cycle(asked.kinds or PREFECT_KINDS)
    with ExitStack() as stack:
        api = stack.enter_context(served_prefect())
        proxy = stack.enter_context(passed_on(urlsplit(api).port or 0))
        os.environ["PREFECT_API_URL"] = f"{proxy.address}/api"  # Prefect reads it as it is imported
        stack.enter_context(warm_processes())
        place = stack.enter_context(place_of_runs({"no night"}, None))
        nights = Nights(place, proxy, api, worker=asked.worker)
        points = [(what, one) for one in nights.requests() for what in [next(kinds)]]
        for number, (what, request) in enumerate(points[asked.first - 1 :: asked.every]):
            found = nights.lost_at(request, what, FIRST + 2 + number)
            if found is not None:
                yield what, found


def walk_alarms(asked: argparse.Namespace) -> Iterator[tuple[What, list[str]]]:
    """Spoil a request of the alarms' set-up after another; what was done, and what was lost."""
    from tests.faults import set_up_of_alarms

    os.environ["NIGHTLY_WEBHOOK_URL"] = "http://127.0.0.1:9/"  # nothing is sent
    with served_prefect() as api, passed_on(urlsplit(api).port or 0) as proxy:
        for what in asked.kinds or PREFECT_KINDS:
            for number in itertools.count(asked.first, asked.every):
                fault = Fault(".", what, 1, after=number - 1)
                found = [*set_up_of_alarms.lost_at(proxy, fault)]
                if fault.met < number:
                    break
                print(f"{number} {what}: {'; '.join(found) or 'nothing lost'}", flush=True)
                yield what, found
            print(f"a set-up: {number - 1} requests", flush=True)


@contextmanager
def use_s3(address: str) -> Iterator[None]:
    """Meanwhile S3 is what answers under this address, and no client tries again by itself."""
    from s3fs import S3FileSystem

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3FileSystem, "retries", 1)
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secretword")
        yield


def walk_store(asked: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """Spoil a request to the store after another; what was done, and what was lost."""
    with (
        warm_processes(),
        place_of_runs({"no night"}, None) as place,
        tempfile.TemporaryDirectory(prefix="nightly-s3-") as folder,
        served_store(Path(folder)) as proxy,
        use_s3(proxy.address),
        two_machines(place, "s3://nights/shared") as both,
    ):
        day = FIRST + 1
        proxy.seen.clear()
        calm = both.night(0, day)
        assert calm.state == "PROMOTED", calm
        seen = list(proxy.seen)
        assert not (found := list(both.goes_on(1, day))), found
        print(f"a night: {len(seen)} requests: {Counter(one.split()[0] for one in seen)}")
        for number, what, times in requests_to_spoil(asked, len(seen), STORE_KINDS):
            day += 1
            where, before = ".", number - 1
            if what == "miss":
                where, before = OBJECT, sum(bool(re.search(OBJECT, s)) for s in seen[:before])
            fault = Fault(where, what, times, after=before)
            proxy.seen.clear()
            with proxy.spoiled(fault):
                failed = both.night(day, day)
            met = fault.met > before
            spoiled = proxy.seen[number - 1] if what != "miss" and met else f"{before}"
            while time.monotonic() < proxy.busy_until:
                time.sleep(0.2)
            found = [f"the run ended with {failed.code}"] if failed.code else []
            if failed.state == "raised" and (
                TRACE.search(failed.said) or failed.said.strip().count("\n") > 1
            ):
                found.append(f"no reason in words: {failed.said}")
            found += both.goes_on(day + 1, day)
            print(f"{number} {what} {spoiled[:90]}: {failed.state} {failed.said.splitlines()[:1]}")
            print(f"  {'; '.join(found) or 'nothing lost'}", flush=True)
            if met:
                yield what, found
        other = list(both.alone(range(FIRST, day + 1)))
        print(f"{day - FIRST + 1} nights on one machine: {'; '.join(other) or 'equal'}", flush=True)
        yield "alone", other


@dataclass(frozen=True)
class Told:
    """How a night ended."""

    code: int
    said: str
    promoted: bool
    left: tuple[str, ...]


class Nights:
    """Nights on a Prefect server behind a proxy.

    Args:
        place: Where they happen.
        proxy: What they ask.
        api: Address of the server's API.
        worker: Whether they run as a worker starts them, not as the command.
    """

    def __init__(self, place: Place, proxy: Proxy, api: str, *, worker: bool) -> None:
        self.place, self.proxy, self.api, self.worker = place, proxy, api, worker
        self.deployment: UUID | None = None
        self.running: set[str] = set()

    def requests(self) -> list[tuple[str, int]]:
        """Requests of a calm second night, and how many equal ones were before each."""
        self.place.begin_with("no night")
        assert self.run(FIRST).promoted
        self.proxy.seen.clear()
        calm = self.run(FIRST + 1)
        assert calm.promoted, calm
        found, before = [], Counter[str]()
        for one in map(without_ids, self.proxy.seen):
            found.append((one, before[one]))
            before[one] += 1
        print(f"a night: {len(found)} requests: {found}", flush=True)
        return found

    def lost_at(self, request: tuple[str, int], what: What, number: int) -> list[str] | None:
        """What was lost where a request of the night of a day was spoiled; None: there was none."""
        write_more(self.place.root / "days", number, number)
        named = re.escape(request[0]).replace(r"\*", ID)
        fault = Fault(f"^{named}$", what, 1, after=request[1])
        began = time.monotonic()
        with self.proxy.spoiled(fault):
            told = self.run(number)
        took = time.monotonic() - began
        found = [*self.lost(told), *self.lost_next(number)]
        print(f"{what} {request}: {took:.0f} s, exit {told.code}, {told.said[:400]!r}")
        print(f"  {'; '.join(found) or 'nothing lost'}", flush=True)
        return found if fault.met > request[1] else None

    def run(self, number: int) -> Told:
        """The night of a day."""
        environment = os.environ | {
            "NIGHTLY_HOME": str(self.place.home),
            "NIGHTLY_PREDICTIONS_URL": f"sqlite:///{self.place.live / 'app.db'}",
            "TMPDIR": str(self.place.live / "tmp"),
            "PREFECT_HOME": str(self.place.root / "prefect"),
        }
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            environment.pop(name, None)
        command = [*COMMAND, "--model", model_file(self.place.live)]
        command += ["--as-of", str(nth_day(number))]
        run = None
        if self.worker:
            run = self.asked_for(number)
            command = [sys.executable, "-m", "prefect.engine"]
            environment["PREFECT__FLOW_RUN_ID"] = str(run)
        process = warm.Process(command, env=environment, start_new_session=True)
        out, err = process.communicate(timeout=600)
        left = tuple(left_of(process.pid))
        if run:
            with self.client() as client:
                state = client.read_flow_run(run).state
            said = state.message or "" if state else ""
            return Told(process.wait(), said, said.startswith("PROMOTED. "), left)
        return Told(process.wait(), out + err, "PROMOTED" in out, left)

    def lost(self, told: Told) -> Iterator[str]:
        """What must hold after a night of which a request was spoiled."""
        if told.code not in (0, 1):
            yield f"it ended with {told.code}"
        if not told.promoted and TRACE.search(told.said):
            yield f"no reason in words: {told.said}"
        if told.left:
            yield f"still running: {told.left}"

    def lost_next(self, number: int) -> Iterator[str]:
        """What must hold when the night of a day has run again undisturbed."""
        while self.proxy.away:
            time.sleep(0.2)
        again = self.run(number)
        if not again.promoted:
            yield f"the next run ended {again.code}: {again.said}"
        yield from forked(self.place, lambda _: "").broken
        with self.client() as client:
            running = {run.name for run in _begun(client) if run.state_name == "Running"}
        for name in running - self.running:
            yield f"the server counts as running: {name}"
        self.running |= running

    def asked_for(self, number: int) -> UUID:
        """A run that a worker would start."""
        from flows.retrain import retrain

        config = {"model": model_file(self.place.live), "as_of": str(nth_day(number))}
        with self.client() as client:
            if self.deployment is None:
                self.deployment = client.create_deployment(
                    client.create_flow(retrain),
                    "walked",
                    path=str(PROJECT),
                    entrypoint="flows/retrain.py:retrain",
                )
            made = client.create_flow_run_from_deployment(
                self.deployment, parameters={"config": config}
            )
        return made.id

    @contextmanager
    def client(self) -> Iterator[Any]:
        """A client of the server itself."""
        from prefect.client.orchestration import SyncPrefectClient

        with SyncPrefectClient(self.api) as client:
            yield client


def without_ids(request: str) -> str:
    """A request without what differs between two runs."""
    return re.sub(ID, "*", request)


def left_of(session: int) -> Iterator[str]:
    """Commands of processes of a session that still run after a moment."""
    time.sleep(0.2)
    for process in psutil.process_iter(["cmdline"]):
        with suppress(OSError):
            if os.getsid(process.pid) == session:
                yield " ".join(process.info["cmdline"] or [])


if __name__ == "__main__":
    sys.exit(main())
