import numpy as np
import pytest

from trials import images, samples
from trials.config import Data
from trials.progress import Report
from trials.sets import EvaluationImage


def plain(level, height=30, width=40):
    return np.full((height, width, 3), level, np.uint8)


def member(name, normal=None, **size):
    return EvaluationImage("s", name, name, plain(10, **size), normal)


def cell(sheet, column, top):
    """The level in the middle of a cell of 40 x 30 that begins at row `top`."""
    return int(sheet[top + 15, column * (samples.CELL_PX + samples.GAP_PX) + 20, 0])


def test_a_row_shows_input_output_and_reference():
    shown = [member("a", plain(200)), member("b")]
    sheet = samples.sheet(shown, [plain(100), plain(110)])
    first, second = samples.HEAD_PX, samples.HEAD_PX + 30 + samples.GAP_PX
    assert [cell(sheet, column, first) for column in range(3)] == [10, 100, 200]
    assert [cell(sheet, column, second) for column in range(3)] == [10, 110, 255]  # no reference: white


def test_without_any_reference_there_is_no_third_column():
    sheet = samples.sheet([member("a")], [plain(100)])
    assert sheet.shape[1] == 2 * samples.CELL_PX + samples.GAP_PX


def test_large_pictures_are_scaled_down():
    sheet = samples.sheet([member("a", height=300, width=960)], [plain(100, 300, 960)])
    assert sheet.shape == (samples.HEAD_PX + 100, 2 * samples.CELL_PX + samples.GAP_PX, 3)


def test_images_are_chosen_from_every_set_in_turn(tmp_path):
    for name, count in (("a", 5), ("b", 1), ("c", 1)):
        for number in range(count):
            images.write(tmp_path / name / f"{number}.png", plain(number, 16, 16))
    sets = {name: {"low": tmp_path / name} for name in "abc"}
    data = Data(source="folders", low=tmp_path / "a", normal=tmp_path / "a", evaluate=sets)
    assert [(one.set, one.name) for one in samples.chosen(data)] == [("a", "0"), ("b", "0"), ("c", "0"), ("a", "1")]
    assert [one.name for one in samples.chosen(Data())] == ["chelsea", "china"]


def test_a_report_without_checkpoint_has_no_samples(tmp_path):
    with pytest.raises(ValueError, match="report has none"):
        samples.write(tmp_path, Report(1, {}), [])
