"""Every test that starts Ray starts its own, on loopback, with its own temporary folder and a stated way of trust."""

import os
import shutil
import tempfile

import pytest


@pytest.fixture(scope="session", autouse=True)
def ray_of_our_own():
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # short: the paths of Ray's sockets must be
    os.environ["RAY_TMPDIR"] = folder
    os.environ["RAY_AUTH_MODE"] = "disabled"
    yield
    shutil.rmtree(folder, ignore_errors=True)
