"""``python -m tasks.cli.sweep``: end the runs that have no process on the server of this machine.

``deployments/serve.py`` calls it before its worker starts.
"""

from __future__ import annotations

from tasks.cli.environment import set_defaults

if __name__ == "__main__":
    set_defaults()
    from tasks.steps.sweep import end_dead_runs

    for line in end_dead_runs(alone=True):
        print(f"Swept: {line}.")
