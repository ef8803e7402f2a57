"""What is wrong with a study's images, files of weights and start of its search, looked at before anything is made."""

from __future__ import annotations

from pathlib import Path

from platform.errors import Problem, SpecError
from platform.search_space_checks import check_fit
from platform.spec import Study
from platform.spec_checks import Finder, check_files

__all__ = ["check_data", "check_start", "image_digests"]


def image_digests(study: Study, source: Path) -> tuple[str, str]:
    """Return the digests of the images of the study and of its confirmation, or say all that is wrong with them."""
    try:
        own = study.trainer.digest(study.data)
        confirms = study.spec.confirm is not None
        return own, study.trainer.digest(study.trainer.confirming(study.data)) if confirms else own
    except ValueError as error:
        check_data(study, source)
        raise SpecError(str(source), [Problem("data", str(error))]) from None


def check_start(study: Study, source: Path, results: Path) -> None:
    """Refuse studies that are named as a start for the search and that there are not."""
    named = study.spec.search.start if study.spec.search else []
    missing = [name for name in named if not (results / name / "ledger.db").is_file()]
    if missing:
        what = f"expected the name of a study in {results}, but there is no {', '.join(missing)}"
        raise SpecError(str(source), [Problem("search.start", what)])


def check_data(study: Study, source: Path) -> None:
    """Refuse images and files of weights that cannot be used, each problem in a sentence."""
    problems: list[Problem] = []
    found = Finder(study.lines, problems)
    check_files(study, found)
    if not problems:
        check_fit(study, found)
    if problems:
        raise SpecError(str(source), problems)
