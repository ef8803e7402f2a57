import csv as standard
import io

import pandas as pd
import pytest

from analysis.printable import clean, csv


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x9b31m", "\\x9b31m"),
        ("bell\x07 back\x08", "bell\\x07 back\\x08"),
        ("ab\u202ecd", "ab\\u202ecd"),
        ("two\nlines\tand a tab, \u00e9, \u65e5\u672c", "two\nlines\tand a tab, \u00e9, \u65e5\u672c"),
    ],
)
def test_a_terminal_obeys_no_text(text, shown):
    assert clean(text) == shown


@pytest.mark.parametrize("text", ["=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\n=1"])
def test_no_text_of_a_table_is_a_formula(text):
    (row,) = standard.DictReader(io.StringIO(csv(pd.DataFrame({"image": [text], "value": [-1.5]}))))
    assert row["image"].startswith("'")
    assert row["image"].lstrip("'") == clean(text)
    assert row["value"] == "-1.5"


@pytest.mark.parametrize("text", ["-0.5", "+1e-3", "cat", "a=b", ""])
def test_other_texts_stay(text):
    assert csv(pd.DataFrame({"image": [text, "x"]})) == pd.DataFrame({"image": [text, "x"]}).to_csv(index=False)


def test_what_is_no_text_stays():
    frame = pd.DataFrame({"a": [1, 2], "b": [None, "=x"], "c": [float("nan"), -2.0], "d": [[1], {"e": 2}]})
    assert csv(frame) == "a,b,c,d\n1,,,[1]\n2,'=x,-2.0,{'e': 2}\n"
