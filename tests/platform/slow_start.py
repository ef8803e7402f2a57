"""A trainable whose worker does not finish starting before others are starting, too: importing this waits for them.

`SLOW_START`, in the environment, is a folder for marks, with a file `count`; in the driver importing does not wait.
"""

import os
from pathlib import Path

from tests.platform.gathering_trainer import wait_for
from trials import trainable as real

FOLDER = Path(os.environ["SLOW_START"])
if str(os.getpid()) != (FOLDER / "driver").read_text():
    (FOLDER / f"starting-{os.getpid()}").touch()
    wait_for(FOLDER, "starting-*", int((FOLDER / "count").read_text()))


def trainable(config, shipped=None):
    real.trainable(config, shipped)
