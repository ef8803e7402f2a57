"""What is laid out to be uploaded, from a ledger that may come from anybody."""

import json

import pytest

from platform.mirror_artifacts import lay_out_study, lay_out_trial
from platform.mirror_ledger import Ledger
from tests.platform.mirrored import Study


@pytest.fixture
def study(tmp_path):
    (tmp_path / "results").mkdir()
    return Study(tmp_path / "results", "theirs")


def laid_out(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("named", ["../../secret.png", "/SECRET", "linked.png", "notes.txt", "gone.png", "a\0b.png"])
def test_only_pictures_of_the_study_are_uploaded(study, tmp_path, named):
    secret = tmp_path / "secret.png"
    secret.write_text("mine")
    (study.folder / "linked.png").symlink_to(secret)
    (study.folder / "notes.txt").write_text("notes")
    (study.folder / "report").mkdir()
    (study.folder / "report" / "index.html").symlink_to(secret)
    study.trial(1)
    study.leave_files(1, 20)
    named = named.replace("/SECRET", str(secret))
    pictures = json.dumps({"night/cat": "t1/cat.png", "night/owl": named})
    study.do("UPDATE step SET pictures = ? WHERE step = 20", pictures)
    study.add("reference_picture", ["gain", "d", "night/cat", named])
    ledger, place = Ledger(study.folder), tmp_path / "place"
    place.mkdir()
    missing = lay_out_trial(place, ledger, ledger.trial(ledger.begun()[0]), study.folder)
    assert missing == [str(study.folder / named)]
    assert laid_out(place / "pictures") == ["night/cat.png"]
    whole = tmp_path / "whole"
    whole.mkdir()
    assert lay_out_study(whole, ledger, ledger.facts(), study.folder / "report") == [str(study.folder / named)]
    assert not [name for name in laid_out(whole) if name.startswith(("pictures", "report"))]


@pytest.mark.parametrize("picture", ["../../escaped", "/tmp/escaped", "night/../../../escaped"])
def test_a_picture_s_name_leads_nowhere_else(study, tmp_path, picture):
    study.trial(1)
    study.leave_files(1, 20)
    study.do("UPDATE step SET pictures = ? WHERE step = 20", json.dumps({picture: "t1/cat.png"}))
    ledger, place = Ledger(study.folder), tmp_path / "a" / "b"
    place.mkdir(parents=True)
    assert lay_out_trial(place, ledger, ledger.trial(ledger.begun()[0]), study.folder) != []
    assert not list(tmp_path.rglob("escaped*"))
