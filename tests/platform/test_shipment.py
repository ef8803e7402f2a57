"""Files in Ray's object store, on a Ray of this machine's own; `test_cluster` has the other machines."""

import time

from platform import tune_run
from platform.acceptance import accept, facts
from platform.job import Job
from platform.ledger import Ledger
from platform.plan import cells
from platform.shipment import ship
from platform.spec_file import read
from tests.platform.test_sweep import lay_out, sweep


def test_a_worker_trains_on_images_that_were_sent_and_that_are_gone_here(tmp_path, monkeypatch):
    import ray

    from trials.trainable import probe

    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the worker unpacks
    study = read(lay_out(tmp_path / "here") / "spec.yaml")
    digest, ledger = study.trainer.digest(study.data), Ledger(tmp_path / "tiny")
    planned = cells(study, digest)
    known = facts(study, ledger, storage=ledger.folder, digests=(digest, digest))
    accept(study, ledger, known, planned, time.time())
    job = Job(study, planned, ledger, ledger.folder, lambda: 1)
    with tune_run.cluster(None):
        parcel = ship(job)
        assert len(parcel.files) == 6
        (tmp_path / "here").rename(tmp_path / "gone")
        tried = ray.remote(probe)
        assert ray.get(tried.remote(job.task(planned[0]), parcel))[0] == ""
        assert (
            f"does not see the driver's images: {tmp_path}/here/low" in ray.get(tried.remote(job.task(planned[0])))[0]
        )
    ledger.close()


def test_without_a_cluster_there_is_nobody_to_send_to(tmp_path):
    refused = sweep(lay_out(tmp_path), "--ship-data")
    assert refused.returncode == 1
    assert "--ship-data: expected with --address, the cluster to send files to" in refused.stdout
    assert not (tmp_path / "results").exists()
