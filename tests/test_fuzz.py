"""The quick version of `make fuzz`; see `tests/fuzz.py`."""

import json
import subprocess
import sys
from pathlib import Path

from tests import fuzz

ROOT = Path(__file__).parents[1]


def test_damaged_and_hostile_specs_are_refused_in_sentences_or_planned(tmp_path):
    command = [sys.executable, "tests/fuzz.py", "--cases", "60", "--every", "21", "--seed", "5", "--keep", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["cases"] == 60
    assert figures["endings"]["refused"] > 30
    assert figures["endings"]["planned"] > 2  # else nothing shows that a sound spec passes


def test_a_broken_promise_is_noticed():
    def said(output, status=2):
        return fuzz.unlike({"output": output, "status": status}, dry=True)

    assert said("spec.yaml: 1 problem\n  line 1, study: expected a text, got 3\n") == []
    assert said("Traceback (most recent call last):\n", "crashed") == ["a traceback", "exit status crashed"]
    assert said("spec.yaml: 1 problem\n") == ["refused without a sentence"]
    assert said("18 trials, 18 still to train\n", 0) == []
    assert said("nothing\n", 0) == ["a dry run without a plan"]
    assert said("spec.yaml: 1 problem\n  \x1b[31m: red\n") == ["control characters"]


def test_what_is_written_elsewhere_is_noticed(tmp_path):
    outside, ran = [], []
    results = str(tmp_path / "results")
    for event, arguments in (
        ("open", (f"{results}/report/index.html", "w", 0)),
        ("open", (f"{tmp_path}/spec.yaml", "r", 0)),
        ("open", (f"{results}/../escape", "w", 0)),
        ("os.mkdir", (f"{results}-too", 0o777, -1)),
        ("sqlite3.connect", (f"{tmp_path}/mlflow.db",)),
        ("os.system", ("touch escape",)),
    ):
        fuzz.heed(event, arguments, results, outside, ran)
    assert outside == [
        f"open {tmp_path}/escape",
        f"os.mkdir {results}-too",
        f"sqlite3.connect {tmp_path}/mlflow.db",
    ]
    assert len(ran) == 1
