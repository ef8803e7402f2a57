"""docker-compose.yml and docs/cluster.md, run without Docker and SLURM: a cluster, and a study on it.

The commands, environments and health checks are the file's and the page's own, with other hosts, ports and paths.
"""

import contextlib
import importlib.util
import random
import re
import secrets
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

import analysis
from tests.platform import postgres
from tests.platform.compose_file import PAGE, ROOT, Native, free_port
from tests.platform.test_sweep import lay_out


@pytest.fixture(scope="module")
def cluster():
    """PostgreSQL, the MLflow server, a Ray head and a worker, by the file's commands, each at an address of its own."""
    folder = postgres.laid_out("c")
    (folder / "token").write_text(secrets.token_hex(32))
    for name in ("home", "results", "storage"):
        (folder / name).mkdir()
    head, worker, driver = "127.0.1.4", "127.0.1.5", "127.0.1.6"
    port = str(free_port(head))
    native = postgres.services(
        folder,
        "127.0.1.2",
        "127.0.1.3",
        NATIVE_RAY_TOKEN=f"{folder}/token",
        NATIVE_RAY_HEAD=f"{head}:{port}",
        NATIVE_RAY_PORT=port,
        NATIVE_DASHBOARD_HOST=head,
        NATIVE_DASHBOARD_PORT=str(free_port(head)),
        NATIVE_HEAD_OPTIONS=f"--node-ip-address={head} --temp-dir={folder}/head",
        NATIVE_WORKER_OPTIONS=f"--node-ip-address={worker} --temp-dir={folder}/worker",
        NATIVE_SWEEP_OPTIONS=f"--node-ip-address={driver} --temp-dir={folder}/sweep",
        NATIVE_STORAGE=f"{folder}/storage",
        NATIVE_RESULTS=f"{folder}/results",
        NATIVE_CODE=str(ROOT),
        OBJECT_STORE_BYTES="100000000",
        WORKER_CPUS="2",
        SPEC=f"{lay_out(folder) / 'spec.yaml'}",
        SWEEP_OPTIONS="--set seeds=2",
    )
    try:
        postgres.begin(native)
        native.start("ray-head")
        native.await_health("postgres")
        native.start("mlflow")
        native.await_health("ray-head")
        native.start("worker-cpu")
        native.await_health("worker-cpu")
        native.await_health("mlflow")
        yield native
    finally:
        native.stop()
        shutil.rmtree(folder, ignore_errors=True)


def sweep(native):
    """Run the sweep's command to its end, as the container does; return what it said."""
    before = len(native.said("sweep")) if (native.folder / "sweep.log").exists() else 0
    process = native.start("sweep")
    try:
        status = process.wait(timeout=240)
    finally:
        native.stop("sweep")  # with its node, which would end with the container
    said = native.said("sweep")[before:]
    assert status == 0, said
    return said


def runs(native, study):
    client = MlflowClient(f"http://{native.variables['NATIVE_MLFLOW']}")
    experiment = client.get_experiment_by_name(study)
    return experiment, client.search_runs([experiment.experiment_id])


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_study_runs_on_the_cluster_and_its_runs_are_on_the_server(cluster):
    assert not cluster.healthy("worker-gpu", NODE_KIND="gone")  # a node that the head does not know
    said = sweep(cluster)
    assert "2 variants x 2 seeds = 4 trials" in said
    experiment, found = runs(cluster, "tiny")
    assert experiment.artifact_location.startswith("mlflow-artifacts:/")
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    assert [run.info.status for run in found] == ["FINISHED"] * 5
    assert {(run.data.tags["variant"], run.data.tags["seed"]) for run in children} == {
        (variant, seed) for variant in ("baseline", "no_attention") for seed in ("1", "2")
    }
    assert all("eval/psnr_db" in run.data.metrics for run in children)
    stored = {path.name for path in (cluster.folder / "artifacts").rglob("*") if path.is_file()}
    assert "generator.pt" in stored
    assert postgres.query(cluster, "SELECT count(*) FROM runs WHERE status = 'FINISHED'").stdout.strip() == "5"
    assert list((cluster.folder / "storage" / "tiny" / "trials").glob("*/generator.pt"))

    again = sweep(cluster)
    assert "nothing to do, all 4 trials have a result" in again
    assert len(runs(cluster, "tiny")[1]) == 5


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_who_has_not_the_secret_or_the_name_is_kept_out(cluster):
    wrong = cluster.folder / "wrong"
    wrong.write_text(secrets.token_hex(32))
    assert cluster.healthy("ray-head")
    assert not cluster.healthy("ray-head", RAY_AUTH_TOKEN_PATH=str(wrong))
    assert cluster.healthy("postgres")
    assert not cluster.healthy("postgres", POSTGRES_PASSWORD_FILE=str(wrong))
    asked = urllib.request.Request(
        f"http://{cluster.variables['NATIVE_MLFLOW']}/api/2.0/mlflow/experiments/search?max_results=1",
        headers={"Host": "elsewhere:5000"},
    )
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(asked, timeout=20)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_the_page_s_job_runs_a_study_on_the_head(cluster):
    if importlib.util.find_spec("aiohttp_cors") is None:
        pytest.skip("ray[default] (the extra `cluster`), which has `ray job submit`, is not installed")
    block = re.search(r"    ray job submit(?: .*\n)(?:        .*\n)+", PAGE.read_text())[0]
    given = {
        "http://HOST:8265": f"http://{cluster.variables['NATIVE_DASHBOARD_HOST']}"
        f":{cluster.variables['NATIVE_DASHBOARD_PORT']}",
        "ablation.yaml": cluster.variables["SPEC"],
        "RESULTS": f"{cluster.folder}/results",
        "STORAGE": f"{cluster.folder}/storage",
    }
    words = shlex.split(block.replace("\\\n", " "))
    for name, value in given.items():
        assert name in words, name
        words[words.index(name)] = value
    server = f"tracking.uri=http://{cluster.variables['NATIVE_MLFLOW']}"
    done = subprocess.run(
        [*words, "--set", "study=job", "--set", "seeds=1", "--set", server],
        cwd=ROOT,
        env=cluster.environment("ray-head"),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "2 variants x 1 seeds = 2 trials" in done.stdout
    assert [run.info.status for run in runs(cluster, "job")[1]] == ["FINISHED"] * 3
    assert (cluster.folder / "results" / "job" / "report" / "index.html").is_file()


SRUN = """\
#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
case "$*" in
    *--head*) exec "$@" --node-ip-address=127.0.1.12 --temp-dir=PLACE/head ;;
    *) exec "$@" --node-ip-address=127.0.1.13 --temp-dir=PLACE/worker ;;
esac
"""


@pytest.fixture
def slurm():
    """The page's script with a node's own programs in the place of SLURM's, and a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
    lay_out(folder)
    for name, text in (("srun", SRUN.replace("PLACE", str(folder))), ("hostname", "#!/bin/sh\necho 127.0.1.12\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    script = re.search(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    for here, there in (
        ("spec=ablation.yaml\n", f"spec={folder}/spec.yaml\n"),
        ("results=$PWD/results\n", f"results={folder}/results\n"),
        ("source .venv/bin/activate\n", ""),
    ):
        assert here in script
        script = script.replace(here, there)
    (folder / "script").write_text(script)
    native = Native(folder, [str(folder)], {"NATIVE_RAY_TOKEN": "none"})
    native.services["slurm"] = {
        "command": ["bash", str(folder / "script")],
        "working_dir": ROOT,
        "environment": {
            "SLURM_JOB_ID": str(random.randrange(1000)),
            "SLURM_CPUS_PER_TASK": "2",
            "SLURM_JOB_NUM_NODES": "2",
            "TMPDIR": str(folder),
        },
    }
    yield native
    native.stop()
    shutil.rmtree(folder, ignore_errors=True)


def completed(folder):
    """Return how many trials have a result in the ledger on the node's own disk."""
    for ledger in folder.glob("tmp.*/results/tiny/ledger.db"):
        with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as db, contextlib.suppress(sqlite3.OperationalError):
            return db.execute("SELECT count(*) FROM trial WHERE state = 'COMPLETED'").fetchone()[0]
    return 0


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: more addresses on loopback than 127.0.0.1")
def test_the_page_s_slurm_script_is_cut_off_in_order_and_goes_on_with_its_ledger(slurm):
    first = slurm.start("slurm")
    until = time.monotonic() + 200
    while completed(slurm.folder) < 1:
        assert time.monotonic() < until, slurm.said("slurm")
        assert first.poll() is None, slurm.said("slurm")
        time.sleep(0.1)
    first.terminate()  # as SLURM does when the time is nearly up
    assert first.wait(timeout=120) == 130, slurm.said("slurm")
    assert "interrupted; what is done is kept" in slurm.said("slurm")
    slurm.stop("slurm")
    kept = analysis.load_trials(slurm.folder / "results" / "tiny")
    done = list(kept["state"]).count("COMPLETED")
    assert 1 <= done < 6

    before = len(slurm.said("slurm"))
    again = slurm.start("slurm")
    assert again.wait(timeout=300) == 0, slurm.said("slurm")[before:]
    assert f"6 trials, {done} of them have a result" in slurm.said("slurm")[before:]
    assert list(analysis.load_trials(slurm.folder / "results" / "tiny")["state"]) == ["COMPLETED"] * 6
    assert (slurm.folder / "results" / "tiny" / "report" / "index.html").is_file()
    assert not list((slurm.folder / "results").glob(".token-*"))
