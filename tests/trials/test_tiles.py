import pytest
import torch
from torch.nn import functional

from tests.trials import official
from trials import tiles
from trials.progress import DataError


@torch.no_grad()
def difference(generator, image, tile_px):
    """The largest difference between the whole pass and tiles, in [-1, 1]; a grey level is 2 / 255."""
    return float((generator(image) - tiles.enhanced(generator, image, tile_px)).abs().max())


def filled(**settings):
    return official.filled(official.generator(**settings)).eval()


def test_four_levels_need_128_px_around_a_tile():
    # Spoiled on the way down: 1, 2, 2, 2, then 4; on the way up 2 x 4 + 4 = 12, 28, 60, 124.
    assert tiles.margin_px(4) == 128
    assert tiles.margin_px(1) == 2 * 4 + 2  # 1, then 3; 2 x 3 + 4


@pytest.mark.parametrize(("size", "tile_px"), [((500, 741), 200), ((301, 330), 64), ((90, 700), 96)])
def test_tiles_give_the_pixels_of_the_whole(size, tile_px):
    assert difference(filled(width=8), official.image(1, *size), tile_px) < 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        {"upsampling": "bilinear"}, {"upsampling": "nearest"}, {"upsampling": "transposed"}, {"pool": "average"},
        {"norm": "none"}, {"attention": "none"}, {"attention": "constant"}, {"skips": False}, {"depth": 2},
        {"depth": 5}, {"output": "tanh"}, {"input_weight": 0.5}, {"attend": {"skips": False, "residual": False}},
    ],
)  # fmt: skip
def test_tiles_give_the_pixels_of_the_whole_for_every_kind_of_generator(settings):
    assert difference(filled(width=2, **settings), official.image(1, 64, 770), 128) < 1e-4


@pytest.mark.parametrize("setting", [{"norm": "instance"}, {"attention": "turned"}])
def test_a_generator_that_looks_at_the_whole_is_refused(setting):
    generator, image = filled(width=2, **setting), official.image(1, 64, 770)
    with pytest.raises(DataError, match="looks at the whole picture"):
        tiles.enhanced(generator, image, 128)


def test_a_narrower_margin_would_be_seen(monkeypatch):
    generator, image = filled(width=8), official.image(1, 64, 770)
    monkeypatch.setattr(tiles, "margin_px", lambda depth: 112)
    assert difference(generator, image, 64) > 1e-4


def test_upsampling_each_tile_for_itself_would_be_seen(monkeypatch):
    generator, image = filled(width=8), official.image(1, 64, 770)
    monkeypatch.setattr(
        tiles._Placed, "__torch_function__", lambda self, f, types, args=(), kw=None: f(*args, **kw or {})
    )
    assert difference(generator, image, 128) > 5 * 2 / 255


def test_a_part_is_doubled_as_the_whole_is():
    whole = official.image(1, 40, 56)
    doubled = functional.interpolate(whole, scale_factor=2, mode="bilinear", align_corners=True)
    with tiles._Placed(tiles.Box(16, 8, 32, 40), 40, 56):
        part = functional.interpolate(whole[..., 16:32, 8:40], scale_factor=2, mode="bilinear", align_corners=True)
    # Its first and last samples lie between a pixel of the part and one outside.
    assert torch.allclose(part[..., 1:-1, 1:-1], doubled[..., 33:63, 17:79], atol=5e-5)


def test_an_image_is_computed_once_and_progress_ends_at_one():
    told = []
    output = tiles.enhanced(filled(width=1), official.image(1, 100, 150), 64, done=told.append)
    assert output.shape == (1, 3, 100, 150)
    assert told == pytest.approx([number / 6 for number in range(1, 7)])  # 112 x 160 in tiles of 64: 2 x 3


def test_what_is_computed_at_once_does_not_grow_with_the_image():
    sizes, generator = [], filled(width=1)
    generator.register_forward_pre_hook(lambda module, inputs: sizes.append(tuple(inputs[0].shape[2:])))
    tiles.enhanced(generator, official.image(1, 400, 600), 64)
    assert max(sizes) == (64 + 2 * 128, 64 + 2 * 128)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (7, 5), (16, 16), (17, 31)])
def test_padding_is_the_generators_own_for_sizes_that_it_takes_and_exists_for_all(size):
    image = official.image(1, *size)
    padded, inner = tiles.padded(image, 16)
    assert padded.shape[2] % 16 == padded.shape[3] % 16 == 0
    assert torch.equal(inner.of(padded), image)
    if size == (17, 31):
        assert torch.equal(padded, functional.pad(image, (0, 1, 7, 8), mode="reflect"))


def test_less_memory_affords_fewer_pixels(monkeypatch):
    monkeypatch.setattr(tiles, "_free_bytes", lambda: 1 << 30)
    narrow, wide = (tiles.affordable_px(filled(width=width), torch.device("cpu")) for width in (2, 8))
    assert narrow == pytest.approx(4 * wide, rel=0.01)
    monkeypatch.setattr(tiles, "_free_bytes", lambda: 1 << 31)
    assert tiles.affordable_px(filled(width=8), torch.device("cpu")) == pytest.approx(2 * wide, rel=0.01)


def test_the_free_memory_is_known_here():
    assert 1 << 20 < tiles._free_bytes() < 1 << 50
