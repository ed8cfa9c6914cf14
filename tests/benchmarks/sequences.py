"""Random sequences of nights, edits, backfills, kills and rollbacks, against what must always hold.

    python tests/benchmarks/sequences.py --sequences 500
    python tests/benchmarks/sequences.py --sequences 50 --workers 2
    python tests/benchmarks/sequences.py --sequences 50 --machines 2
    python tests/benchmarks/sequences.py --sequences 50 --timed
    python tests/benchmarks/sequences.py --sequences 50 --fleet
    python tests/benchmarks/sequences.py --sequences 50 --columns

With several machines each step happens on one of them, drawn at random: they share a PostgreSQL
made for this, and a folder.

Where values have moments (``--timed``) each night's examples, published inputs, labels and figures
are held against what a plain computation says was known at its hour.

With ``--fleet`` it all happens to a small fleet and its partitions.

With ``--columns`` columns come, go and change their type, and files are written anew with the same
rows, also in another layout: each night's counts, examples and predictions are held against what
plain pandas makes of the files, and against a first night on them.

A sequence that breaks what must hold is printed step by step.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main() -> None:
    """Run the sequences and say how many there were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=100, help="how many")
    parser.add_argument("--steps", type=int, default=16, help="steps after the first two nights")
    parser.add_argument("--seed", type=int, default=1, help="of the random choices")
    parser.add_argument("--workers", type=int, help="NIGHTLY_WORKERS")
    parser.add_argument("--machines", type=int, default=1, help="that share their state")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--timed", action="store_true", help="values have moments")
    kind.add_argument("--fleet", action="store_true", help="the model is a fleet")
    kind.add_argument("--columns", action="store_true", help="files and their columns change")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nightly-sequences-") as folder:
        place = Path(folder)
        os.environ |= {
            "PREFECT_HOME": str(place / "prefect"),
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "OMP_NUM_THREADS": "1",
            "NIGHTLY_HOME": str(place / "template"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'template' / 'mlflow.db'}",
        }
        warnings.simplefilter("ignore")
        from prefect.testing.utilities import prefect_test_harness

        from tasks.registry import client
        from tasks.reporting import plots, problem_plots
        from tests import servers, warm
        from tests.column_sequences import ColumnNights
        from tests.fleet_sequences import FleetNights
        from tests.sequences import Nights, Reached, run_sequences
        from tests.timed_sequences import TimedNights

        (place / "template").mkdir()
        client.open_registry()
        shutil.copyfile(place / "template" / "mlflow.db", place / "empty.db")
        started = time.perf_counter()
        for drawing in (plots, problem_plots):
            drawing.to_png = lambda _: b"not drawn"
        with ExitStack() as stack:
            if asked.workers:
                stack.enter_context(prefect_test_harness(server_startup_timeout=600))
            else:
                warmed = warm.started(os.environ, place / "warm.log")
                os.environ[warm.ADDRESS] = stack.enter_context(warmed)
                stack.enter_context(warm.clean_processes())
            server = stack.enter_context(servers.postgres()) if asked.machines > 1 else None

            def settings_of(folder: Path) -> dict[str, str]:
                found = {"NIGHTLY_WORKERS": str(asked.workers)} if asked.workers else {}
                if server:
                    name = f"sequence_{uuid4().hex}"
                    server.psql(f"CREATE DATABASE {name};")
                    found["NIGHTLY_STATE_URL"] = server.get_uri(database=name)
                    found["NIGHTLY_STORE_URL"] = (folder / "shared").as_uri()
                return found

            machines = ["home", *(f"home-{n}" for n in range(2, asked.machines + 1))]
            done = itertools.count(1)

            def tell(found: Reached) -> None:
                spent = time.process_time()
                each = ", ".join(f"{name} {times}/{of}" for name, (times, of) in found.items())
                print(
                    f"{next(done)} sequences, {spent:,.0f} CPU s; times/sequences: {each}",
                    flush=True,
                )

            sequences, steps, seed = asked.sequences, asked.steps, asked.seed
            kinds = {"timed": TimedNights, "fleet": FleetNights, "columns": ColumnNights}
            nights = next((kinds[name] for name in kinds if getattr(asked, name)), Nights)
            empty = place / "empty.db"
            run_sequences(empty, sequences, steps, seed, tell, settings_of, machines, nights)
        print(
            f"{asked.sequences} sequences of up to {asked.steps} steps after the first two nights: "
            f"all of it held, {time.perf_counter() - started:,.0f} s"
        )


if __name__ == "__main__":
    main()
