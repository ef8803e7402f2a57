"""The files of a study in Ray's object store, from where the workers fetch them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from platform.design import configured
from platform.job import Job
from platform.spec import Study
from trials.shipping import Parcel, pack

__all__ = ["ship"]


def ship(job: Job) -> Parcel:
    """Put a study's images, those that confirm, and the weights that it names, into the object store.

    That is: the weights of its cells, and of the choices of its search.

    Ray has been started. It keeps what finds no room in memory on the driver's disk.

    Raises:
        ValueError: if a file cannot be read.
    """
    import ray

    trainer = job.study.trainer
    configs = [trainer.Config.model_validate(cell.settings) for cell in job.cells] + list(_searched(job.study))
    weights = [path for config in configs for path in trainer.weights(config) if path.is_file()]
    return pack([*trainer.files(trainer.confirming(job.study.data)), *weights], ray.put)


def _searched(study: Study) -> Iterator[Any]:
    """Yield the full model's settings with each choice of the search in turn."""
    for path, one in (study.spec.search.space if study.spec.search else {}).items():
        for value in one.choice or []:
            with suppress(ValidationError):  # it may fit other variants alone
                yield configured(study.trainer.Config, study.config, {path: value})
