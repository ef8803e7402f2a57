"""Image files: finding, reading and writing them as 8-bit RGB arrays."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from trials.progress import DataError

__all__ = ["SUFFIXES", "Pixels", "find", "listed", "read", "size", "write"]

Pixels = npt.NDArray[np.uint8]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".ppm", ".webp")

# What Pillow's decoders raise on damaged files.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError, struct.error, zlib.error)


def find(folder: Path) -> list[Path]:
    """Return the image files of a folder (not of folders in it), sorted by name. Hidden and other files are ignored.

    Raises:
        DataError: if the folder is missing or holds no image file, or what bears the name of one is a pipe or a device.
    """
    if not os.path.isdir(folder):  # which bears any name, such as one that is too long
        came = "is a file" if os.path.exists(folder) else "does not exist"
        raise DataError(f"{folder}: expected a folder of images, but it {came}")
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read ({error.strerror})") from error
    images = [entry for entry in entries if entry.suffix.lower() in SUFFIXES and not entry.is_dir()]
    if not images:
        found = f"it holds {listed([entry.name for entry in entries])}" if entries else "it is empty"
        raise DataError(f"{folder}: expected image files ({' '.join(SUFFIXES)}), but {found}")
    endless = [entry.name for entry in images if not entry.is_file() and entry.exists()]
    if endless:
        raise DataError(f"{folder}: expected files, but a pipe or a device is {listed(endless)}; take it out")
    return images


def read(path: Path) -> Pixels:
    """Return an image file's pixels as it is to be seen: uint8, RGB, (H, W, 3).

    Turned as EXIF says; grey, palette and CMYK images converted to RGB; of 16-bit values the upper 8 bits;
    transparent parts as on black; of several frames the first.

    Raises:
        DataError: if the file is missing, empty, damaged, or of a kind that has no defined range of values.
    """
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty (0 bytes); copy or download it again")
        with Image.open(path) as file:
            return _rgb(ImageOps.exif_transpose(file), path)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: the file does not exist, or is a link to one that does not") from error
    except PermissionError as error:
        raise DataError(f"{path}: the file may not be read ({error.strerror})") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: the image is too large to be opened safely ({error})") from error
    except DAMAGED as error:
        raise DataError(
            f"{path}: not an image, or damaged or truncated ({_first_line(error)}); copy or download it again"
        ) from error


def size(path: Path) -> tuple[int, int]:
    """Return an image's height and width as it is to be seen, from its header.

    Raises:
        DataError: if the file cannot be read, or is no image.
    """
    try:
        with Image.open(path) as file:
            width, height = file.size
            turned = file.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    except DAMAGED as error:
        raise DataError(
            f"{path}: not an image, or damaged ({_first_line(error)}); copy or download it again"
        ) from error
    return (width, height) if turned else (height, width)


def write(path: Path, image: Pixels) -> None:
    """Write an 8-bit image (H, W, 3) as PNG, whole or not at all; missing folders are made.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    try:
        Image.fromarray(image).save(aside, format="PNG", compress_level=1)
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def listed(names: list[str]) -> str:
    """Return at most the first three names, and how many more there are."""
    rest = len(names) - 3
    return ", ".join(names[:3]) + (f" and {rest} more" if rest > 0 else "")


def _rgb(image: Image.Image, path: Path) -> Pixels:
    if image.mode.startswith("I;16"):
        upper = (np.asarray(image) >> 8).astype(np.uint8)  # as Pillow itself reads 16-bit RGB
        return np.repeat(upper[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise DataError(f"{path}: pixels of 32 bits have no defined range; save the image with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return np.array(image.convert("RGB"))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
