"""A storage with an address: what is refused, what comes back, and trials whose files do not get there."""

import errno
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray import tune

from analysis.schema import COMPLETED
from platform import sweep_storage, tune_run
from platform.errors import AddressError, SweepError
from platform.far_storage import below, connect, fetch
from platform.job import Job
from platform.ledger import Ledger
from platform.retention import delete
from platform.sweep import main
from platform.sweep_storage import claim
from tests.far_storages import Failing, failing, s3_server, silent_s3
from tests.platform.test_tune_run import attempts, ends, prepared, steps
from trials import storage, trainable
from trials.storage import Storage, StorageError


def test_the_study_has_a_folder_of_its_own_below_the_address():
    assert below("s3://bucket/ablations/", "mine") == "s3://bucket/ablations/mine"
    assert below("file:///mnt/far", "mine") == "file:///mnt/far/mine"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://key:SECRET@bucket/x", r"s3://\*\*\*@bucket: expected an address without credentials"),
        ("s3://key:SEC/RET@bucket/x", r"s3://\*\*\*@bucket: expected an address without credentials"),
        ("sftp://me:SECRET@host/x", r"sftp://\*\*\*@host: expected an address without credentials"),
        ("abfs://x@account.net/y?sig=SECRET", "abfs://x@account.net/y: expected one plain address"),
        ("simplecache::s3://bucket", "expected one plain address"),
        ("s4://bucket", "s4://bucket: there is no scheme s4://; give a folder, or an address such as s3://BUCKET"),
        ("gs://bucket", "gs:// needs the package gcsfs, which is not installed; install it, on every node"),
        ("memory://x", "no other process sees what one has in its memory"),
        ("file://x", "expected an absolute path, such as file:///mnt/storage"),
    ],
)
def test_an_address_that_cannot_be_used_ends_the_command_with_status_2_and_makes_nothing(
    tmp_path, capsys, address, said
):
    with pytest.raises(AddressError, match=said):
        below(address, "mine")
    spec = tmp_path / "spec.yaml"
    spec.write_text("study: mine\ntrain: {vgg: {weights: random}}\n")
    assert main([str(spec), "--results", str(tmp_path / "results"), "--storage", address]) == 2
    shown = capsys.readouterr().out
    assert shown.startswith("--storage ")
    assert shown.count("\n") == 1
    assert "SEC" not in shown
    assert not (tmp_path / "results").exists()


def test_a_bucket_or_folder_that_cannot_be_written_to_is_refused_before_anything_is_made(tmp_path, monkeypatch, capsys):
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(AddressError, match=r"s3://wrong/mine \(FileNotFoundError: The specified bucket does not"):
            connect("s3://wrong/mine")
        far = connect("s3://bucket/mine")
        assert far.names("") == []  # what was written to try it is gone
    (tmp_path / "far").write_text("no folder")
    spec = tmp_path / "spec.yaml"
    spec.write_text("study: mine\ntrain: {vgg: {weights: random}}\n")
    asked = [str(spec), "--results", str(tmp_path / "results"), "--storage", f"file://{tmp_path}/far"]
    assert main(asked) == 2
    shown = capsys.readouterr().out
    assert f"in the storage file://{tmp_path}/far/mine (" in shown
    assert "nothing was started" in shown
    assert not (tmp_path / "results").exists()


def test_a_storage_that_is_down_at_the_start_is_no_fault_of_the_command_s(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(storage, "ANSWER_S", 0.5)
    spec = tmp_path / "spec.yaml"
    spec.write_text("study: mine\ntrain: {vgg: {weights: random}}\n")
    with silent_s3() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert main([str(spec), "--results", str(tmp_path / "results"), "--storage", "s3://bucket/x"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("--storage: cannot write .check-")
    assert "in the storage s3://bucket/x/mine (FSTimeoutError: no answer in time); nothing was started" in shown
    assert shown.endswith("the same command goes on\n")
    assert shown.count("\n") == 1
    assert not (tmp_path / "results").exists()


def begun(folder):
    """Return the ledger of a study that holds a spec, open."""
    ledger = Ledger(folder)
    ledger.db.execute("INSERT INTO spec (at, resolved) VALUES (0, '{}')")
    return ledger


def test_studies_of_one_name_in_two_results_folders_do_not_share_a_storage(tmp_path):
    for place in (tmp_path / "shared" / "tiny", Storage(f"file://{tmp_path}/far/tiny")):
        first, second = begun(tmp_path / "a" / "tiny"), begun(tmp_path / "b" / "tiny")
        claim(first, place)
        claim(first, place)
        name = getattr(place, "address", place)
        with pytest.raises(SweepError, match=f"{name} holds the files of a study of this name in another results"):
            claim(second, place)
        claim(second, second.folder)  # its own
        with pytest.raises(SweepError, match="is the results folder of another study of this name; give another"):
            claim(second, first.folder)
        first.close()
        shutil.move(tmp_path / "a", tmp_path / "moved")
        moved = Ledger(tmp_path / "moved" / "tiny")
        claim(moved, place)
        (mark,) = [path for path in tmp_path.glob("*/tiny/owner/*") if path.name == moved.get("mark")]
        mark.unlink()  # as the sentence says
        claim(second, place)
        with pytest.raises(SweepError, match=f"delete owner/{second.get('mark')} there"):
            claim(moved, place)
        moved.close()
        second.close()
        shutil.move(tmp_path / "moved", tmp_path / "a")


def test_of_a_study_and_its_copy_one_has_the_storage(tmp_path):
    for place in (tmp_path / "shared" / "tiny", Storage(f"file://{tmp_path}/far/tiny")):
        name = getattr(place, "address", str(place))
        first = begun(tmp_path / "a" / "tiny")
        claim(first, place)
        first.put({"storage": name})
        first.close()
        shutil.copytree(tmp_path / "a", tmp_path / "copy")
        shutil.copytree(tmp_path / name.removeprefix("file://"), tmp_path / "elsewhere" / "tiny")
        copy, said = Ledger(tmp_path / "copy" / "tiny"), "holds the files of .*/a/tiny, of which .*/copy/tiny is a copy"
        with pytest.raises(SweepError, match=f"--storage: {name} {said}"):
            claim(copy, place)
        claim(copy, tmp_path / "elsewhere" / "tiny")  # as the sentence says
        first = Ledger(tmp_path / "a" / "tiny")
        claim(first, place)
        first.close()
        shutil.rmtree(tmp_path / "a")
        claim(copy, place)  # the copy is all that there is now
        copy.close()
        shutil.rmtree(tmp_path / "elsewhere")
        shutil.rmtree(tmp_path / "copy")


def test_a_mark_by_an_earlier_version_comes_to_name_the_folder(tmp_path):
    place, ledger = tmp_path / "shared" / "tiny", Ledger(tmp_path / "a" / "tiny")
    claim(ledger, place)
    (mark,) = (place / "owner").iterdir()
    mark.write_bytes(b"")
    claim(ledger, place)
    assert mark.read_text() == str(ledger.folder)
    ledger.close()


@pytest.mark.parametrize("option", ["--results", "--storage"])
def test_links_in_a_circle_are_a_sentence(tmp_path, capsys, option):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    spec = tmp_path / "spec.yaml"
    spec.write_text("study: mine\ntrain: {vgg: {weights: random}}\n")
    assert main([str(spec), "--results", str(tmp_path / "results"), option, str(tmp_path / "circle")]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith(f"{tmp_path}/circle/mine")
    assert " cannot be written to (" in shown
    assert shown.count("\n") == 1


def test_a_folder_in_the_place_of_the_lock_is_a_sentence(tmp_path, capsys):
    spec, lock = tmp_path / "spec.yaml", tmp_path / "results" / "mine" / "driver.lock"
    spec.write_text("study: mine\ntrain: {vgg: {weights: random}}\n")
    lock.mkdir(parents=True)
    assert main([str(spec), "--results", str(tmp_path / "results")]) == 1
    assert capsys.readouterr().out.startswith(f"{lock} cannot be written to (Is a directory); mend that, then the same")


def test_a_refused_command_leaves_the_storage_to_its_owner(tmp_path, capsys):
    first = begun(tmp_path / "r1" / "mine")
    claim(first, tmp_path / "st" / "mine")
    spec = tmp_path / "spec.yaml"
    spec.write_text("study: mine\ntrain: {vgg: {weights: random}}\n")
    assert main([str(spec), "--results", str(tmp_path / "st")]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith(f"--results: {tmp_path}/st/mine holds the files of a study of this name in another results")
    assert "give another --results or name" in shown
    claim(first, tmp_path / "st" / "mine")
    left = Ledger(tmp_path / "st" / "mine")  # of a command that was killed before it was refused
    with pytest.raises(SweepError, match="is the results folder of another study"):
        claim(first, tmp_path / "st" / "mine")  # it may still begin
    left.close()
    claim(first, tmp_path / "st" / "mine")
    first.close()


def test_a_storage_that_is_not_mounted_is_not_made_anew(tmp_path):
    for number, place in enumerate([tmp_path / "shared" / "tiny", Storage(f"file://{tmp_path}/far/tiny")]):
        ledger = Ledger(tmp_path / f"results{number}" / "tiny")
        claim(ledger, place)
        ledger.put({"storage": getattr(place, "address", str(place))})
        folder = tmp_path / ("far" if number else "shared") / "tiny"
        shutil.rmtree(folder)
        claim(ledger, place)  # nothing was there yet
        shutil.rmtree(folder)
        trial = f"{1:032x}"
        ledger.db.execute(
            "INSERT INTO trial (id, seed, stream, settings, data, state, planned) VALUES (?, 1, 0, '{}', '', ?, 0)",
            (trial, "PLANNED"),
        )
        ledger.db.execute("INSERT INTO step VALUES (1, 20, 0, 1, 'trials/1/checkpoint-20.pt', '{}')")
        with pytest.raises(SweepError, match=r"nothing of tiny is left in .*if that is not mounted, mount it"):
            claim(ledger, place)
        assert not folder.exists()
        claim(ledger, tmp_path / f"other{number}" / "tiny")
        ledger.close()


def test_of_two_that_claim_a_storage_at_the_same_moment_neither_has_it(tmp_path, monkeypatch):
    place, ledger = tmp_path / "shared" / "tiny", Ledger(tmp_path / "a" / "tiny")
    mark = sweep_storage._mark

    def at_once(storage, own, folder):
        mark(storage, f"{7:032x}", tmp_path)
        mark(storage, own, folder)

    monkeypatch.setattr(sweep_storage, "_mark", at_once)
    with pytest.raises(SweepError, match=f"delete owner/{7:032x} there"):
        claim(ledger, place)
    assert [path.name for path in (place / "owner").iterdir()] == [f"{7:032x}"]
    ledger.close()


def test_a_storage_that_is_full_when_it_is_claimed_bears_no_mark_and_is_named(tmp_path, monkeypatch):
    ledger, place = Ledger(tmp_path / "a" / "tiny"), tmp_path / "shared" / "tiny"

    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left") as caught:
            claim(ledger, place)
    assert caught.value.filename.startswith(str(place / "owner"))
    assert list((place / "owner").iterdir()) == []
    claim(ledger, place)
    ledger.close()


def test_a_study_does_not_begin_in_a_folder_where_another_keeps_its_files(tmp_path):
    ledger = Ledger(tmp_path / "a" / "tiny")
    sweep_storage._mark(ledger.folder, f"{7:032x}", tmp_path)
    with pytest.raises(SweepError, match=f"delete owner/{7:032x} there"):
        claim(ledger, ledger.folder)
    ledger.close()


def test_a_sweep_into_another_study_s_storage_ends_before_it_holds_a_spec(tmp_path, capsys):
    (tmp_path / "shared" / "mine" / "owner").mkdir(parents=True)
    (tmp_path / "shared" / "mine" / "owner" / f"{7:032x}").touch()
    spec = tmp_path / "spec.yaml"
    spec.write_text("study: mine\ntrain: {vgg: {weights: random}}\n")
    assert main([str(spec), "--results", str(tmp_path / "results"), "--storage", str(tmp_path / "shared")]) == 1
    assert f"if that study is gone, delete owner/{7:032x} there" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("before", ["nothing", "another's files", "a ledger"])
@pytest.mark.parametrize("kind", ["another's mark", "another's mark, far", "another's results", "no folder"])
def test_a_refused_storage_leaves_nothing_that_was_not_there_before(tmp_path, capsys, kind, before):
    shared, own = tmp_path / "shared", tmp_path / "in" / "results" / "mine"
    if kind == "no folder":
        shared.write_text("a file")
    elif kind == "another's results":
        begun(shared / "mine").close()
    else:
        sweep_storage._mark(shared / "mine", f"{7:032x}", tmp_path)
    if before == "a ledger":
        Ledger(own).close()
    elif before == "another's files":
        sweep_storage._mark(own, f"{8:032x}", tmp_path)
    spec = tmp_path / "spec.yaml"
    spec.write_text("study: mine\ntrain: {vgg: {weights: random}}\n")
    kept = sorted(tmp_path.rglob("*"))
    content = {path: path.read_bytes() for path in kept if path.name == "ledger.db" and kind != "no folder"}
    place = f"file://{shared}" if kind.endswith("far") else str(shared)
    assert main([str(spec), "--results", str(own.parent), "--storage", place]) == 1
    assert "--storage" in capsys.readouterr().out or kind == "no folder"
    assert sorted(tmp_path.rglob("*")) == kept
    assert {path: path.read_bytes() for path in content} == content


def test_a_ledger_whose_storage_fails_while_it_is_marked_stays_with_the_mark_that_may_be_there(
    tmp_path, monkeypatch, capsys
):
    def half(storage, mark, folder):
        mark_of(storage, mark, folder)
        raise StorageError("cannot write owner in the storage")

    mark_of = sweep_storage._mark
    spec = tmp_path / "spec.yaml"
    spec.write_text("study: mine\ntrain: {vgg: {weights: random}}\n")
    asked = [str(spec), "--results", str(tmp_path / "results"), "--storage", f"file://{tmp_path}/far"]
    monkeypatch.setattr(sweep_storage, "_mark", half)
    assert main(asked) == 1
    assert "nothing is lost" in capsys.readouterr().out
    (mark,) = (tmp_path / "far" / "mine" / "owner").iterdir()
    ledger = Ledger(tmp_path / "results" / "mine")
    assert ledger.get("mark") == mark.name
    claim(ledger, Storage(f"file://{tmp_path}/far/mine"))  # its own
    ledger.close()


def test_a_storage_that_fails_while_its_owner_is_looked_up_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: None)
    failing(1000)
    ledger = Ledger(tmp_path / "tiny")
    with pytest.raises(SweepError, match=r"503 slow down\); nothing is lost: once it works, the same command goes on"):
        claim(ledger, Storage("failing://far"))
    ledger.close()


def test_what_is_missing_alone_is_fetched(tmp_path):
    far = Storage(f"file://{tmp_path}/far")
    for name in ("pictures/cat.png", "pictures/dog.png", "generator.pt", "checkpoint-6.pt"):
        path = tmp_path / "far" / "trials" / "a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("far")
    here = tmp_path / "here"
    (here / "trials" / "a" / "pictures").mkdir(parents=True)
    (here / "trials" / "a" / "pictures" / "cat.png").write_text("here")
    pictures = {"a": ["trials/a/pictures/cat.png", "trials/a/pictures/dog.png", "trials/a/pictures/lost.png"]}
    assert fetch(far, here, pictures) == 2  # a trainer may leave no generator.json
    found = {path.name: path.read_text() for path in here.rglob("*") if path.is_file()}
    assert found == {"cat.png": "here", "dog.png": "far", "generator.pt": "far"}
    assert fetch(far, here, pictures) == 0


@pytest.mark.parametrize("trials", [["a"], ["a", "b"]])
def test_checkpoints_are_deleted_there_and_nothing_else(tmp_path, trials):
    for trial in ("a", "b", "c"):
        folder = tmp_path / "far" / "trials" / trial
        (folder / "pictures").mkdir(parents=True)
        for name in ("checkpoint-10.pt", "generator.pt", "pictures/checkpoint-10.png"):
            (folder / name).touch()
    delete(Storage(f"file://{tmp_path}/far"), trials)
    left = {path.parent.name for path in (tmp_path / "far").rglob("checkpoint-*.pt")}
    assert left == {"a", "b", "c"} - set(trials)
    assert len([path for path in (tmp_path / "far").rglob("*") if path.is_file()]) == 9 - len(trials)


@pytest.fixture
def told(monkeypatch):
    """Return what `trainable` tells, called in this process."""
    messages = []
    monkeypatch.setattr(tune, "report", lambda one: messages.append(json.loads(one["message"])))
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: None)
    return messages


def task(folder):
    job, opened = prepared(folder, ["well too"], seeds=[1], at_once=1)
    job.far = Storage("failing://far")
    asked = {"task": job.task(job.cells[0])}
    opened.close()
    return asked, f"/far/trials/{job.cells[0].trial}"


def test_a_trial_goes_on_when_an_upload_fails_twice_and_reports_only_what_is_there(tmp_path, told, monkeypatch):
    files = failing(2)
    asked, folder = task(tmp_path)
    there = []
    monkeypatch.setattr(tune, "report", lambda one: (told.append(json.loads(one["message"])), there.append(set(files))))
    trainable.trainable(asked)
    assert [one.get("step") for one in told] == [None, 1, 2, 3], told
    assert Failing.failures == 0
    for report, seen in zip(told[1:], there[1:], strict=True):
        assert f"/far/{report['checkpoint']}" in seen
    assert sorted(files) == [f"{folder}/{step}.txt" for step in (1, 2, 3)]


def test_a_trial_whose_uploads_always_fail_stays_planned_and_says_which_address(tmp_path, told):
    failing(1000)
    trainable.trainable(task(tmp_path)[0])
    (outcome,) = [one["outcome"] for one in told if "outcome" in one]
    assert (outcome["state"], outcome["kind"]) == ("PLANNED", "storage")
    assert outcome["message"].startswith("StorageError: cannot write trials/")
    assert "in the storage failing://far (PermissionError: 503 slow down)" in outcome["message"]
    assert not [one for one in told if "step" in one]


def test_a_worker_that_lacks_the_package_says_so_before_the_study_starts(tmp_path):
    job, opened = prepared(tmp_path, ["well too"], seeds=[1], at_once=1)
    job.far = SimpleNamespace(address="gs://bucket/bad")
    wrong, _ = trainable.probe(job.task(job.cells[0]))
    assert wrong.startswith("StorageError: gs://bucket/bad: gs:// needs the package gcsfs, which is not installed")
    opened.close()


def test_pictures_are_here_when_a_trial_is_completed_and_else_no_other_starts(tmp_path, told):
    files = failing(0)
    job, opened = prepared(tmp_path, ["well too"], seeds=[1], at_once=1)
    job.far = Storage("failing://far")
    for cell in job.cells:
        picture = f"trials/{cell.trial}/pictures/cat.png"
        job.far.put({picture: Path(__file__)})
        job.begin(cell.trial, {})
        report = {"step": 3, "seconds": 1.0, "metrics": {}, "images": [], "checkpoint": None, "events": []}
        job.report(cell.trial, {**report, "pictures": {"none/cat": picture}})
    first, second = (cell.trial for cell in job.cells)
    job.end(first, COMPLETED)
    assert (job.storage / "trials" / first / "pictures" / "cat.png").is_file()
    assert job.halt == ""
    Failing.failures = 1000
    job.end(second, COMPLETED)
    assert opened.states[second] == COMPLETED
    assert job.halt == (
        f"cannot read trials/{second}/pictures/cat.png in the storage failing://far (PermissionError: 503 slow down); "
        "nothing is lost: once it works, the same command goes on"
    )
    assert len(files) == 2
    opened.close()


@pytest.mark.slow  # 20 seconds of patience
def test_a_storage_that_does_not_answer_ends_no_trial_and_starts_none_until_it_does(tmp_path):
    job, opened = prepared(tmp_path, ["well too"], seeds=[1, 2], at_once=1)
    far = Storage(f"file://{tmp_path}/far")
    job = Job(job.study, job.cells, opened, job.storage, job.capacity, far=far)
    second = job.cells[1].trial
    (tmp_path / "far" / "trials").mkdir(parents=True)
    (tmp_path / "far" / "trials" / second).symlink_to(tmp_path / "not" / "mounted")
    with tune_run.cluster(None):
        assert tune_run.run(job) is True
        assert job.reason.startswith(f"cannot write trials/{second}/1.txt in the storage {far.address} (")
        assert job.reason.endswith("nothing is lost: once it works, the same command goes on")
        assert [end[:2] for end in ends(opened, "well_too")] == [("PLANNED", None)] * 2
        assert attempts(opened, "well_too") == [(0, "storage")]

        (tmp_path / "far" / "trials" / second).unlink()
        opened.end_driver(time.time())
        opened.begin_driver({}, time.time())
        again = Job(job.study, job.cells, opened, job.storage, job.capacity, far=far)
        assert tune_run.run(again) is True
    assert again.reason == ""
    assert {end[0] for end in ends(opened, "baseline") + ends(opened, "well_too")} == {"COMPLETED"}
    assert steps(opened, "well too") == [1, 1, 2, 3]
    opened.close()
