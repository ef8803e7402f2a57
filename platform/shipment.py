"""The files of a study in Ray's object store, from where the workers fetch them."""

from __future__ import annotations

from platform.job import Job
from trials.shipping import Parcel, pack

__all__ = ["ship"]


def ship(job: Job) -> Parcel:
    """Put the images of a study and of its confirmation, and the weights that its cells name, into the object store.

    Ray has been started. It keeps what finds no room in memory on the driver's disk.

    Raises:
        ValueError: if a file cannot be read.
    """
    import ray

    trainer = job.study.trainer
    configs = [trainer.Config.model_validate(cell.settings) for cell in job.cells]
    weights = [path for config in configs for path in trainer.weights(config) if path.is_file()]
    return pack([*trainer.files(trainer.confirming(job.study.data)), *weights], ray.put)
