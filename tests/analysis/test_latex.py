import re
import shutil
import subprocess

import pytest

from analysis.cost import cost_table
from analysis.cost_shown import cost_part
from analysis.latex import cost_tex, escape, outlook_tex, table, variants_tex, verdicts_tex
from analysis.ledger import open_ledger
from analysis.outlook_shown import outlook_of
from analysis.tables import read, tables
from tests.analysis.costs import add_costs
from tests.analysis.synthetic import Variant

HOSTILE = (
    r"a\b{c}$d$ & #1 %x _y^z ~ <t> |u| ``q'' [1] * -- ä ß é 夜 " + "\u2212\u00b1\u202e\x07\n\\\\ \\input{/etc/passwd}"
)


def files(folder):
    with open_ledger(folder) as ledger:
        readings = read(ledger, "fixed")
    found = tables(readings)
    cost = cost_part(readings, cost_table(readings, found))
    ahead = outlook_of(readings, found)[1]
    return (
        variants_tex(readings, found),
        verdicts_tex(readings, found),
        cost_tex(readings, cost),
        outlook_tex(readings, ahead),
    )


@pytest.fixture
def study(make_study):
    def make(**plan):
        folder = make_study(**{"seeds": range(1, 5), "pictures": False, **plan})
        return add_costs(
            folder, lambda variant, seed: (8.0 + (variant == "baseline"), 20 + seed, 600.0), lock={"sha256": "ab" * 32}
        )

    return make


def compiled(folder, *texts):
    """Compile these files with pdflatex in an article that needs booktabs alone, and return the log."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not here: apt-get install texlive-latex-base texlive-latex-recommended")
    for number, text in enumerate(texts):
        (folder / f"part{number}.tex").write_text(text)
    body = "\n".join(rf"\input{{part{number}}}" for number in range(len(texts)))
    (folder / "paper.tex").write_text(
        "\\documentclass{article}\n\\usepackage[margin=1in]{geometry}\\usepackage{booktabs}\n"
        f"\\begin{{document}}\n{body}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    assert (folder / "paper.pdf").stat().st_size > 10_000
    return (folder / "paper.log").read_text(errors="replace")


def test_the_tables_compile_and_fit_on_a_page(study, tmp_path):
    log = compiled(tmp_path, *files(study(model=True)))
    assert "Overfull" not in log
    assert "undefined" not in log


def test_hostile_names_compile_and_do_nothing(make_study, tmp_path):
    variants = (
        Variant("baseline"),
        Variant("no_x", (-1, 0, 0, 0), HOSTILE, "baseline"),
        Variant("[*]", (0, 0, 0, 0), None, "baseline"),
    )
    texts = files(
        make_study(seeds=(1, 2, 3), variants=variants, images={"[LOL] & 夜": {"a": "a", "b": "b"}}, pictures=False)
    )
    assert r"\input" not in "".join(texts)
    assert all(text.isascii() for text in texts)
    compiled(tmp_path, *texts)


def test_an_empty_study_has_tables_that_compile(study, make_study, tmp_path):
    ends = {(name, seed): ("PLANNED", None, None) for name in ("baseline", "no_attention") for seed in (1, 2)}
    variants = (Variant("baseline"), Variant("no_attention", component="attention", compared_to="baseline"))
    texts = files(make_study("empty", seeds=(1, 2), variants=variants, ends=ends, pictures=False))
    assert r"No verdict on attention: no completed trial of no\_attention" in texts[1]
    assert not re.search(r"\bnan\b", "".join(texts), flags=re.IGNORECASE)
    alone = files(make_study("alone", variants=(Variant("baseline"),), pictures=False))
    assert "declares no comparison" in alone[1]
    compiled(tmp_path, *texts, *alone)


def test_every_special_character_is_set_as_it_is():
    assert escape("a_b & 50 %") == r"a\_b \& 50 \%"
    assert escape("\u22121.5 \u00b1 0.2") == r"$-$1.5 $\pm$ 0.2"
    assert escape("\\") == r"\textbackslash{}"
    assert escape("--") == "{-}{-}"
    assert escape("\u591c\u00e9") == r"U+591C\'e"
    assert escape("a\nb") == "a b"


def test_a_row_that_begins_with_a_bracket_or_a_star_is_no_argument_of_the_line_before():
    text = table(["h"], [["x"], ["[1cm]"], ["*"]], caption="c", label="l")
    assert not re.search(r"\\\\\s*[\[*]", text)


def test_verdicts_have_units_intervals_p_n_and_the_lock(study):
    text = files(study())[1]
    assert "Difference" in text
    assert "(dB)" in text
    assert re.search(
        r"attention & helps & \$-\$1\.\d\d \{\[\}\$-\$\d\.\d\d, \$-\$\d\.\d\d\{\]\} & [^&]+ & \$-\$\d+\.\d & 4 & 2 \\",
        text,
    )
    assert f"Plan locked at the first trial: SHA-256 {'ab' * 32}." in text
    assert "A difference of less than 0.5 dB does not matter." in text


def test_variants_have_means_spread_units_and_n_and_a_rule_before_what_was_not_trained(study):
    text = files(study())[0]
    assert "mean over 2 images $\\pm$ standard deviation over seeds" in text
    assert re.search(r"full model & 4 of 4 & 14\.\d\d \$\\pm\$ 0\.\d\d &", text)
    assert "without relativistic" in text.partition("\\midrule\ninput")[0]
    assert "\\midrule\ninput &  & " in text


def test_costs_say_below_the_table_why_nothing_is_divided(study):
    text = files(study())[2]
    assert text.count(r"\begin{table}") == 3
    assert r"--\textsuperscript{a}" in text
    assert "a: it buys nothing that matters." in text or "a: what it buys is undecided." in text
