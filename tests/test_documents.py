"""What README and ARCHITECTURE say exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md"])
def test_every_file_and_make_target_that_a_document_names_exists(document):
    text = (ROOT / document).read_text()
    named = set(re.findall(r"\b((?:platform|trials|analysis|tests|benchmarks)/[\w/]+\.(?:py|html))\b", text))
    targets = set(re.findall(r"\bmake ([a-z-]+)\b", text)) - {"are", "is"}
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets <= known


def test_the_settings_that_the_readme_names_are_real(tmp_path):
    from platform.spec_file import read

    block = re.search(r"    components:\n(?:      .*\n)+", (ROOT / "README.md").read_text())
    assert block is not None
    (tmp_path / "spec.yaml").write_text("study: readme\n" + re.sub(r"(?m)^    ", "", block[0]))
    assert set(read(tmp_path / "spec.yaml").spec.components) == {"attention", "local_sfp"}


def test_the_demo_is_what_the_readme_says(tmp_path):
    from platform.design import variants
    from platform.spec_file import read

    study = read(ROOT / "ablation.yaml")
    assert len(variants(study.spec)) == 6
    assert study.spec.seed_list == [1, 2, 3]
    assert {"attention", "local_discriminator", "local_sfp", "global_sfp", "relativistic"} == set(study.spec.components)


def test_the_report_has_a_word_on_every_defect_that_the_trainer_measures_and_a_picture_of_its_networks():
    from analysis import page, wording
    from trials.trainer import METRICS

    measured = {metric.about for metric in METRICS} - {"quality", "cost"}
    assert measured == set(wording.DEFECTS)
    for prefix, _, _ in page.DYNAMICS:
        drawn = [metric for metric in METRICS if metric.key.startswith(prefix)]
        assert drawn
        assert not any(metric.per_image for metric in drawn)
