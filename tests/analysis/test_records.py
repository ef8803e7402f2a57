import json
import sqlite3

from analysis.ledger import open_ledger
from analysis.records import dated, read_records
from tests.analysis.synthetic import BEGIN


def change(folder, *statements):
    with sqlite3.connect(folder / "ledger.db") as db:
        for statement, *values in statements:
            db.execute(statement, values)
    db.close()


def records(folder):
    with open_ledger(folder) as ledger:
        return read_records(ledger)


def test_versions_and_commit_are_told_once(make_study):
    found = records(make_study())
    assert dict(found.made_with) == {
        "commit": "0123abc", "device": "cpu", "dirty": "no", "python": "3.11.7", "torch": "2.15.0",
    }  # fmt: skip
    assert found.mixed == []


def test_a_mixture_of_devices_is_named_and_counted_in_trials(make_study):
    folder = make_study()
    cuda = json.dumps({"node": "other", "device": "cuda", "versions": {"torch": "2.15.0"}})
    change(folder, ("UPDATE attempt SET record = ? WHERE trial > 12", cuda))
    found = records(folder)
    assert found.mixed == ["device"]
    assert dict(found.made_with)["device"] == "cpu (12 trials), cuda (6 trials)"


def test_hosts_processes_and_commands_make_no_mixture(make_study):
    folder = make_study()
    elsewhere = json.dumps({"node": "b", "pid": 7, "device": "cpu", "versions": {"torch": "2.15.0"}})
    change(folder, ("UPDATE attempt SET record = ? WHERE trial = 1", elsewhere))
    assert records(folder).mixed == []


def test_a_driver_that_trained_nothing_leaves_no_mark(make_study):
    folder = make_study()
    before = records(folder)
    newer = json.dumps({"versions": {"python": "3.13.0"}})
    change(folder, ("INSERT INTO driver VALUES (2, ?, ?, 'host', 2, ?)", BEGIN + 9e6, BEGIN + 9e6, newer))
    assert records(folder) == before


def test_deviations_keep_their_order_and_their_time(make_study):
    folder = make_study()
    change(folder, ("INSERT INTO deviation VALUES (1, ?, 1, 'seeds 3 -> 5')", BEGIN + 1e6))
    found = records(folder)
    assert found.deviations == [(BEGIN + 1e6, "seeds 3 -> 5")]
    assert found.as_of == BEGIN + 1e6


def test_the_report_is_as_of_the_last_change_of_the_ledger(make_study):
    assert records(make_study()).as_of == BEGIN + 60 * 18 + 50


def test_times_are_in_universal_time():
    assert dated(0) == "1970-01-01 00:00 UTC"
