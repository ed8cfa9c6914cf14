"""The options of each command line."""

from __future__ import annotations

import argparse
from datetime import date


def backtest_parser() -> argparse.ArgumentParser:
    """The options of ``flows/backtest.py``."""
    parser = argparse.ArgumentParser(
        prog="flows/backtest.py",
        description="Replay many past nights; the champion and the registry are not changed.",
        epilog="Exit code: 0 replayed, or not worse than the revision; 3 worse; 2 wrong call, or "
        "too little history; 1 failure.",
    )
    parser.add_argument("--model", default="groceries", metavar="NAME", help="as in retrain.py")
    parser.add_argument(
        "--against",
        metavar="REF",
        help="compare the model's file with that of this git revision, and print Markdown",
    )
    parser.add_argument("--nights", type=int, default=60, metavar="N", help="default: 60")
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="K",
        help="days of the source between two nights (default: 1)",
    )
    parser.add_argument(
        "--as-of", type=_date, metavar="YYYY-MM-DD", help="last day whose data may be used"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show the log")
    return parser


def rollback_parser() -> argparse.ArgumentParser:
    """The options of ``flows/rollback.py``."""
    parser = argparse.ArgumentParser(
        prog="flows/rollback.py",
        description="Make an earlier version the champion again, after checking that it loads and "
        "predicts.",
        epilog="Exit code: 0 rolled back, released or retired; 2 no suitable earlier version, or "
        "nothing is held or to retire; 1 failure.",
    )
    _add_registered(parser)
    parser.add_argument("--to", type=int, metavar="VERSION", help="default: the previous champion")
    parser.add_argument(
        "--why", default="no reason given", help="recorded on the version that is rolled back"
    )
    parser.add_argument(
        "--release",
        action="store_true",
        help="roll nothing back: allow nights to promote the held recipes again",
    )
    parser.add_argument(
        "--retire",
        action="store_true",
        help="go back to nothing: give up a champion that can no longer be asked; the next night "
        "starts anew",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show the log")
    return parser


def approve_parser() -> argparse.ArgumentParser:
    """The options of ``flows/approve.py``."""
    parser = argparse.ArgumentParser(
        prog="flows/approve.py",
        description="Promote the version that waits for a person, or refuse it.",
        epilog="Exit code: 0 approved or refused; 2 no version waits, or it was judged against "
        "another champion; 1 failure.",
    )
    _add_registered(parser)
    parser.add_argument("--by", required=True, metavar="NAME", help="who decides; recorded")
    parser.add_argument("--why", required=True, metavar="REASON", help="recorded as well")
    parser.add_argument(
        "--refuse",
        action="store_true",
        help="withdraw it; its recipe and code are held, as after a rollback",
    )
    parser.add_argument(
        "--version", type=int, metavar="VERSION", help="the one meant (default: the one that waits)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show the log")
    return parser


def predict_parser() -> argparse.ArgumentParser:
    """The options of ``flows/predict.py``."""
    return _night_parser(
        "flows/predict.py",
        "Publish the champion's predictions for the day after the as-of date.",
        "Exit code: 0 published or held; 3 refused; 2 wrong call or spec; 1 failure.",
    )


def monitor_parser() -> argparse.ArgumentParser:
    """The options of ``flows/monitor.py``."""
    return _night_parser(
        "flows/monitor.py",
        "Grade past predictions on labels that have arrived; revert a champion that does worse.",
        "Exit code: 0 graded, reverted, held or a backfill; 2 wrong call or spec; 1 failure.",
    )


def retrain_parser() -> argparse.ArgumentParser:
    """The options of ``flows/retrain.py``."""
    parser = _night_parser(
        "flows/retrain.py",
        "Retrain one model for one as-of date.",
        "Exit code: 0 promoted, kept, waiting, shadow, held or nothing to do; 3 rejected; 2 wrong "
        "call or spec; 1 failure.",
    )
    parser.add_argument(
        "--json", action="store_true", help="print report.json instead of the summary"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="show within seconds what a night would do; nothing is written",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="with --check: also write a page of what is in the raw and the clean rows",
    )
    parser.add_argument(
        "--partition",
        metavar="VALUE",
        help="of a fleet, with --check: look at this partition (default: all)",
    )
    parser.add_argument(
        "--look",
        action="store_true",
        help="only take up a night that was held, if its data are there now",
    )
    return parser


def _night_parser(prog: str, description: str, epilog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=description, epilog=epilog)
    parser.add_argument(
        "--model",
        default="groceries",
        metavar="NAME",
        help="a name under deployments/, a path/to/file.py, or package.module:NAME "
        "(default: groceries)",
    )
    parser.add_argument(
        "--as-of",
        type=_date,
        metavar="YYYY-MM-DD",
        help="last day whose data may be used (default: the newest complete day)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show the log")
    return parser


def _add_registered(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, metavar="NAME", help="name in the registry, or its model file"
    )
    parser.add_argument(
        "--partition",
        metavar="VALUE",
        help="of a fleet: the model of this partition (default: the common model)",
    )


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected a day such as 2026-11-21"
        ) from None
