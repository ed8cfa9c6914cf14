"""Carry a version to another registry and state directory: ``python deployments/transfer.py``.

``--pack FILE`` writes the champion with its twin, checks, figures and report into one file;
``--unpack FILE`` checks it in a clean process of the other machine and registers it there. It then
waits for a person, as any version that a gate does not promote by itself: ``flows/approve.py``
makes it champion.
"""

from __future__ import annotations

from tasks.cli.environment import set_defaults

if __name__ == "__main__":
    set_defaults()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tasks.clean_process.package_check import check_again
from tasks.cli.exits import fail
from tasks.errors import NightlyError, RegistryError
from tasks.promotion.waiting import how_to_answer
from tasks.registry import bundles, versions, waiting
from tasks.registry.client import open_registry
from tasks.store.scratch import own_folder


def transfer_parser() -> argparse.ArgumentParser:
    """The options of ``deployments/transfer.py``."""
    parser = argparse.ArgumentParser(
        prog="deployments/transfer.py",
        description="Write a version into a file, or register the version of such a file here.",
        epilog="Exit code: 0 done; 2 wrong call or file; 1 failure. No champion changes.",
    )
    parser.add_argument("--model", metavar="NAME", help="with --pack: name in the registry")
    parser.add_argument("--version", metavar="N", help="with --pack (default: the champion)")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--pack", type=Path, metavar="FILE", help="write the version here")
    way.add_argument("--unpack", type=Path, metavar="FILE", help="register the version of a file")
    parser.add_argument(
        "--sha256", metavar="DIGEST", help="with --unpack: of a file packed with another key"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = transfer_parser()
    asked = parser.parse_args(arguments)
    if asked.pack and not asked.model:
        parser.error("--pack needs --model NAME")
    try:
        with own_folder():
            if asked.pack:
                print(pack(asked.model, asked.version, asked.pack))
            else:
                print(unpack(asked.unpack, asked.sha256))
    except NightlyError as error:
        return fail(str(error), error.exit_code)
    return 0


def pack(model: str, version: str | None, file: Path) -> str:
    """Write a version into a file; returns what to say.

    Raises:
        RegistryError: Where there is no champion or no such version, or it is not sealed.
    """
    client = open_registry()
    chosen = version or versions.read_alias(client, model, versions.CHAMPION)
    if chosen is None:
        raise RegistryError(f"{model} has no champion. Choose a version with --version N.")
    digest = bundles.pack_version(client, model, chosen, file)
    return (
        f"{file} holds version {chosen} of {model}. On the other machine:\n"
        f"python deployments/transfer.py --unpack {file.name} --sha256 {digest}"
    )


def unpack(file: Path, sha256: str | None) -> str:
    """Check the version of a file, register it and let it wait; returns what to say.

    Raises:
        BundleError: Where the file is wrong, or its version does not predict here as it did there.
        RegistryError: Where the registry refuses it.
    """
    client = open_registry()
    with bundles.opened_bundle(file, sha256) as bundle:
        for check in check_again(bundle.package, bundle.seal):
            if not check.passed:
                raise bundles.BundleError(
                    f"Version {bundle.version} of {bundle.model} is not registered, because a "
                    f"check failed: {check.name}. {check.detail}"
                )
        version = bundles.register_bundle(client, bundle)
        champion = versions.read_alias(client, bundle.model, versions.CHAMPION)
        if version == champion:
            return f"{bundle.model}: version {version} is the champion already."
        waiting.begin_waiting(
            client,
            bundle.model,
            version,
            against=champion,
            why=f"It was brought from another place, where it was version {bundle.version}.",
            named=bundle.model,
        )
    stays = f"version {champion} stays the champion" if champion else "there is no champion yet"
    return (
        f"{bundle.model}: version {version} is registered, made as of {bundle.tags['as_of']}. It "
        f"predicts as it did where it was packed, and waits: {stays}. "
        f"{how_to_answer(bundle.model)}"
    )


if __name__ == "__main__":
    sys.exit(main())
