"""Seals: ``python deployments/seal.py --model NAME`` says which versions may be loaded.

With ``--version N`` a person vouches for a version that this key has not sealed.
"""

from __future__ import annotations

from tasks.cli.environment import set_defaults

if __name__ == "__main__":
    set_defaults()

import argparse
import sys
from collections.abc import Sequence

from tasks.cli.exits import fail
from tasks.errors import NightlyError
from tasks.registry import seals, versions
from tasks.registry.client import open_registry


def seal_parser() -> argparse.ArgumentParser:
    """The options of ``deployments/seal.py``."""
    parser = argparse.ArgumentParser(
        prog="deployments/seal.py",
        description="Say which versions of a model are sealed, or seal one that you vouch for.",
        epilog="Exit code: 0 the champion is sealed; 1 it is not, or there is none.",
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="name in the registry")
    parser.add_argument(
        "--version", metavar="N", help="seal it as it is: its code runs from the next night on"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    asked = seal_parser().parse_args(arguments)
    try:
        client = open_registry()
        if asked.version:
            found = versions.find_by_number(client, asked.model, asked.version)
            if found is None or not seals.vouch_for(client, [found]):
                said = f"There is no version {asked.version} of {asked.model} that a night checked."
                return fail(said, 1)
        champion = versions.read_alias(client, asked.model, versions.CHAMPION)
        every = client.search_model_versions(f"name = '{asked.model}'")
    except NightlyError as error:
        return fail(str(error), error.exit_code)
    whole = False
    for version in sorted(every, key=lambda one: int(one.version)):
        fault, role = seals.seal_fault(version), ""
        if str(version.version) == champion:
            whole = seals.champion_fault(version) is None
            role = " champion" if whole or fault else " champion, but never promoted here"
        print(f"version {version.version}: {'not sealed' if fault else 'sealed'}{role}")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
