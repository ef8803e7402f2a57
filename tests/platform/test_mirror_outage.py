"""A server that is slow, down, full or cut off in mid-request, and the end of a sweep that waits for it."""

import http.client
import http.server
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from platform import mirror, mirror_process, mirror_server
from platform.mirror_process import MirrorProcess
from tests.platform.mirrored import ROOT, Server, Study, follower, points, progress, runs, wait_for
from tests.platform.test_mirror_repair import empty_store, shown
from tests.platform.test_sweep import lay_out

__all__ = ["empty_store"]  # a fixture


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on to an MLflow server, and does with the answer what `behave` says: method, path -> what.

    What: None, to pass it on; seconds, to wait before; "cut": the server has done it, but nobody hears of it; "full":
    500, as a server answers whose disk is full.
    """

    daemon_threads = True

    def __init__(self, port):
        self.port, self.behave = port, lambda method, path: None
        super().__init__(("127.0.0.1", 0), _Handler)
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """Say nothing of a client that has gone."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        what = self.server.behave(self.command, self.path)
        status, answer, kind = 500, b'{"error_code": "INTERNAL_ERROR", "message": "No space left on device"}', None
        if what != "full":
            there = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
            headers = {key: value for key, value in self.headers.items() if key not in ("Host", "Connection")}
            there.request(self.command, self.path, body, headers)
            response = there.getresponse()
            status, answer, kind = response.status, response.read(), response.getheader("Content-Type")
            there.close()
        if what == "cut":
            self.close_connection = True
            self.connection.close()
            return
        if isinstance(what, float):
            time.sleep(what)
        self.send_response(status)
        self.send_header("Content-Type", kind or "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_store):
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder, empty_store)
    server.start()

    def answers():
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

    wait_for(answers, 90)
    yield server
    server.kill()


@pytest.fixture
def proxy(server):
    proxy = Proxy(server.port)
    yield proxy
    proxy.shutdown()


@pytest.fixture
def study(tmp_path, request):
    study = Study(tmp_path, request.node.name.removeprefix("test_")[:60])
    study.trial(1)
    study.leave_files(1, 20)
    for number in range(2, 6):
        study.trial(number, seed=number)
    return study


def equals_a_copy_without_trouble(study, server):
    """Compare the study's experiment with one that is copied past the proxy."""
    assert mirror.main([str(study.folder), "--uri", server.uri, "--experiment", f"{study.name} undisturbed"]) == 0
    client = MlflowClient(server.uri)
    disturbed, undisturbed = (
        shown(client, client.get_experiment_by_name(name).experiment_id, server.folder / "served")
        for name in (study.name, f"{study.name} undisturbed")
    )
    assert disturbed == undisturbed
    return disturbed


@pytest.mark.slow
@pytest.mark.parametrize("path", ["runs/create", "runs/log-batch", "runs/update", "log-inputs", "artifacts/artifacts"])
def test_a_request_cut_off_in_its_midst_is_sent_again_and_done_once(study, server, proxy, path):
    study.name = f"{study.name}-{path.replace('/', '-')}"
    left = [3]

    def behave(method, asked):
        if path in asked and method != "GET" and left[0]:
            left[0] -= 1
            return "cut"
        return None

    proxy.behave = behave
    asked = [str(study.folder), "--uri", proxy.uri, "--experiment", study.name]
    failed = 0
    while mirror.main(asked):
        failed += 1
        assert failed < 4
    assert failed >= 1
    assert len(equals_a_copy_without_trouble(study, server)) == 6


@pytest.mark.slow
def test_a_slow_server_is_late_and_nothing_else(study, server, proxy):
    proxy.behave = lambda method, path: 2.0 if method == "POST" else 0.1
    study.drive()
    following = follower(study, "--uri", proxy.uri, "--experiment", study.name)
    wait_for(lambda: progress(study)["copied"] > 1, 120)
    assert mirror.behind(study.folder) is not None
    proxy.behave = lambda method, path: None
    study.end()
    assert following.wait(60) == 0
    assert len(equals_a_copy_without_trouble(study, server)) == 6


@pytest.mark.slow
@pytest.mark.parametrize("what", ["every request", "artifacts alone"])
def test_a_server_whose_disk_is_full_is_named_once_and_catches_up_when_there_is_room(study, server, proxy, what):
    study.name = f"{study.name}-{what}"
    proxy.behave = lambda method, path: "full" if what == "every request" or method == "PUT" else None
    study.drive()
    following = follower(study, "--uri", proxy.uri, "--experiment", study.name)
    wait_for(lambda: progress(study)["error"], 90)
    for number in range(6, 9):
        study.trial(number, seed=number)
    wait_for(lambda: progress(study).get("of") == 8, 30)
    assert following.poll() is None
    assert mirror.behind(study.folder) == 8
    proxy.behave = lambda method, path: None
    wait_for(lambda: not progress(study)["error"], 60)
    study.end()
    assert following.wait(60) == 0
    trouble, again = (line for line in following.stderr.read().splitlines() if "MLflow at" in line)
    assert "5 of 5 ended trials behind" in trouble
    assert f"takes {study.folder.name} again: 8 ended trials copied." in again
    assert len(equals_a_copy_without_trouble(study, server)) == 9


def test_a_full_disk_of_the_driver_s_is_said_in_a_sentence(study, empty_store, monkeypatch, capsys):
    shutil.copyfile(empty_store, study.folder.parent / "mlflow.db")

    def full(**_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "mkdtemp", full)
        patched.setattr("platform.mirror_runs.TemporaryDirectory", full)
        assert mirror.main([str(study.folder)]) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "5 of 5 ended trials behind" in said
    assert len(said.strip().splitlines()) == 1
    assert mirror.main([str(study.folder)]) == 0
    client = MlflowClient(f"sqlite:///{study.folder.parent / 'mlflow.db'}")
    assert points(client, runs(client, study)[1][5]) == [(10, 510.0, 5.0), (20, 520.0, 10.0)]


def test_a_store_that_cannot_be_opened_is_said_at_once(study, monkeypatch, capsys):
    """MLflow would sleep ten times, 101 s in all."""
    (study.folder.parent / "mlflow.db").mkdir()
    monkeypatch.setattr("mlflow.store.db.utils.time.sleep", lambda seconds: pytest.fail(f"sleeps {seconds} s"))
    assert mirror.main([str(study.folder)]) == 1
    said = capsys.readouterr().err
    assert "did not take" in said
    assert "unable to open database file (5 of 5 ended trials behind). Nothing is lost" in said


def test_a_server_that_takes_no_connection_is_not_asked_for_an_answer(study, monkeypatch, capsys):
    monkeypatch.setattr(mirror_server, "CONNECTION_S", 0.3)
    monkeypatch.setattr(mirror_server, "MlflowClient", lambda uri: pytest.fail("asked"))
    with socket.socket() as listening, ExitStack() as clients:  # which takes one, and drops the others' first packet
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listening.getsockname())
        uri = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert mirror.main([str(study.folder), "--uri", uri]) == 1
    assert "timed out (5 of 5 ended trials behind). Nothing is lost" in capsys.readouterr().err


def test_a_mirror_that_does_not_end_is_ended(study, monkeypatch):
    """Whatever it is stuck in: a sweep must end."""
    monkeypatch.setattr(mirror_process, "PATIENCE_S", 0.5)
    monkeypatch.setattr(mirror_process, "LAST_CALLS_S", 0.5)
    stuck = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); time.sleep(600)"
    )
    beside = MirrorProcess(study.folder, follow=True, console=Console(file=io.StringIO()))
    beside.process = subprocess.Popen([sys.executable, "-c", stuck], stdout=subprocess.PIPE)
    with beside.process.stdout as said:
        said.readline()
    beside.__exit__(None, None, None)
    assert beside.process.poll() == -9


def test_a_store_that_is_gone_is_not_believed_to_be_whole(study, empty_store):
    store = study.folder.parent / "mlflow.db"
    shutil.copyfile(empty_store, store)
    assert mirror.main([str(study.folder)]) == 0
    assert mirror.behind(study.folder) == 0
    store.unlink()
    assert mirror.behind(study.folder) is None


def test_a_results_folder_copied_without_its_store_gets_a_copy_in_mlflow_of_its_own(study, empty_store, tmp_path):
    store = study.folder.parent / "mlflow.db"
    shutil.copyfile(empty_store, store)
    assert mirror.main([str(study.folder)]) == 0
    copied = tmp_path / "elsewhere" / study.name
    shutil.copytree(study.folder, copied)
    assert (mirror.behind(study.folder), mirror.behind(copied)) == (0, None)
    shutil.copyfile(empty_store, copied.parent / "mlflow.db")  # MLflow takes seconds to make one
    with MirrorProcess(copied, follow=False, console=Console(file=io.StringIO())):
        pass
    client = MlflowClient(f"sqlite:///{copied.parent / 'mlflow.db'}")
    assert client.get_experiment_by_name(study.name) is not None
    assert mirror.behind(copied) == 0


@pytest.mark.slow
@pytest.mark.parametrize("what", ["down", "full"])
def test_a_sweep_ends_with_its_own_status_whatever_the_server_does(server, proxy, what):
    folder = Path(tempfile.mkdtemp(prefix="m", dir="/tmp"))  # short: the paths of Ray's sockets must be
    try:
        lay_out(folder)
        uri = proxy.uri
        if what == "full":
            proxy.behave = lambda method, path: "full"
        else:
            proxy.shutdown()
            proxy.server_close()
        command = [sys.executable, "-m", "platform.sweep", str(folder / "spec.yaml"), "--results", f"{folder}/results"]
        told = ["--set", "seeds=1", "--set", f"tracking.uri={uri}"]
        environment = {**os.environ, "RAY_TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*command, *told], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stdout + done.stderr
        said = " ".join(done.stdout.split())
        assert "MLflow does not have 2 trials yet" in said
        assert f"nothing is lost: python -m platform.mirror {folder}/results/tiny" in said
        assert "ended trials behind). Nothing is lost" in (folder / "results" / "tiny" / "mirror.log").read_text()
        assert mirror.main([f"{folder}/results/tiny", "--uri", server.uri, "--experiment", f"late {what}"]) == 0
        client = MlflowClient(server.uri)
        found = client.search_runs([client.get_experiment_by_name(f"late {what}").experiment_id])
        assert [run.info.status for run in found] == ["FINISHED"] * 3
    finally:
        shutil.rmtree(folder, ignore_errors=True)
