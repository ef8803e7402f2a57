"""`python tests/fuzz.py`: damaged and hostile specs, each in a process of its own, held to four promises.

Each gives exit status 2 with sentences, or a valid plan; no traceback; nothing is written outside the results folder,
nor inside it with `--dry-run`; time and memory are bounded. Ends with one line of JSON, and status 1 if a case broke
a promise; its spec is kept for looking at.
"""

import argparse
import contextlib
import io
import json
import os
import pickle
import resource
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests import hostile_specs  # noqa: E402
from trials.scenes import MATCHER  # noqa: E402

LIMIT_S = 60
LIMIT_BYTES = 1 << 30
"""Of address space, beyond what the process has before it reads the spec."""
PROBED = 25
"""One case in so many has its time measured as a user's dry run has; the others are spared it."""
BEGUN = 4
"""One case in so many is begun, up to the first trial; the others are dry runs."""
WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod",
          "shutil.rmtree", "shutil.move", "shutil.copyfile", "tempfile.mkstemp", "tempfile.mkdtemp")  # fmt: skip
RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")


class Hostile:
    """What an unpickler would run: it leaves a file behind."""

    def __reduce__(self):
        return os.system, ("touch escape",)


def main(argv=None) -> int:
    """Run the cases; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="from which cases are drawn")
    parser.add_argument("--only", type=int, help="the number of one case, whose output is shown")
    parser.add_argument("--every", type=int, default=1, help="only one crafted case in so many")
    parser.add_argument(
        "--keep", type=Path, default=Path(tempfile.gettempdir(), "fuzz"), help="for specs that broke one"
    )
    arguments = parser.parse_args(argv)
    crafted = len(hostile_specs.CRAFTED)
    numbers = [*range(0, crafted, arguments.every)]
    numbers += range(crafted, crafted + max(0, arguments.cases - len(numbers)))
    if arguments.only is not None:
        numbers = [arguments.only]
    _warm()
    begun, endings, slowest, largest, broken = time.perf_counter(), Counter(), (0.0, ""), (0, ""), 0
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        place = _place(Path(folder))
        for number in numbers:
            case = hostile_specs.case(number, arguments.seed)
            for dry in (True, False) if number % BEGUN == 0 or arguments.only is not None else (True,):
                ended = _run(case, place, dry=dry, probed=number % PROBED == 1)
                endings[ended["ending"]] += 1
                slowest = max(slowest, (ended["seconds"], case.name))
                largest = max(largest, (ended["bytes"], case.name))
                if ended["broken"] or arguments.only is not None:
                    broken += bool(ended["broken"])
                    _tell(number, case, ended, arguments.keep)
    figures = {
        "cases": len(numbers), "seed": arguments.seed, "endings": dict(endings), "broken": broken,
        "slowest_s": round(slowest[0], 2), "slowest": slowest[1],
        "most_memory_mb": largest[0] >> 20, "most_memory": largest[1],
        "seconds": round(time.perf_counter() - begun, 1),
    }  # fmt: skip
    sys.stdout.write(json.dumps(figures) + "\n")
    return 1 if broken else 0


def _warm() -> None:
    """Import all that a case needs, so that its process starts with it."""
    import torch

    import platform.sweep  # noqa: F401
    import trials.data
    import trials.steps
    import trials.train
    import trials.trainer  # noqa: F401

    torch.set_num_threads(1)


def _place(folder: Path) -> Path:
    """Make a folder with photographs, weights that bring code along, and links, for all cases."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    for name, count in {"low": 3, "normal": 3, "more": 2, "bright": 2}.items():
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 255, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"a_{number}.png")
    (folder / "photos" / "hostile.pth").write_bytes(pickle.dumps(Hostile()))
    (folder / "photos" / "table.csv").write_text("file,scene\na_0,x\n")
    (folder / "photos" / "link").symlink_to(folder / "photos" / "low")
    for name in ("spec", "work", "home", "tmp"):
        (folder / name).mkdir()
    (folder / "spec" / "loop").symlink_to(folder / "spec" / "loop")
    return folder


def _run(case, place: Path, *, dry: bool, probed: bool) -> dict:
    """Run a case in a process of its own; return how it ended, what it said and which promises it broke."""
    results = place / "work" / "results"
    (place / "spec" / "spec.yaml").write_bytes(case.content)
    before = _seen(place)
    reading, writing = os.pipe()
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(case, place, results, writing, dry=dry, probed=probed)
    os.close(writing)
    told, late = _read(reading, child)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - began
    answer = json.loads(told) if told else {"status": None, "output": "", "outside": [], "ran": []}
    after = _seen(place)
    outside = [*answer["outside"], *sorted(path for path in after.items() ^ before.items() if _is_outside(path[0]))]
    inside = [path for path in after if path.startswith("work/results")]
    shutil.rmtree(results, ignore_errors=True)
    broken = []
    if late:
        broken.append(f"took more than {LIMIT_S} s")
    elif not told:
        broken.append(f"ended by signal {os.waitstatus_to_exitcode(status)}")
    if outside:
        broken.append(f"wrote outside the results folder: {outside[:5]}")
    if dry and inside:
        broken.append(f"a dry run wrote {inside[:5]}")
    if answer["ran"]:
        broken.append(f"ran or called {answer['ran'][:5]}")
    broken += unlike(answer, dry=dry) if told else []
    broken += ["a sound spec was refused"] if case.sound and answer["status"] != 0 else []
    return {
        **answer, "broken": broken, "seconds": seconds, "bytes": usage.ru_maxrss << 10,
        "ending": "late" if late else {2: "refused", 0: "planned"}.get(answer["status"], str(answer["status"])),
    }  # fmt: skip


def _is_outside(path: str) -> bool:
    return not path.startswith("work/results")


def _seen(place: Path) -> dict[str, int]:
    return {str(path.relative_to(place)): path.lstat().st_mtime_ns for path in place.rglob("*") if not path.is_dir()}


def _read(reading: int, child: int) -> tuple[bytes, bool]:
    """Return what the child tells, and whether it had to be ended."""
    told, until, late = b"", time.monotonic() + LIMIT_S, False
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, until - time.monotonic())):
                os.kill(child, signal.SIGKILL)
                late = True
                break
            part = os.read(reading, 1 << 16)
            if not part:
                break
            told += part
    os.close(reading)
    return told, late


def unlike(answer: dict, *, dry: bool) -> list[str]:
    """Return how an answer differs from a refusal in sentences and from a plan."""
    output = answer["output"]
    found = ["a traceback"] if "Traceback" in output else []
    found += ["a warning"] if "Warning" in output else []
    obeyed = (set(output) - {"\n"}) & {chr(number) for number in (*range(32), *range(127, 160))}
    found += ["control characters"] if obeyed else []
    found += [f"said {len(output)} characters"] if len(output) > 200_000 else []
    if answer["status"] == 2:
        lines = output.splitlines()
        sentences = [line for line in lines if line.startswith("  ") and ": " in line]
        found += [] if len(sentences) >= 1 and " problem" in output else ["refused without a sentence"]
    elif answer["status"] == 0:
        found += [] if not dry or "still to train" in output else ["a dry run without a plan"]
    else:
        found.append(f"exit status {answer['status']}")
    return found


def _child(case, place: Path, results: Path, writing: int, *, dry: bool, probed: bool) -> None:
    """Run the command line in this process and tell how it ended; never returns."""
    output, outside, ran = io.StringIO(), [], []
    status: object = "crashed"
    try:
        os.chdir(place / "work")
        os.environ |= {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp"), "COLUMNS": "100"}
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + LIMIT_BYTES, held + LIMIT_BYTES))
        _replace(probed=probed)
        sys.addaudithook(lambda event, args: heed(event, args, str(results), outside, ran))
        arguments = ["../spec/spec.yaml", "--results", "results", *(["--dry-run"] if dry else [])]
        arguments += [f"--set={setting}" for setting in case.settings]
        from platform import sweep

        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                status = sweep.main(arguments)
            except SystemExit as end:
                status = end.code
            except BaseException:
                traceback.print_exc()
        output.write("")
    finally:
        text = output.getvalue().encode("utf-8", "backslashreplace").decode()
        told = json.dumps({"status": status, "output": text, "outside": outside[:20], "ran": ran[:20]}).encode()
        while told:
            told = told[os.write(writing, told) :]
        os._exit(0)


def _replace(*, probed: bool) -> None:
    """Leave out what a spec has no part in: the time of a trial, the mirror, the training."""
    from platform import sweep
    from trials import trainer, vgg

    class NoMirror:
        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    if not probed:
        trainer.seconds = lambda config, data, *, threads: 1.0
    vgg._download = _no_download
    sweep.MirrorProcess = NoMirror
    sweep._train = _plan
    sweep.record = lambda *_: {}
    sweep._report = lambda _: False
    sweep.INTERRUPTED = 0


def _no_download(vgg):
    from trials.progress import DataError

    raise DataError("vgg.weights: imagenet could not be fetched (no network here)")


def _plan(sweep, job) -> bool:
    """Ask for the first trials instead of training them."""
    job.capacity = lambda: 2
    job.task(job.next().cell)
    return False


def heed(event: str, args: tuple, results: str, outside: list, ran: list) -> None:
    """Note what is written outside the results folder, run, or connected to."""
    if event == "open":
        path, mode, flags = args
        to_write = bool(set(str(mode or "")) & set("wax+")) or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))
        named = [path] if to_write and not isinstance(path, int) else []
    elif event in WRITES:
        named = [one for one in args[:2] if isinstance(one, str | bytes | os.PathLike)]
    elif event == "sqlite3.connect":
        named = [] if str(args[0]).endswith("mode=ro") else [str(args[0]).removeprefix("file:").partition("?")[0]]
    else:
        matcher = event == "subprocess.Popen" and args[1] == [sys.executable, "-I", "-S", "-c", MATCHER]
        if event in RUNS and not matcher:  # a program of our own, to which the spec is data
            ran.append(f"{event} {args!r}"[:300])
        return
    outside += [
        f"{event} {path}"
        for path in (os.path.realpath(os.fsdecode(one)) for one in named)
        if path != "/dev/null"
        and "/torchinductor_" not in path
        and not (path == results or path.startswith(f"{results}/"))
    ]


def _tell(number: int, case, ended: dict, keep: Path) -> None:
    """Say what a case did, and keep its spec."""
    keep.mkdir(parents=True, exist_ok=True)
    (keep / f"{number}.yaml").write_bytes(case.content)
    said = ended["output"]
    sys.stdout.write(
        f"{number} {case.name} {list(case.settings)}: {'; '.join(ended['broken']) or 'kept every promise'} "
        f"({ended['ending']}, {ended['seconds']:.1f} s, {ended['bytes'] >> 20} MB; {keep / f'{number}.yaml'})\n"
        f"{said if len(said) < 3000 else said[:800] + ' ... ' + said[-1500:]}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
