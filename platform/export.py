"""Copies a study's searches into an Optuna storage: `python -m platform.export STUDY --optuna sqlite:///FILE`.

Then `optuna-dashboard sqlite:///FILE` shows them: one Optuna study for each variant. The same command again replaces
what it wrote; studies from elsewhere are never touched. The ledger is only read, at one moment, even while a driver
writes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from analysis.errors import ReportError
from analysis.ledger import open_ledger
from analysis.printable import clean
from platform.errors import SweepError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Export a study's searches; return 0, or 2 after a sentence about what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m platform.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", metavar="STUDY", help="a study's folder, or its name under results/")
    parser.add_argument(
        "--optuna",
        metavar="URL",
        required=True,
        help="the storage, made if it does not exist: sqlite:///FILE, sqlite:////ABSOLUTE/FILE, postgresql://...",
    )
    arguments = parser.parse_args(argv)
    error = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    try:
        with error.status("reading the ledger ..."):
            from platform.export_ledger import searches
            from platform.export_storage import replace, without_password
            from platform.export_trials import exported

            with open_ledger(arguments.study) as ledger:
                found = searches(ledger)
        with error.status(f"writing {sum(len(one.tried) for one in found.each)} trials ..."):
            studies = exported(found)
            replace(arguments.optuna, studies)
    except (ReportError, SweepError) as wrong:
        error.print(clean(str(wrong)))
        return 2
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for study in studies:
        console.print(clean(f"{study.name}: {len(study.trials)} trials"))
    console.print(f"to look at them: optuna-dashboard {without_password(arguments.optuna)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
