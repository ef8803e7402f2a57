import errno

import pytest

from trials.disk import no_room, out_of_reach


def raised(error, *, cause=None, before=None):
    error.__cause__, error.__context__ = cause, before
    return error


FULL = OSError(errno.ENOSPC, "No space left on device")
QUOTA = OSError(errno.EDQUOT, "Disk quota exceeded")
LARGE = OSError(errno.EFBIG, "File too large")
READ_ONLY = OSError(errno.EROFS, "Read-only file system")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FULL, FULL),
        (QUOTA, QUOTA),
        (LARGE, LARGE),
        (READ_ONLY, READ_ONLY),
        (raised(RuntimeError("unexpected pos"), cause=FULL), FULL),
        (raised(RuntimeError("unexpected pos"), before=raised(ValueError(), before=FULL)), FULL),
        (PermissionError(errno.EACCES, "Permission denied"), None),
        (OSError("encoder error"), None),
        (ZeroDivisionError(), None),
    ],
)
def test_an_error_or_what_led_to_it_tells_of_a_full_disk(error, said):
    assert no_room(error) is said


STALE = OSError(errno.ESTALE, "Stale file handle")
MISSING = FileNotFoundError(errno.ENOENT, "No such file or directory")


def test_a_disk_that_does_not_answer_is_told_from_a_missing_file(tmp_path):
    assert out_of_reach(raised(RuntimeError(), cause=STALE), tmp_path) is STALE
    assert out_of_reach(MISSING, tmp_path) is None
    assert out_of_reach(MISSING, tmp_path / "gone") is MISSING
    assert out_of_reach(ZeroDivisionError(), tmp_path / "gone") is None
