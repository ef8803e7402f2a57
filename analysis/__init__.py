"""From a study's ledger to pandas, statistics, tables, figures and the report. Needs neither torch nor Ray.

    from analysis import compare, load_judged
    compare(load_judged("components"), metric="eval/psnr_db", higher_is_better=True, margin=0.5)

The names below are imported when they are first used, so that the ledger's schema can be had without pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.comparison import Contrast, compare, contrasts, judge
    from analysis.effects import attributions, factorial_effects
    from analysis.effects_shown import load_effects
    from analysis.errors import DesignError, ReportError, StatisticsError, StudyError
    from analysis.failures import outcomes, scored_as_input
    from analysis.frames import (
        load_curves,
        load_events,
        load_images,
        load_references,
        load_runs,
        load_trials,
        load_variants,
    )
    from analysis.mlflow_source import fetch_study
    from analysis.report import write_report
    from analysis.several import load_together
    from analysis.suggestions import load_suggestions
    from analysis.tables import load_judged

__all__ = [
    "Contrast",
    "DesignError",
    "ReportError",
    "StatisticsError",
    "StudyError",
    "attributions",
    "compare",
    "contrasts",
    "factorial_effects",
    "fetch_study",
    "judge",
    "load_curves",
    "load_effects",
    "load_events",
    "load_images",
    "load_judged",
    "load_references",
    "load_runs",
    "load_suggestions",
    "load_together",
    "load_trials",
    "load_variants",
    "outcomes",
    "scored_as_input",
    "write_report",
]

_HOMES = {
    "comparison": ("Contrast", "compare", "contrasts", "judge"),
    "effects": ("attributions", "factorial_effects"),
    "effects_shown": ("load_effects",),
    "errors": ("DesignError", "ReportError", "StatisticsError", "StudyError"),
    "failures": ("outcomes", "scored_as_input"),
    "frames": (
        "load_curves",
        "load_events",
        "load_images",
        "load_references",
        "load_runs",
        "load_trials",
        "load_variants",
    ),
    "mlflow_source": ("fetch_study",),
    "report": ("write_report",),
    "several": ("load_together",),
    "suggestions": ("load_suggestions",),
    "tables": ("load_judged",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"analysis.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
