"""Ray Tune's scheduler: writes each report into the ledger and decides, from the ledger, whether the trial goes on.

Tune calls the scheduler before the searcher and the callbacks, so a report and the decision on it are written
before anybody else can look.
"""

from __future__ import annotations

import json
from typing import Any

from ray.tune.schedulers import FIFOScheduler

from analysis.schema import FAILED
from platform.memory_monitor import said_of_kill
from platform.searcher import PlanSearcher

__all__ = ["LedgerScheduler"]


class LedgerScheduler(FIFOScheduler):
    """Writes reports, and stops the trials of a search that its rule stops."""

    def __init__(self, searcher: PlanSearcher) -> None:
        super().__init__()
        self.searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Record a beginning or a report; keep a bad outcome until Tune says that the trial has ended."""
        identity, message = self.searcher.trials[trial.trial_id], json.loads(result["message"])
        if "began" in message:
            self.searcher.job.begin(identity, message["began"])
        elif "outcome" in message:
            self.searcher.outcomes[identity] = message["outcome"]
        elif self.searcher.job.report(identity, message):
            self.searcher.stopped.add(identity)
            return str(self.STOP)
        return str(self.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Keep as an outcome that a worker was killed for want of memory; any other was lost, as the searcher sees."""
        message = said_of_kill(trial.error_file)
        if message is not None:
            outcome = {"state": FAILED, "kind": "memory", "message": message}
            self.searcher.outcomes.setdefault(self.searcher.trials[trial.trial_id], outcome)

    def __getstate__(self) -> dict[str, Any]:
        """Keep Tune from pickling the ledger into its snapshots."""
        return {}
