"""The notebooks in `studies/`: their cells are run, on a made-up study."""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from analysis.report import write_report
from tests.analysis.synthetic import Plan, write_study

NOTEBOOK = Path(__file__).parents[1] / "studies" / "figure.ipynb"


@pytest.fixture
def code():
    """Return the code of the notebook's cells, checked to be what Jupyter opens."""
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert all({"id", "cell_type", "metadata", "source"} <= cell.keys() for cell in notebook["cells"])
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    return "\n".join("".join(cell["source"]) for cell in cells)


def test_the_notebook_draws_the_reports_intervals_in_ten_lines(code, tmp_path, monkeypatch):
    mpl.use("Agg")
    folder = write_study(tmp_path / "results" / "components", Plan(pictures=False, seeds=(1, 2, 3, 4)))
    (tmp_path / "studies").mkdir()
    monkeypatch.chdir(tmp_path / "studies")
    monkeypatch.setattr("sys.path", [str(NOTEBOOK.parents[1])])
    assert len([line for line in code.splitlines() if line]) == 10
    space = {}
    exec(code, space)  # as Jupyter does
    (axes,) = space["plt"].gcf().axes
    drawn = axes.containers[0]
    middles, ends = drawn.lines[0].get_xdata(), [line[:, 0] for line in drawn.lines[2][0].get_segments()]
    names = [label.get_text() for label in axes.get_yticklabels()]
    space["plt"].close("all")
    write_report(folder)
    table = pd.read_csv(folder / "report" / "verdicts.csv", keep_default_na=False).query("role == 'primary'")
    np.testing.assert_allclose(np.asarray(middles, dtype=float), table["difference"].astype(float))
    np.testing.assert_allclose(ends, table[["low", "high"]].astype(float))
    assert names == [f"{row.variant}: {row.verdict}" for row in table.itertuples()]
    assert (folder / "figure.svg").read_text().startswith("<?xml")
