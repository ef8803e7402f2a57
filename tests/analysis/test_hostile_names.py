"""Whatever a ledger's texts hold, the report shows it as text: no name, message or title becomes markup."""

import json
import re
import sqlite3

import pytest

from analysis import report
from analysis.report import write_report
from tests.analysis.synthetic_search import Tried, ordinary
from tests.analysis.test_report import Page

MARKUP = """<script>alert("1")</script>'"><img src=x onerror=alert(1)><b onclick='x'>&amp;{{7*7}}"""
WORDS = (
    "attention", "cat", "hall", "photos", "SICE", "official", "host", "0123abc", "A few bundled", "PSNR (dB)", "2.15.0",
    "nothing to search", "too much", "loss went", "jumped", "in it", "mind this", "was changed",
)  # fmt: skip


def poisoned(folder):
    """Put markup behind each of these words, wherever the ledger has it."""
    with sqlite3.connect(folder / "ledger.db") as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[2] == "TEXT"]
            for column, word in ((column, word) for column in columns for word in WORDS):
                for quoted, kind in ((json.dumps(MARKUP)[1:-1], "IN"), (MARKUP, "NOT IN")):
                    db.execute(
                        f"""UPDATE {table} SET "{column}" = replace("{column}", ?, ?) """
                        f"""WHERE substr("{column}", 1, 1) {kind} ('{{', '[', '"')""",
                        (word, word + quoted),
                    )
    db.close()
    return folder


@pytest.fixture
def hostile(make_study, make_search):
    """Return the page of a study, or of a search, whose ledger holds markup wherever it holds a text."""

    def make(kind):
        given = {
            "ends": {("no_attention", 2): ("DIVERGED", "", "DivergedError: the loss went away")},
            "events": [("no_attention", 1, 150, "spike", "global", 9.0, "the gradient jumped")],
            "model": True,
            "pictures": False,
        }
        if kind == "study":
            folder = make_study(**given, defects=True)
        else:
            asked = ordinary(search={"cautions": ["mind this"], "ended": {"no_attention": "too much"}})
            asked.tried["no_attention", 0].append(Tried([(1.0,)] * 4, left_out="the space was changed"))
            folder = make_search(asked, **given)
        with sqlite3.connect(folder / "ledger.db") as db:
            db.execute("INSERT INTO deviation VALUES (1, 1, 1, 'the space was changed')")
        db.close()
        write_report(poisoned(folder))
        return folder

    return make


@pytest.mark.parametrize("kind", ["study", "search"])
def test_no_text_of_a_ledger_becomes_markup_of_the_page(hostile, kind):
    folder = hostile(kind)
    found = Page(folder)
    assert found.text.count('<script>alert("1")</script>') > 20  # it is shown, as it stands
    assert "49" not in re.findall(r"\{\{7\*7\}\}|\b49\b", found.text)
    assert len(found.all("script")) <= 1  # the slider's
    assert not [one for one in found.all("img") if one.get("src") == "x"]
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert found.open == []


ODD = "\x1b[2J[bold]:cat:$\\none$"


@pytest.mark.filterwarnings("error:Glyph")
@pytest.mark.parametrize("kind", ["study", "search"])
def test_no_text_of_a_ledger_drives_the_terminal(hostile, kind, capsys, monkeypatch):
    monkeypatch.setattr("tests.analysis.test_hostile_names.MARKUP", ODD)
    folder = hostile(kind)
    assert report.main([str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "\\x1b[2J[bold]:cat:" in shown
    written = {path.name: path.read_text(encoding="utf-8") for path in (folder / "report").glob("*.[cm]*")}
    assert len(written) > 4
    figures = [path.read_text(encoding="utf-8") for path in (folder / "report" / "figures").glob("*.svg")]
    assert len(figures) > 2
    for text in (shown, *written.values(), *figures):
        assert "\x1b" not in text


@pytest.mark.parametrize("kind", ["study", "search"])
def test_no_text_of_a_ledger_becomes_markup_of_the_markdown_report(hostile, kind):
    text = (hostile(kind) / "report" / "report.md").read_text(encoding="utf-8")
    assert "alert" in text
    assert not re.search(r"(?<!\\)<(script|img|b)\b", text)
