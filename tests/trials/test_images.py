import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from trials import images
from trials.progress import DataError

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90)


def colours(*rows):
    return np.array(rows, dtype=np.uint8)


def write_png_16(path, values):
    """Write RGB values of 16 bits, (H, W, 3), which Pillow cannot."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_lossless_files_are_read_as_they_are(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(images.read(path), pixels)


def test_what_is_written_is_read_back(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    path = tmp_path / "new" / "folder" / "image.png"
    images.write(path, pixels)
    np.testing.assert_array_equal(images.read(path), pixels)


def test_an_image_is_turned_as_its_camera_says(tmp_path):
    path = tmp_path / "portrait.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(colours([RED, GREEN], [BLUE, GREY])).save(path, exif=exif)
    np.testing.assert_array_equal(images.read(path), colours([BLUE, RED], [GREY, GREEN]))


def test_grey_images_become_rgb(tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(np.array([[0, 90, 255]], dtype=np.uint8)).save(path)
    np.testing.assert_array_equal(images.read(path), colours([(0,) * 3, (90,) * 3, (255,) * 3]))


def test_16_bits_become_8_in_grey_and_in_colour(tmp_path):
    values = np.array([[0, 128 * 257, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "grey.png")
    write_png_16(tmp_path / "colour.png", np.repeat(values[..., None], 3, axis=2))
    expected = colours([(0,) * 3, (128,) * 3, (255,) * 3])
    np.testing.assert_array_equal(images.read(tmp_path / "grey.png"), expected)
    np.testing.assert_array_equal(images.read(tmp_path / "colour.png"), expected)


def test_transparent_parts_are_black_and_opaque_ones_unchanged(tmp_path):
    path = tmp_path / "alpha.png"
    Image.fromarray(colours([(200, 100, 50, 255), (200, 100, 50, 0)])).save(path)
    np.testing.assert_array_equal(images.read(path), colours([(200, 100, 50), (0, 0, 0)]))


def test_palette_and_cmyk_images_become_rgb(tmp_path):
    plain = Image.fromarray(np.full((16, 16, 3), RED, dtype=np.uint8))
    plain.quantize(4).save(tmp_path / "palette.png")
    plain.convert("CMYK").save(tmp_path / "print.jpg", quality=100)
    for name in ("palette.png", "print.jpg"):
        assert np.abs(images.read(tmp_path / name).astype(int) - RED).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    path = tmp_path / f"half.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"half\.{suffix}: not an image, or damaged or truncated"):
        images.read(path)


def test_files_that_are_no_images_are_named(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("a page that says: not found")
    with pytest.raises(DataError, match=r"empty\.png: the file is empty \(0 bytes\)"):
        images.read(tmp_path / "empty.png")
    with pytest.raises(DataError, match=r"text\.png: not an image"):
        images.read(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"gone\.png: the file does not exist"):
        images.read(tmp_path / "gone.png")


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match=r"float\.tif: pixels of 32 bits have no defined range"):
        images.read(tmp_path / "float.tif")


def test_a_folders_images_are_found_in_order_without_the_rest(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.bmp", ".hidden.png", "notes.txt", "Thumbs.db"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in images.find(tmp_path)] == ["a.jpg", "b.PNG", "c.bmp"]


def test_a_link_to_a_file_that_is_gone_is_not_overlooked(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone" / "a.png")
    assert [path.name for path in images.find(tmp_path)] == ["a.png"]


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_can_be_read_for_ever_is_named_instead(tmp_path, kind):
    images.write(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    if kind == "pipe":
        os.mkfifo(tmp_path / "z.png")
    else:
        (tmp_path / "z.png").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=f"{tmp_path}: expected files, but a pipe or a device is z.png; take it out"):
        images.find(tmp_path)


def test_a_folder_that_holds_no_image_is_named_with_what_it_holds(tmp_path):
    with pytest.raises(DataError, match=r"expected image files .*, but it is empty"):
        images.find(tmp_path)
    for number in range(5):
        (tmp_path / f"{number}.raw").touch()
    with pytest.raises(DataError, match=r"but it holds 0\.raw, 1\.raw, 2\.raw and 2 more"):
        images.find(tmp_path)
    with pytest.raises(DataError, match="expected a folder of images, but it is a file"):
        images.find(tmp_path / "0.raw")
    with pytest.raises(DataError, match="expected a folder of images, but it does not exist"):
        images.find(tmp_path / "nowhere")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_is_that_of_the_pixels_without_reading_them(tmp_path, orientation):
    picture, path = Image.new("RGB", (30, 20)), tmp_path / "a.jpg"
    exif = picture.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    picture.save(path, exif=exif)
    assert images.size(path) == images.read(path).shape[:2]


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    images.write(path, np.zeros((4, 4, 3), np.uint8))
    before = path.read_bytes()

    def full(self, file, **_):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left") as raised:
        images.write(path, np.ones((4, 4, 3), np.uint8))
    assert raised.value.filename == str(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["a.png"]
