"""``python -m tasks.cli.set_up POOL``: make the server ready for a worker of this machine.

The work pool and every deployment are put in place, and runs that have no process are ended, unless
``--joined`` says that other machines use the server too. ``deployments/serve.py`` calls it: one
process for all, since each takes seconds to import Prefect. On Linux the worker starts a run by a
fork of the process that ``tasks/cli/warm_process.py`` is.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import redirect_stdout

from tasks.cli import start_run
from tasks.cli.environment import set_defaults


def main() -> None:
    """Print a line for each run that was ended; what Prefect says goes to standard error."""
    parser = argparse.ArgumentParser(prog="tasks.cli.set_up")
    parser.add_argument("pool", help="name of the work pool")
    parser.add_argument("--joined", action="store_true", help="other machines use the server too")
    asked = parser.parse_args()
    set_defaults()
    with redirect_stdout(sys.stderr):
        _prefect("work-pool", "create", asked.pool, "--type", "process", "--overwrite")
        _prefect("--no-prompt", "deploy", "--all")
    if not asked.joined:
        if sys.platform == "linux":
            _start_runs_by_forks(asked.pool)
        from tasks.steps.sweep import end_dead_runs

        for line in end_dead_runs(alone=True):
            print(f"Swept: {line}.")


def _start_runs_by_forks(pool: str) -> None:
    """Set the command by which a worker of the pool starts a run; it needs no fork to work."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolUpdate

    command = shlex.join([sys.executable, "-I", "-S", start_run.__file__])
    with get_client(sync_client=True) as client:
        template = client.read_work_pool(pool).base_job_template
        template["variables"]["properties"]["command"]["default"] = command
        client.update_work_pool(pool, WorkPoolUpdate(base_job_template=template))


def _prefect(*arguments: str) -> None:
    """Run a command of Prefect in this process; end it where that fails."""
    from prefect.cli import app

    sys.argv[1:] = arguments  # it reads them there
    try:
        app()
    except SystemExit as ended:
        if ended.code:
            raise


if __name__ == "__main__":
    main()
