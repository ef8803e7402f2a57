import json
import re
import shutil
import sqlite3
import subprocess

import pytest

from analysis.cost import cost_table
from analysis.cost_shown import cost_part
from analysis.factorial import full
from analysis.latex import cost_tex, escape, outlook_tex, table, variants_tex, verdicts_tex
from analysis.ledger import open_ledger
from analysis.outlook_shown import outlook_of
from analysis.report import write_report
from analysis.tables import read, tables
from tests.analysis.costs import add_costs
from tests.analysis.synthetic import Variant, designed

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
    """Compile these files with pdflatex in a plain article with the packages that they ask for, and return the log."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not here: apt-get install texlive-latex-base texlive-latex-recommended")
    for number, text in enumerate(texts):
        (folder / f"part{number}.tex").write_text(text)
    body = "\n".join(rf"\input{{part{number}}}" for number in range(len(texts)))
    (folder / "paper.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n"
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
    assert "No verdict on attention: no completed trial of" in texts[1]
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
    assert re.search(r"local sfp & equivalent & [^&]+ & [^&]+ \(equivalence\) &", text)
    assert "p (equivalence) is that of the two tests" in text


def test_variants_have_means_spread_units_and_n_and_a_rule_before_what_was_not_trained(study):
    text = files(study())[0]
    assert "mean over 2 images $\\pm$ standard deviation over seeds" in text
    assert re.search(r"full model & 4 of 4 & 14\.\d\d \$\\pm\$ 0\.\d\d &", text)
    assert "without relativistic" in text.partition("\\midrule\ninput")[0]
    assert "\\midrule\ninput &  & " in text


def test_below_the_verdicts_stands_what_limits_them(study):
    text = files(study(ends={("no_attention", 2): ("FAILED", "bug", "x")}))[1]
    assert "for trying, not for conclusions" in text
    assert "attention: Trials that broke down are left out; scored as the untouched input, they would" in text
    assert "Brightness{-}matched PSNR: not measured." in text
    assert "Error of the mean luminance: +6.00" in text
    said = "Difference: each variant less what it is compared with, so it is a loss where a component that is left out"
    assert f"{said} helps." in text
    assert "Exploratory" not in text


def test_a_verdict_off_the_locked_plan_has_its_sentence_below_the_table(study):
    folder = study()
    changed = json.dumps({"attention": ["the margin was changed"]})
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("INSERT INTO study VALUES ('exploratory', ?)", [changed])
    db.close()
    text = files(folder)[1]
    assert text.count("Exploratory: the plan was changed after the first trial (the margin was changed)") == 1
    assert re.search(r"attention & helps, exploratory & .* \(exploratory\) &", text)


@pytest.mark.parametrize(("verdict", "biased"), [("helps", True), ("equivalent", False)])
def test_what_is_decided_early_is_said_to_be_biased_unless_it_is_equivalence(study, verdict, biased):
    folder = study(seeds=(1, 2, 3))
    with sqlite3.connect(folder / "ledger.db") as db:
        (resolved,) = db.execute("SELECT resolved FROM spec").fetchone()
        spec = {**json.loads(resolved), "seeds": {"start": 3, "max": 5, "looks": [3, 5]}}
        db.execute("UPDATE spec SET resolved = ?", [json.dumps(spec)])
        p = (0.0001, 1.0) if verdict == "helps" else (1.0, 0.0001)
        row = (3, "no_attention", 1.0, -1.5 if biased else 0.01, *p, verdict)
        db.execute("INSERT INTO look VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    db.close()
    text = files(folder)[1]
    assert "Decided: attention at 3 seeds." in text
    assert ("What is decided early is estimated too far from zero on average." in text) == biased


def test_every_table_has_a_label_of_its_own(make_study):
    sets = {name: {"a": "a", "b": "b"} for name in ("LOL_v1", "LOL v1", "verdicts", "outlook")}
    labels = re.findall(r"\\label\{([^}]*)\}", "".join(files(make_study(images=sets, pictures=False))))
    assert len(labels) == len(set(labels)) == 7


def test_what_is_not_known_of_a_variant_stands_below_the_outlook(study, tmp_path):
    ends = {("no_global_sfp", seed): ("FAILED", "bug", "x") for seed in range(1, 5)}
    texts = files(study(ends=ends))
    rows, _, notes = texts[3].partition(r"\bottomrule")
    assert "not known of" not in rows
    assert re.search(r"[a-z]: not known of global", notes)
    assert max(len(cell) for line in rows.splitlines() for cell in line.split(" & ")[1:]) < 60
    assert "Overfull" not in compiled(tmp_path, *texts)


def test_more_remarks_than_letters_have_marks_of_their_own(study):
    gone = [Variant(f"no_x{n}", component=f"x{n}", compared_to="baseline") for n in range(30)]
    ends = {(one.name, seed): ("FAILED", "bug", "x") for one in gone for seed in (1, 2, 3)}
    there = (Variant("baseline"), Variant("no_y", component="y", compared_to="baseline"))
    text = files(study(seeds=(1, 2, 3), variants=(*there, *gone), ends=ends))[3]
    marks = re.findall(r"\\textsuperscript\{([^}]*)\}", text)
    assert [marks[place] for place in (0, 25, 26, 29)] == ["a", "z", "aa", "ad"]
    assert all(f" {mark}: " in text for mark in marks)


def test_effects_and_searches_have_tables_that_compile(make_study, make_search, tmp_path):
    runs = designed(full(("a", "b")).runs, ("a", "b"), lambda run: 15 + len(run))
    crossed = make_study("crossed", variants=runs, design="factorial", components=("a", "b"), pictures=False)
    searched = make_search(name="searched")
    found = [write_report(folder).parent / "tables" for folder in (crossed, searched)]
    effects, search = (found[0] / "effects.tex").read_text(), (found[1] / "search.tex").read_text()
    assert re.search(r"a & \+1\.\d\d \{\[\}.*& helps", effects)
    assert "Main effect: what it changes" in effects
    assert all(word in search for word in ("what the search took", "promised and confirmed", "what tuning changes"))
    assert "For the settings found: each variant was searched once" in (found[1] / "verdicts.tex").read_text()
    assert not (found[0] / "search.tex").exists()
    assert not (found[1] / "effects.tex").exists()
    assert "Overfull" not in compiled(tmp_path, effects, search)


def test_costs_say_below_the_table_why_nothing_is_divided(study):
    text = files(study())[2]
    assert text.count(r"\begin{table}") == 3
    assert r"--\textsuperscript{a}" in text
    assert "a: it buys nothing that matters." in text or "a: what it buys is undecided." in text
