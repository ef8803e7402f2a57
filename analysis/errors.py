"""What can go wrong when a study is read or judged."""

from __future__ import annotations

__all__ = ["DesignError", "ReportError", "StatisticsError", "StudyError"]


class ReportError(ValueError):
    """Root of the analysis' errors.

    ReportError
    |- DesignError       no design of components does what was asked
    |- StudyError        there is no such study, or its ledger cannot be read
    `- StatisticsError   the scores do not allow what was asked of them
    """


class DesignError(ReportError):
    """No design of components does what was asked; the message says what was expected and what came."""


class StudyError(ReportError):
    """There is no such study, or its ledger cannot be read; the message says where it was looked for."""


class StatisticsError(ReportError):
    """The scores do not allow what was asked of them; the message says what is missing."""
