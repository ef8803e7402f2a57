import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trials import official
from trials import enhance as module
from trials import images, photos
from trials.enhance import enhance, enhance_in_memory
from trials.progress import DataError, DivergedError


def adding(value, **settings):
    """A generator that adds `value` to an image in [-1, 1]."""
    generator = official.generator(width=1, attention="none", **settings)
    with torch.no_grad():
        generator["conv10"].weight.zero_()
        generator["conv10"].bias.fill_(value)
    return generator


def pixels(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(21, 30), (1, 1), (5, 40), (16, 3)])
@pytest.mark.parametrize("tile_px", [None, 64])
def test_an_image_to_which_nothing_is_added_comes_back_unchanged(size, tile_px):
    image = pixels(*size)
    assert (enhance(adding(0.0), image, tile_px=tile_px) == image).all()


@pytest.mark.parametrize(("levels", "added"), [(0.6, 1), (0.4, 0), (-0.6, -1), (30, 30)])
def test_the_output_is_rounded_to_the_nearest_level_and_clipped(levels, added):
    image = pixels(16, 16)
    expected = np.clip(image.astype(int) + added, 0, 255)
    assert (enhance(adding(levels / 127.5), image) == expected).all()


@pytest.mark.parametrize(("value", "level"), [(5.0, 255), (-5.0, 0)])
@pytest.mark.parametrize("official_way", [True, False])
def test_values_beyond_the_range_are_clamped_not_wrapped(value, level, official_way):
    assert (enhance(adding(value), pixels(16, 16), official=official_way) == level).all()


@pytest.mark.parametrize("mode", [True, False])
def test_running_statistics_are_used_and_the_generator_is_left_as_it_was(mode):
    torch.manual_seed(0)
    generator = official.generator(width=2).train(mode)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    state = torch.get_rng_state()
    enhance(generator, pixels(20, 20))
    assert generator.training is mode
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    generator.eval()
    with torch.no_grad():
        image = torch.from_numpy(pixels(32, 32)).permute(2, 0, 1)[None] / 127.5 - 1
        expected = ((generator(image).clamp(-1, 1) + 1) * 127.5).round()
    found = torch.from_numpy(enhance(generator.train(mode), pixels(32, 32))).permute(2, 0, 1)
    assert (found - expected[0]).abs().max() <= 1


def test_an_output_that_is_not_finite_is_a_divergence_and_the_mode_is_restored():
    generator = adding(float("nan")).train()
    with pytest.raises(DivergedError, match="output is not finite"):
        enhance(generator, pixels(16, 16))
    assert generator.training


def test_the_official_way_cuts_decimals_off():
    image = pixels(16, 16)
    # As the official code computes it, written down in numpy: ToTensor, Normalize(0.5, 0.5), tensor2im.
    x = ((image.astype(np.float32) / np.float32(255)) - np.float32(0.5)) / np.float32(0.5) + np.float32(0.35)
    expected = np.clip((x + 1) / 2 * 255, 0, 255).astype(np.uint8)
    assert (enhance(adding(0.35), image, official=True) == expected).all()
    rounded = enhance(adding(0.35), image).astype(int)
    assert set((rounded - expected)[rounded < 255].tolist()) == {1}  # 44.6 levels are 45 here, 44 there


def test_the_official_way_halves_wide_pictures_and_loses_a_pixel_of_an_odd_size():
    image = np.repeat(np.repeat(pixels(17, 1101), 2, axis=0), 2, axis=1)[:33, :2201]
    found = enhance(adding(0.0), image, official=True)
    assert found.shape == (32, 2200, 3)
    # Doubling with aligned corners keeps the four corners; halving is the mean of 2 x 2.
    corner = image[:2, :2].astype(float).mean(axis=(0, 1))
    assert np.abs(found[0, 0] - corner).max() <= 1
    cut_off = official_doubled(image[:32, :2200]) - found
    assert -0.05 < cut_off.min() < cut_off.max() < 1.05
    assert enhance(adding(0.0), image[:, :2200], official=True).shape == (33, 2200, 3)
    assert enhance(adding(0.0), np.ascontiguousarray(image.transpose(1, 0, 2)), official=True).shape == (2201, 33, 3)


def official_doubled(image):
    """Halve by means of 2 x 2, then double: sample i of n pixels lies at i (n - 1) / (2 n - 1). In numpy, float64."""
    halved = image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2, 3).astype(float).mean(axis=(1, 3))
    for axis in (0, 1):
        count = halved.shape[axis]
        places = np.arange(2 * count) * (count - 1) / (2 * count - 1)
        low = np.minimum(places.astype(int), count - 2)
        weight = (places - low).reshape([-1 if dim == axis else 1 for dim in range(3)])
        halved = np.take(halved, low, axis) * (1 - weight) + np.take(halved, low + 1, axis) * weight
    return halved


@pytest.mark.parametrize("official_way", [True, False])
def test_tiles_make_the_same_picture(official_way):
    generator, image = official.filled(official.generator(width=4)), photos.darkened("coffee")
    whole, tiled = (enhance(generator, image, tile_px=side, official=official_way).astype(int) for side in (None, 128))
    assert np.abs(whole - tiled).max() <= 1
    assert (whole != tiled).mean() < 1e-3


def test_tiles_are_used_when_memory_is_short_and_that_is_said(monkeypatch):
    generator, image, said = official.filled(official.generator(width=2)), pixels(100, 120), []
    whole = enhance_in_memory(generator, image, say=said.append)
    assert said == []
    monkeypatch.setattr(module.tiles, "affordable_px", lambda generator, device: 100 * 119)
    tiled = enhance_in_memory(generator, image, say=said.append)
    assert said == ["120 x 100 px at once would need more memory than is free: tiles of 64 px"]
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def real_lack():
    try:
        return torch.empty(1 << 50)
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        pytest.param(real_lack(), id="of torch on the CPU"),
    ],
)
def test_running_out_of_memory_makes_tiles_half_as_large_until_it_suffices(monkeypatch, error):
    asked, output = [], enhance

    def scarce(generator, image, *, tile_px, **options):
        asked.append(tile_px)
        if tile_px is None or tile_px > 80:
            raise error
        return output(generator, image, tile_px=tile_px, **options)

    monkeypatch.setattr(module, "enhance", scarce)
    image = pixels(40, 300)
    assert (enhance_in_memory(adding(0.0), image) == image).all()
    assert asked == [None, 150, 75]
    monkeypatch.setattr(module, "enhance", lambda *args, **options: (_ for _ in ()).throw(error))
    with pytest.raises(DataError, match="not enough memory, even for small tiles"):
        enhance_in_memory(adding(0.0), image)


def test_other_errors_of_torch_are_not_taken_for_a_lack_of_memory(monkeypatch):
    monkeypatch.setattr(module, "enhance", lambda *args, **options: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        enhance_in_memory(adding(0.0), pixels(20, 20))


@pytest.fixture
def folder(tmp_path):
    """Weights that add 10 levels, and a folder of two pictures; the working directory."""
    torch.save(adding(10 / 127.5).state_dict(), tmp_path / "w.pth")
    images.write(tmp_path / "in" / "a.png", pixels(20, 30))
    Image.fromarray(pixels(24, 24, 1)).save(tmp_path / "in" / "b.bmp")
    return tmp_path


def run(folder, capsys, *arguments):
    """Run the command in the folder; return its status and what it said."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        status = module.main(list(arguments))
    except SystemExit as error:
        status = error.code
    finally:
        os.chdir(before)
    told = capsys.readouterr()
    return status, told.out + told.err


def test_the_command_enhances_folders_and_files(folder):
    images.write(folder / "c.png", pixels(16, 16, 2))
    command = [sys.executable, "-m", "trials.enhance", "w.pth", "in", "c.png", "--out", "out", "--compare"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("3 of 3 pictures enhanced in ")
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.png", "b.png", "c.png", "compare"]
    for name, before in (("a", pixels(20, 30)), ("b", pixels(24, 24, 1)), ("c", pixels(16, 16, 2))):
        expected = np.clip(before.astype(int) + 10, 0, 255)
        assert (images.read(folder / "out" / f"{name}.png") == expected).all()
        assert (images.read(folder / "out" / "compare" / f"{name}.png") == np.hstack([before, expected])).all()


def test_results_that_exist_are_kept_unless_asked_otherwise(folder, capsys):
    images.write(folder / "out" / "a.png", pixels(16, 16, 9))
    status, said = run(folder, capsys, "w.pth", "in", "--out", "out")
    assert (status, (folder / "out" / "b.png").exists()) == (2, False)
    assert "out/a.png exists already: --force overwrites, --skip-existing leaves out what is done" in said
    status, said = run(folder, capsys, "w.pth", "in", "--out", "out", "--skip-existing")
    assert (status, "1 of 1 pictures" in said) == (0, True)
    assert images.read(folder / "out" / "a.png").shape == (16, 16, 3)
    assert run(folder, capsys, "w.pth", "in", "--out", "out", "--force")[0] == 0
    assert images.read(folder / "out" / "a.png").shape == (20, 30, 3)


@pytest.mark.parametrize("option", [[], ["--force"], ["--skip-existing"]])
def test_a_picture_given_is_never_overwritten(folder, capsys, option):
    status, said = run(folder, capsys, "w.pth", "in", "--out", "in", *option)
    assert (status, "in/a.png: a picture given would be overwritten" in said) == (2, True)
    assert (images.read(folder / "in" / "a.png") == pixels(20, 30)).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["w.pth", "in", "in/../other/a.png", "--out", "out"],
            r"in/a\.png, .*other/a\.png would all become out/a\.png",
        ),
        (["w.pth", "none", "--out", "out"], "none: expected a picture or a folder of pictures, but it does not exist"),
        (["w.pth", "empty", "--out", "out"], "empty: expected image files"),
        (["none.pth", "in", "--out", "out"], r"none\.pth: there is no such file of weights"),
        (["in/a.png", "in", "--out", "out"], r"in/a\.png: the file is no weights of torch, or damaged"),
        (["w.pth", "in", "--out", "w.pth"], r"--out w\.pth: expected a folder, but it is a file"),
        (["w.pth", "in", "--out", "out", "--device", "tpu9"], "--device tpu9: expected cpu, cuda or cuda:N"),
        (["w.pth", "in", "--out", "out", "--tile", "8"], "expected 0, or 64 pixels or more, got '8'"),
        (["turned.pth", "in", "--out", "out", "--tile", "64"], "attention turned looks at the whole picture"),
        (["w.pth", "--out", "out"], "required: IMAGE"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_before_anything_is_written(folder, capsys, arguments, said):
    images.write(folder / "other" / "a.png", pixels(16, 16))
    (folder / "empty").mkdir()
    turned = official.generator(width=1, attention="turned")
    torch.save(turned.state_dict(), folder / "turned.pth")
    (folder / "turned.json").write_text(turned.settings.model_dump_json())
    status, told = run(folder, capsys, *arguments)
    assert status == 2
    assert re.search(said, " ".join(told.split()))
    assert not (folder / "out").exists()


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_enhanced(folder, capsys):
    (folder / "in" / "aa.png").write_bytes(b"no picture")
    status, said = run(folder, capsys, "w.pth", "in", "--out", "out")
    assert status == 1
    assert "in/aa.png: not an image, or damaged" in said
    assert "2 of 3 pictures enhanced" in said
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.png", "b.png"]


def test_weights_that_give_no_numbers_fail_each_picture_by_name(folder, capsys):
    torch.save(adding(float("nan")).state_dict(), folder / "w.pth")
    status, said = run(folder, capsys, "w.pth", "in", "--out", "out")
    assert (status, "in/a.png: the generator's output is not finite" in said) == (1, True)


def test_an_interruption_says_how_far_it_came(folder, capsys, monkeypatch):
    read = images.read

    def interrupted(path):
        if path.name == "b.bmp":
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(images, "read", interrupted)
    status, said = run(folder, capsys, "w.pth", "in", "--out", "out")
    assert (status, "interrupted: 1 of 2 pictures are done; --skip-existing goes on" in said) == (130, True)
    assert [path.name for path in (folder / "out").iterdir()] == ["a.png"]
