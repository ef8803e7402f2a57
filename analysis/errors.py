"""What can go wrong when a study is read or judged."""

from __future__ import annotations

__all__ = ["ReportError", "StatisticsError", "StudyError"]


class ReportError(ValueError):
    """Root of the analysis' errors.

    ReportError
    |- StudyError        there is no such study, or its ledger cannot be read
    `- StatisticsError   the scores do not allow what was asked of them
    """


class StudyError(ReportError):
    """There is no such study, or its ledger cannot be read; the message says where it was looked for."""


class StatisticsError(ReportError):
    """The scores do not allow what was asked of them; the message says what is missing."""
