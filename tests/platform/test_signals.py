"""Signals end a study in order, whatever it is doing: exit status 130 and the sentence how to go on."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from platform.signals import interruptible, kept
from tests.platform.test_sweep import ROOT, command, lay_out


@pytest.fixture(autouse=True)
def handlers():
    """Meet signals as a new Python does, whatever this one's parent, or an earlier test, has made of them."""
    first = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {name: signal.signal(name, handler) for name, handler in first.items()}
    yield
    for name, handler in before.items():
        signal.signal(name, handler or signal.SIG_DFL)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_does_as_ctrl_c(name):
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), getattr(signal, name))
    assert signal.getsignal(getattr(signal, name)) == signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        with interruptible(), kept([]):
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_study_in_the_background_whose_shell_ignores_ctrl_c_ends_with_sigterm():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_what_is_swallowed_is_noted(name):
    pressed = []
    with kept(pressed), contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), getattr(signal, name))
    assert pressed == [getattr(signal, name)]


def test_an_exit_that_another_handler_asks_for_is_an_interruption():
    def asked():
        with kept([]):
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        asked()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_study_that_is_ended_while_ray_starts_says_how_to_go_on(tmp_path):
    folder = lay_out(tmp_path)
    process = subprocess.Popen(command(folder), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if "trials" in line:  # announced; Ray starts now
            break
    process.send_signal(signal.SIGTERM)
    said = process.stdout.read()
    assert process.wait(timeout=240) == 130, said
    assert "To go on: python -m platform.sweep" in said or "to go on: python -m platform.sweep" in said
    assert "Traceback" not in said


def test_sigterm_after_ray_has_ended_still_ends_a_study_in_order():
    script = (
        "import os, signal\n"
        "from platform.signals import interruptible\n"
        "from platform.tune_run import cluster\n"
        "with interruptible():\n"
        "    with cluster(None):\n"
        "        pass\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    except KeyboardInterrupt:\n"
        "        print('in order')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout) == (0, "in order\n"), done.stderr
