from pathlib import Path

import pytest

from platform.errors import SpecError
from platform.spec_file import read
from tests.platform.specs import study, written


def problems(tmp_path, text, *settings):
    with pytest.raises(SpecError) as caught:
        read(written(tmp_path, text), settings)
    return [str(problem) for problem in caught.value.problems]


def test_everything_has_a_default_but_the_studys_name(tmp_path):
    found = study(tmp_path, text="study: bare")
    assert found.config.steps == 6400  # the published setting
    assert found.spec.seed_list == [1, 2, 3]
    assert found.resolved()["train"]["local"]["patches"] == 6
    assert problems(tmp_path, "seeds: 3") == ["study: expected a value, got none"]


def test_all_problems_of_a_file_come_in_one_message_with_their_lines(tmp_path):
    text = (
        "study: a b\n"
        "sceds: 3\n"
        "train:\n"
        "  pairng: fixed\n"
        "  crop_px: 8\n"
        "  batch: few\n"
        "components:\n"
        "  attention: {generator.atention: none}\n"
        "  local: {loss.sfp_local: -1}\n"
        "analysis: {primary: eval/psnr, at: 99}\n"
    )
    assert problems(tmp_path, text) == [
        "line 1, study: expected a name of letters, digits, '.', '_' and '-' (at most 80), got \"a b\"",
        "line 2, sceds: unknown key; did you mean `seeds`?",
        "line 6, train.batch: expected a whole number, got \"few\"",
        "line 5, train.crop_px: expected greater than or equal to 16, got 8",
        "line 4, train.pairng: unknown key; did you mean `pairing`?",
        "line 10, analysis.primary: no such metric: eval/psnr; did you mean `eval/psnr_db` or "
        "`eval/ssim`?",
        "line 10, analysis.at: expected at most the 20 evaluations of a trial "
        "(train.steps 6400 / train.evaluate_every 320), got 99",
        "line 8, components.attention.generator.atention: no such setting of the trainer; did you mean "
        "`generator.attention` or `generator.attend.input`?",
        "line 9, components.local.loss.sfp_local: expected greater than or equal to 0, got -1",
    ]  # fmt: skip


def test_a_component_that_changes_nothing_is_refused(tmp_path):
    said = problems(tmp_path, "study: s\ncomponents:\n  same: {local.patches: 6}\n")
    what = "is the same as the full model: its settings change nothing; change or remove it"
    assert said == [f"line 3, components.same: `no_same` {what}"]


def test_a_component_that_is_inert_under_the_other_settings_changes_nothing(tmp_path):
    train = "{local: {discriminator: false}, loss: {sfp_local: 0}}"
    text = f"study: s\ntrain: {train}\ncomponents:\n  size: {{local.patch_px: 16}}\n"
    assert "is the same as the full model" in problems(tmp_path, text)[0]


def test_two_variants_that_are_the_same_are_refused_though_written_differently(tmp_path):
    text = "study: s\ncomponents:\n  a: {local.discriminator: false}\n  b: {loss.local_weight: 0}\n"
    said = problems(tmp_path, text)
    assert said[0].startswith("line 4, components.b: `no_b` is the same as `no_a`")


def test_a_component_value_out_of_range_names_the_component(tmp_path):
    said = problems(tmp_path, "study: s\ncomponents:\n  sfp: {loss.sfp_local: -1}\n  patch: {local.patch_px: 400}\n")
    assert said[0] == "line 3, components.sfp.loss.sfp_local: expected greater than or equal to 0, got -1"
    assert "local.patch_px must not exceed crop_px, but 400 > 320" in said[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\nb: 2", "line 2: this is not YAML"),
        ("study: a\nstudy: b", "found duplicate key"),
        ("- a", "line 1: expected `key: value` pairs, got a list"),
        ("", "line 1: expected `key: value` pairs, got nothing"),
        ("study: !!python/object/apply:os.getcwd []", "line 1: a spec holds plain values, but here is a tag (!!py"),
        ("study: s\ntrain: 3", "train: expected `key: value` pairs, got 3"),
        ("study: s\nseeds: 0", "expected a number of seeds from 1 to 10000, or a list of different seeds, got 0"),
        ("study: s\nseeds: [1, 1]", "or a list of different seeds, got [1, 1]"),
        ("study: s\ndesign: [a]", "expected leave-one-out, add-one-in, factorial, list, {fractional: III} (or IV, V)"),
        ("study: s\ndesign: {fractional: VI}", "expected leave-one-out"),
        ("study: s\ndesign: {orders: 19}", "{orders: N} (N from 20 to 100), got "),
        ("study: s\ndesign: {fractional: IV}", "a fractional factorial takes 3 to 8 components, got 0"),
        (
            "study: s\ndesign: factorial\ncomponents: {"
            + ", ".join(f"c{n}: {{batch: {n + 2}}}" for n in range(8))
            + "}",
            "a full factorial of 8 components has 256 variants, expected at most 200; use {fractional: V}",
        ),
        (
            "study: s\ndesign: factorial\ncomponents: {a: {batch: 2}, b: {batch: 3}}",
            "components.b.batch: expected one value, `a` sets it to 2, but the design takes both components out",
        ),
        ("study: s\ndesign: list", "design: list needs `variants`"),
        ("study: s\nanalysis: {primary: eval/luminance_error_levels}", "has no direction, so no verdict"),
        ("study: s\ndata: {source: folders}", "source: folders needs `low`"),
        ("study: s\ntrain: {steps: 100, evaluate_every: 50}", "expected at most the 2 evaluations of a trial"),
        (
            "study: s\ndata: {source: folders, low: a, normal: b, evaluate: {x: {low: c}}}",
            "eval/psnr_db needs references, but no set under data.evaluate has `normal`",
        ),
    ],
)  # fmt: skip
def test_each_mistake_is_named(tmp_path, text, said):
    assert any(said in problem for problem in problems(tmp_path, text))


def test_a_fault_does_not_hide_one_that_shows_when_it_is_gone(tmp_path):
    said = problems(tmp_path, "study: s\ndesign: list\nseeds: none\ntrain: {batch: x, local: {patch_px: 400}}\n")
    assert said[0].startswith("line 3, seeds: expected a number of seeds")
    assert said[1].startswith("line 4, train.batch: expected a whole number")


SHORT = """\
study: short
train:
  steps: 40
  evaluate_every: 20
  crop_px: 64
  generator: {width: 8}
  vgg: {weights: random}
  local: {patch_px: 32}
components: {attention: {generator.attention: none}, width: {generator.width: 32}}
seeds: 4
search:
  trials: 16
  objectives: {eval/psnr_db: max, eval/niqe: min}
  choose: {weights: {eval/psnr_db: 2, eval/niqe: 1}}
  space: {loss.sfp_local: {float: [0.1, 1]}}
  scheduler: {asha: {first_rung: 20}}
  seeds: 4
  total: {gpu_hours: 1}
confirm: {seeds: 2}
analysis: {at: last 2 evaluations}
resources: {gpu: 1}
data: {source: photos}
"""


@pytest.mark.parametrize(
    ("sound", "damaged", "path"),
    [
        ("seeds: 4\nsearch", "seeds: many\nsearch", "seeds"),
        ("seeds: 4\nsearch", "seeds: {start: 3, until: decided}\nsearch", "seeds.max"),
        ("seeds: 4\nsearch", "seed: 4\nsearch", "seed"),
        ("steps: 40", "steps: few", "train.steps"),
        ("evaluate_every: 20", "evaluate_evry: 20", "train.evaluate_evry"),
        ("weights: random", "weights: 3", "train.vgg.weights"),
        ("patch_px: 32", "patch_px: 400", "train"),
        ("{width: 8}", "{widht: 8}", "train.generator.widht"),
        ("train:", "trian:", "trian"),
        ("components: {", "design: list\ncomponents: {", "spec"),
        ("components:", "component:", "component"),
        ("search:", "serach:", "serach"),
        ("trials: 16", "trails: 16", "search.trails"),
        ("objectives:", "objectivs:", "search.objectivs"),
        ("space:", "spce:", "search.spce"),
        ("  seeds: 4", "  seeds: few", "search.seeds"),
        ("{seeds: 2}", "3", "confirm"),
        ("{at: last 2 evaluations}", "3", "analysis"),
        ("last 2 evaluations", "last few", "analysis.at"),
        ("{gpu: 1}", "{gpu: many}", "resources.gpu"),
    ],
)
def test_what_depends_on_a_value_that_could_not_be_read_is_not_blamed_too(tmp_path, sound, damaged, path):
    assert study(tmp_path, text=SHORT).spec.study == "short"
    assert SHORT.count(sound) == 1
    (problem,) = problems(tmp_path, SHORT.replace(sound, damaged))
    assert problem.split(": ")[0].rpartition(", ")[2] == path


def test_a_metric_is_not_missed_in_sets_that_could_not_be_read(tmp_path):
    data = "data: {source: folders, low: a, normal: b, evaluate: {x: {low: c}}}\n"
    text = f"study: s\n{data}analysis: {{primary: 3}}\n"
    assert not any("needs references" in problem for problem in problems(tmp_path, text))
    data = data.replace("{low: c}", "{low: c}, y: {normal: d}")
    said = problems(tmp_path, f"study: s\n{data}")
    assert said[0].endswith("data.evaluate.y.low: expected a value, got none")
    assert not any("needs references" in problem for problem in said)
    assert any("data.evaluate.x: " in problem for problem in said)  # what could be read is looked at


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(SpecError, match="there is no such file"):
        read(tmp_path / "none.yaml")


def test_settings_override_the_file_and_make_missing_sections(tmp_path):
    found = study(tmp_path, "seeds=[7, 9]", "train.loss.sfp_global=1e-3", "budget.hours=2")
    assert found.spec.seed_list == [7, 9]
    assert found.config.loss.sfp_global == 0.001  # YAML 1.1 would read a text
    assert found.spec.budget.hours == 2


def test_a_setting_reaches_into_a_component_whose_path_has_dots(tmp_path):
    found = study(tmp_path, "components.local_sfp.loss.sfp_local=0.5")
    assert found.spec.components["local_sfp"] == {"loss.sfp_local": 0.5}


@pytest.mark.parametrize("setting", ["seeds", "=3", "seeds=[1", "study.name=3"])
def test_a_setting_that_cannot_be_applied_is_named(tmp_path, setting):
    assert problems(tmp_path, "study: s\n", setting)[0].startswith(f"--set {setting}: ")


def test_folders_in_the_file_are_relative_to_it_and_in_settings_to_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = "study: s\ndata: {source: folders, low: low, normal: normal, evaluate: {x: {low: e, normal: f}}}\n"
    found = study(tmp_path, "data.low=mine", text=text)
    assert found.data.low == tmp_path / "elsewhere" / "mine"
    assert found.data.normal == tmp_path / "normal"
    assert found.data.evaluate["x"].low == tmp_path / "e"


def test_a_score_may_be_written_in_words(tmp_path):
    assert study(tmp_path, "analysis.at=last 3 evaluations").spec.analysis.at == 3
    assert study(tmp_path, "analysis.at=last evaluation").spec.analysis.at == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("study: mlflow.db", "the results folder holds MLflow's own mlflow.db; choose another name"),
        ("study: mlflow.db-wal", "the results folder holds MLflow's own mlflow.db-wal; choose another name"),
        (
            "study: s\ndesign: list\nvariants: {baseline: {batch: 2}}",
            "the name `baseline` is taken by the design itself",
        ),
        ("study: s\ntrain: {steps: true}", "train.steps: expected a whole number, got true"),
        ("study: s\ntrain: {batch: '4'}", 'train.batch: expected a whole number, got "4"'),
        (
            "study: s\ndata: {source: folders, low: a}",
            "needs `normal`, a folder of normal-light images, and `evaluate`",
        ),
    ],
)
def test_each_further_mistake_is_named(tmp_path, text, said):
    assert any(said in problem for problem in problems(tmp_path, text))


def test_what_is_wrong_with_the_images_comes_in_the_same_message(tmp_path):
    data = "{source: folders, low: none, normal: none, evaluate: {x: {low: none, normal: none}}}"
    said = problems(tmp_path, f"study: s\nseeds: x\ndata: {data}\n")
    assert "seeds: expected a number of seeds" in said[0]
    assert f"data.low: {tmp_path / 'none'}: expected a folder of images, but it does not exist" in said


def test_a_set_without_references_may_be_written_as_its_folder(tmp_path):
    text = "study: s\nanalysis: {primary: eval/niqe}\ndata: {source: folders, low: a, normal: b, evaluate: {DICM: c}}\n"
    wanted = study(tmp_path, text=text).data.evaluate["DICM"]
    assert (wanted.low, wanted.normal) == (tmp_path / "c", None)


def test_a_section_left_empty_is_one_left_out(tmp_path):
    assert study(tmp_path, text="study: s\ncomponents:\ntrain:\n").spec.components == {}


def test_files_of_weights_are_relative_to_the_file_and_in_settings_to_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a.pth").write_bytes(b"a")
    (tmp_path / "elsewhere" / "b.pth").write_bytes(b"b")
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = study(tmp_path, "reference.mine_1.2=b.pth", text="study: s\nreference: {official: a.pth}\n")
    assert found.spec.reference == {
        "official": str(tmp_path / "a.pth"), "mine_1.2": str(tmp_path / "elsewhere" / "b.pth"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "study: s\nreference: {official: none.pth}\n",
            "line 2, reference.official: expected a file of weights, but there is no file ",
        ),
        (
            "study: s\nreference: {gain: spec.yaml}\n",
            "line 2, reference: the name `gain` is taken: input, gain, gamma,",
        ),
        (
            "study: s\nreference: {confirm: spec.yaml}\n",
            "line 2, reference: the name `confirm` is taken by the folder of pictures to confirm; choose another",
        ),
        ("study: s\nreference: {baseline: spec.yaml}\n", "reference.baseline: the name `baseline` is a variant's"),
        ("study: s\nreference: {a/b: spec.yaml}\n", "expected a name of letters, digits"),
        ("study: s\nreference: {a: 3}\n", "reference.a: expected a text, got 3"),
        ("study: s\nreference: {a: .}\n", "expected a file of weights, but there is no file "),
        (
            "study: s\nanalysis: {primary: health/gradient_spikes}\n",
            "line 2, analysis.primary: health/gradient_spikes has one value for a whole trial, but verdicts compare ",
        ),
        (
            "study: s\nanalysis: {matters: {health/duality_gap: 0.1}}\n",
            "line 2, analysis.matters.health/duality_gap: health/duality_gap has one value for a whole trial",
        ),
    ],
)
def test_a_wrong_reference_or_a_verdict_on_what_images_do_not_have_is_named(tmp_path, text, said):
    assert any(said in problem for problem in problems(tmp_path, text))
    assert len(problems(tmp_path, text)) == 1


def test_files_in_the_trainers_settings_lie_beside_the_spec_and_those_of_set_in_the_working_directory(tmp_path):
    text = (
        "study: s\ntrain: {init: G.pth, vgg: {weights: vgg.pth}}\n"
        "components: {start: {init: other.pth}, features: {vgg.weights: random}}\n"
    )
    made = study(tmp_path, text=text)
    assert made.config.init == str(tmp_path / "G.pth")
    assert made.config.vgg.weights == str(tmp_path / "vgg.pth")
    assert made.spec.components["start"] == {"init": str(tmp_path / "other.pth")}
    assert made.spec.components["features"] == {"vgg.weights": "random"}
    assert study(tmp_path, "train.init=mine.pth", text=text).config.init == str(Path.cwd() / "mine.pth")


def test_a_file_names_servers_alone_and_the_command_line_any_store(tmp_path):
    text = "study: s\ntracking: {uri: 'sqlite:////tmp/elsewhere.db'}\n"
    said = problems(tmp_path, text)
    assert said[0].startswith("line 2, tracking.uri: expected the address of a server, such as http://127.0.0.1:5000")
    assert study(tmp_path, text="study: s\ntracking: {uri: 'http://h:1'}\n").spec.tracking.uri == "http://h:1"
    assert study(tmp_path, "tracking.uri=sqlite:////tmp/x.db").spec.tracking.uri == "sqlite:////tmp/x.db"


def test_more_trials_than_a_ledger_is_made_for_are_refused(tmp_path):
    components = ", ".join(f"c{n}: {{loss.identity: {n + 1}}}" for n in range(10))
    said = problems(tmp_path, f"study: s\ncomponents: {{{components}}}\nseeds: 10000\n")
    assert said == ["line 3, seeds: expected at most 100000 trials, got 11 variants x 10000 seeds"]
    search = "search: {trials: 2, space: {loss.identity: {float: [1, 2]}}, repeats: 1000}\nconfirm: {seeds: 101}\n"
    said = problems(tmp_path, f"study: s\n{search}")
    assert said == [
        "line 3, confirm.seeds: expected at most 100000 trials to confirm, got 1 variants x 1000 repeats x 101 seeds"
    ]
    said = problems(tmp_path, f"study: s\nseeds: [{', '.join(map(str, range(10_001)))}]\n")
    assert said == ["line 2, seeds: expected at most 10000 seeds, got a list of 10001"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("a\x1b[31m=1", "--set: expected path=value, but here is the character U+001B"),
        ("\udcff=1", "--set: expected path=value, but here is the character U+DCFF"),
        (f"data.{'a.' * 3000}a=1", "--set: expected at most 30 parts between dots, got 3002"),
        ("data=\x1b[31m", "--set data=...: the value is not YAML: unacceptable character #x001b"),
    ],
)
def test_a_setting_that_cannot_be_shown_is_not_shown(tmp_path, setting, said):
    assert problems(tmp_path, "study: s\n", setting)[0].startswith(said)


def test_the_name_of_a_file_that_is_too_long_is_no_file(tmp_path):
    assert "expected a file of weights" in problems(tmp_path, f"study: s\nreference: {{a: {'x' * 300}}}\n")[0]
