"""Every request to MLflow fails once in a night: how many there are, and what was lost.

    PYTHONPATH=. python tests/benchmarks/http_faults.py --every 1

Nights follow one another on a real MLflow server behind a proxy. In each the n-th request is
answered with 500, or done and answered with 500, or done and its connection cut in the middle of
the answer, and MLflow's client does not try again by itself; with ``--for-ever`` every later
request too. Then the night is run again undisturbed and its state looked at. Exit code 1 where
anything was lost. See ``tests/operations.py``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.operations import warm_processes
from tests.faults.proxy import Fault, Proxy, What, served_registry
from tests.nights import write_more
from tests.operations import FIRST, TRACE, Place, forked, new_registry, place_of_runs, run_night

UNSEEN = -1
"""No operation fails, and what is left is not looked at: that sends requests too."""
KINDS: tuple[What, ...] = ("fail", "lose", "cut")


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
    parser.add_argument("--every", type=int, default=1, help="only each so-manieth request")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--for-ever", action="store_true", help="every later request fails too")
    asked = parser.parse_args()
    done, lost, kinds = Counter[str](), 0, itertools.cycle(KINDS)
    with (
        warm_processes(),
        tempfile.TemporaryDirectory(prefix="nightly-requests-") as folder,
        place_of_runs({"no night"}, None) as place,
    ):
        empty = new_registry(place)
        with served_registry(Path(folder), empty) as proxy:
            write_more(place.root / "days", FIRST + 6, FIRST + 8)
            place.begin_with("no night")
            assert forked(place, night(proxy, FIRST)).state == "PROMOTED"
            counting = Fault(".", "fail", times=0)
            with proxy.spoiled(counting):
                calm = forked(place, night(proxy, FIRST + 1), UNSEEN)
            assert calm.state == "PROMOTED", calm
            print(f"a night: {counting.met} requests", flush=True)
            day = FIRST + 1
            for number in range(asked.first, counting.met + 1, asked.every):
                day, what = day + 1, next(kinds)
                write_more(place.root / "days", day, day)
                times = float("inf") if asked.for_ever else 1
                fault = Fault(".", what, times, after=number - 1)
                found = point(place, proxy, day, fault)
                done[what] += fault.met >= number
                lost += len(found)
                print(f"{number} {what}: {'; '.join(found) or 'nothing lost'}", flush=True)
    said = ", ".join(f"{kind} {count}" for kind, count in sorted(done.items()))
    print(f"{done.total()} points ({said}); lost: {lost}")
    return 1 if lost else 0


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


if __name__ == "__main__":
    sys.exit(main())
