"""A training step beside the published loop's, in images per second and memory, and what each difference brings.

    python benchmarks/train_step.py [--size demo|published] [--batch N] [--quick] [--threads N] [--device auto]

The published loop (published_loop.py) is plain PyTorch: eager, float32, channels first, images in memory as numbers,
cut and turned one by one; one forward of the generator; its loss with passes of its own through discriminators and
VGG16, patch after patch, one backward, Adam; then both discriminators, with fresh passes. Ours is `trials`, as it
trains. Both are first given equal weights and batches, and must give equal losses. Then each runs in a process of its
own, and they take turns, a block of steps each; a ratio is the median over turns. Ours also measures its health, the
rival does not.

`without X` is ours with one thing done as in the published loop: the less is left of the ratio, the more X brings.
`peak` is the arithmetic rate of the data sheet (of TF32 for the rival: what PyTorch by default lets convolutions on a
GPU be), or on a CPU of the fastest large float32 product or convolution in the same process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.flop_counter import flop_registry  # noqa: E402

from benchmarks.published_loop import PublishedLoop  # noqa: E402
from trials import config_file, photos, steps, train  # noqa: E402
from trials.allocator import keep_freed_memory  # noqa: E402
from trials.batches import Batch, Batches  # noqa: E402
from trials.config import Config, Data, Vgg  # noqa: E402
from trials.data import TrainingImages, load_training  # noqa: E402
from trials.decoded import Decoded  # noqa: E402
from trials.networks import Discriminator  # noqa: E402
from trials.randomness import Streams  # noqa: E402
from trials.vgg import Features  # noqa: E402

STEPS_COMPARED = 5
TOLERANCE = 1e-3
"""Largest relative difference of losses over these steps: rounding grows with each step of Adam."""
DATA_SHEETS = {"H100": {"float32": 67e3, "tf32": 495e3, "bfloat16": 989e3}}
"""NVIDIA's peak of dense products, in 10^9 operations a second (H100 SXM; an H200's is the same)."""
DATA_SHEETS["H200"] = DATA_SHEETS["H100"]


class Ours:
    """The product, as `trials.train` sets it up."""

    def __init__(self, config: Config, gan: steps.Gan, images: TrainingImages, device: torch.device) -> None:
        train._set_precision(config)
        self.gan = gan
        self.batches = Batches(config, low=images.low, normal=images.normal, streams=Streams(0), device=device)
        self.done = 0

    def advance(self) -> None:
        """Take one step; what it measures is read every so many."""
        self.done += 1
        measures = steps.step(self.gan, self.batches.at(self.done))
        if self.done % train.CHECK_STEPS == 0:
            train._fetched([measures])


def patch_after_patch() -> None:
    """Pass the patches of each offset through the networks apart."""
    for kind in (Discriminator, Features):
        kind.forward = _one_by_one(kind.forward)  # type: ignore[method-assign]


def _one_by_one(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda self, images: torch.cat([forward(self, part) for part in images.split(self.group)])


def gradients_thrown_away() -> None:
    """Let the generator's loss give discriminators gradients as well, which nobody uses."""
    slope = torch.autograd.grad

    def thorough(term: Tensor, fake: Tensor, **options: Any) -> tuple[Tensor, ...]:
        found = _leaves(term.grad_fn) - {fake}
        return slope(term, [fake, *found], **options)[:1]

    torch.autograd.grad = thorough  # type: ignore[assignment]


def _leaves(node: Any) -> set[Tensor]:
    """Return the tensors at which a graph ends."""
    found, seen, waiting = set(), set(), [node]
    while waiting:
        one = waiting.pop()
        if one is None or one in seen:
            continue
        seen.add(one)
        if hasattr(one, "variable"):
            found.add(one.variable)
        waiting += [below for below, _ in one.next_functions]
    return found


def scores_anew() -> None:
    """Let discriminators pass every image a second time, for their own step."""
    last = steps.discriminator_step

    def afresh(gan: steps.Gan, batch: Batch, made: steps.Made) -> steps.Measures:
        """Do the discriminators' step as it is, but on scores computed for it alone."""
        fake = made.fake.detach()
        scores = {
            view.name: steps.Scores(
                steps._judged(network, view.look(batch.normal, batch.offsets), batch),
                steps._judged(network, view.look(fake, batch.offsets), batch),
            )
            for view, network in gan.judges()
        }
        return last(gan, batch, steps.Made(fake, scores))

    steps.discriminator_step = afresh


def features_by_layers() -> None:
    """Normalise both feature maps by the layer, then compare."""

    def plain(features: Tensor, target: Tensor, **_: Any) -> Tensor:
        return functional.mse_loss(functional.instance_norm(features), functional.instance_norm(target))

    steps.feature_loss = plain


def default_adam() -> None:
    """Take Adam as it comes."""
    ours = steps.adam

    def plain(network: nn.Module, config: Config, name: str) -> torch.optim.Adam:
        options = ours(network, config, name).defaults
        return torch.optim.Adam(network.parameters(), lr=options["lr"], betas=options["betas"])

    steps.adam = plain


WITHOUT: dict[str, Callable[[], None]] = {
    "freed memory kept": lambda: None,
    "all patches in one pass": patch_after_patch,
    "one pass for both halves of a step": scores_anew,
    "no gradients that are thrown away": gradients_thrown_away,
    "feature loss in few passes": features_by_layers,
    "channels last": lambda: None,
    "fused Adam": default_adam,
}


def configured(chosen: argparse.Namespace, device: torch.device) -> Config:
    """Return the setting that is measured; VGG16's weights are random, which takes as long."""
    demo = config_file.read(ROOT / "ablation.yaml").config
    config = demo if chosen.size == "demo" else Config(vgg=Vgg(weights="random"))
    batch = chosen.batch or (2 if chosen.size == "published" and device.type == "cpu" else config.batch)
    settings = config.model_dump(by_alias=True) | {"batch": batch}
    settings["compute"]["precision"] = chosen.precision
    settings["compute"]["channels_last"] = chosen.role != "without channels last"
    return Config.model_validate(settings)


def prepared(chosen: argparse.Namespace) -> tuple[Config, steps.Gan, TrainingImages, torch.device]:
    """Set this process up as its role asks, and build the networks."""
    device = train.device() if chosen.device == "auto" else torch.device(chosen.device)
    torch.set_num_threads(chosen.threads)
    if chosen.role.startswith("without "):
        WITHOUT[chosen.role.removeprefix("without ")]()
    if chosen.role not in ("rival", "without freed memory kept"):
        keep_freed_memory()
    config = configured(chosen, device)
    Discriminator.group = Features.group = config.batch  # type: ignore[attr-defined]
    return config, steps.build(config, Streams(0), device), load_training(Data(source="photos")), device


def compared(chosen: argparse.Namespace) -> dict[str, Any]:
    """Give both equal weights and batches, and return the largest relative difference of their losses, in float32."""
    config, gan, images, device = prepared(argparse.Namespace(**vars(chosen) | {"precision": "float32"}))
    train._set_precision(config)
    rival = PublishedLoop(config, gan, images, device)
    batches, largest = Batches(config, low=images.low, normal=images.normal, streams=Streams(0), device=device), 0.0
    for step in range(1, STEPS_COMPARED + 1):
        batch = batches.at(step)
        theirs = rival.step(*(one.contiguous() for one in (batch.low, batch.darkened, batch.normal)), batch.offsets)
        ours = steps.step(gan, batch)
        for name, loss in theirs.items():
            apart = abs(float(ours[f"loss/{name}"]) - float(loss.detach())) / abs(float(loss.detach()))
            largest = max(largest, apart)
    return {"difference": largest, "batch": config.batch, "crop_px": config.crop_px, "device": _named(device)}


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


class Operations(TorchDispatchMode):
    """Counts multiplications and additions by PyTorch's own formulas; its `FlopCounterMode` bars `autograd.grad`."""

    total = 0

    def __torch_dispatch__(self, call: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one call."""
        made = call(*args, **(kwargs or {}))
        if formula := flop_registry.get(call._overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=made)
        return made


def serve(chosen: argparse.Namespace) -> None:
    """Take as many steps as each line of the input says, and answer with the seconds; at its end, with the figures."""
    config, gan, images, device = prepared(chosen)
    one = (PublishedLoop if chosen.role == "rival" else Ours)(config, gan, images, device)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for _ in range(chosen.warm):
        one.advance()
    wait()
    _forget_peak(device)
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, "end\n"):
        begun = time.perf_counter()
        for _ in range(int(line)):
            one.advance()
        wait()
        print(time.perf_counter() - begun, flush=True)
    peak = _peak(device)
    with Operations() as operations:
        one.advance()
    precision = "tf32" if chosen.role == "rival" else chosen.precision
    rate = _rate(device, precision)
    print(json.dumps({"memory_mib": peak >> 20, "gflop": operations.total / 1e9, "gflop_s": rate}))


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak begins again at what is resident now


def _peak(device: torch.device) -> int:
    """Return the most memory since then, in bytes: of tensors on a GPU, else what the process had resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024


def _rate(device: torch.device, precision: str) -> float:
    """Return the peak, in 10^9 operations a second: the data sheet's, or the fastest large product or convolution."""
    if device.type == "cuda":
        for name, rates in DATA_SHEETS.items():
            if name in torch.cuda.get_device_name(device):
                return rates[precision]
    matrix = torch.ones(2048, 2048, device=device)
    maps, kernel = torch.ones(4, 256, 64, 64, device=device), torch.ones(256, 256, 3, 3, device=device)
    maps, kernel = (one.to(memory_format=torch.channels_last) for one in (maps, kernel))
    return max(
        _fastest(lambda: matrix @ matrix, 2 * 2048**3),
        _fastest(lambda: functional.conv2d(maps, kernel, padding=1), 2 * maps.numel() * kernel[0].numel()),
    )


def _fastest(work: Callable[[], Tensor], operations: int) -> float:
    best = 0.0
    for _ in range(5):
        begun = time.perf_counter()
        work().flatten()[0].item()
        best = max(best, operations / (time.perf_counter() - begun) / 1e9)
    return best


class Process:
    """A process that takes steps when it is asked to."""

    def __init__(self, chosen: argparse.Namespace, role: str) -> None:
        command = [sys.executable, __file__, "--role", role, "--size", chosen.size, "--threads", str(chosen.threads)]
        command += ["--device", chosen.device, "--precision", chosen.precision, "--warm", str(chosen.warm)]
        command += ["--batch", str(chosen.batch)] if chosen.batch else []
        environment = {**os.environ, "OMP_NUM_THREADS": str(chosen.threads)}
        self.role = role
        self.process = subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True)

    def answer(self) -> str:
        """Return the next line of what it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.role}: ended with {self.process.wait()}")
        return line

    def steps(self, count: int) -> float:
        """Return the seconds of so many steps."""
        self.say(str(count))
        return float(self.answer())

    def say(self, line: str) -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def figures(self) -> dict[str, float]:
        """End it, and return its figures."""
        self.say("end")
        found: dict[str, float] = json.loads(self.answer())
        self.process.wait()
        return found


def taking_turns(processes: list[Process], turns: int, count: int) -> list[list[float]]:
    """Return the seconds of each block of steps, for each process."""
    spent: list[list[float]] = [[] for _ in processes]
    for _ in range(turns):
        for process, blocks in zip(processes, spent, strict=True):
            blocks.append(process.steps(count))
    return spent


def faster(ours: list[float], rival: list[float]) -> float:
    """Return how many times the images per second ours gives, as the median over turns."""
    return statistics.median(theirs / mine for mine, theirs in zip(ours, rival, strict=True))


def decoding() -> tuple[float, float]:
    """Return the seconds to decode a photograph, and to map one that lies decoded in a file; medians."""
    path, spent = photos.file("astronaut"), ([], [])
    with tempfile.TemporaryDirectory() as folder:
        for store, durations in zip((Decoded(), Decoded(Path(folder))), spent, strict=True):
            for _ in range(10):
                begun = time.perf_counter()
                store.read(path).sum()
                durations.append(time.perf_counter() - begun)
    return statistics.median(spent[0]), statistics.median(spent[1])


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Print the comparison; return the figures."""
    facts = compared(chosen)
    where = f"{facts['device']}, {chosen.threads} thread{'s' if chosen.threads > 1 else ''}"
    print(f"{chosen.size}: batch {facts['batch']}, crop {facts['crop_px']}, {where}")
    print(f"losses of {STEPS_COMPARED} steps differ by {facts['difference']:.1e} or less (allowed: {TOLERANCE:g})")
    if not facts["difference"] <= TOLERANCE:
        raise SystemExit("the losses are not equal")
    rival, ours = pair = [Process(chosen, role) for role in ("rival", "ours")]
    for process in pair:
        process.answer()
    theirs, mine = taking_turns(pair, chosen.turns, chosen.steps)
    ratio, found = faster(mine, theirs), {"rival": rival.figures()}
    print(f"{'':44}{'images/s':>10}{'ratio':>8}{'MiB':>8}{'GFLOP':>8}{'of peak':>9}")
    shares = {}
    for name in [] if chosen.quick else WITHOUT:
        other = Process(chosen, f"without {name}")
        other.answer()
        again, slower = taking_turns([ours, other], chosen.turns, chosen.steps)
        shares[name] = ratio / faster(again, slower)
        other.figures()
    found["ours"] = ours.figures()
    images = chosen.steps * facts["batch"]
    figures: dict[str, Any] = {"ratio": round(ratio, 3)}
    for name, blocks in (("rival", theirs), ("ours", mine)):
        rate, one = images / statistics.median(blocks), found[name]
        share = one["gflop"] * rate / facts["batch"] / one["gflop_s"]
        quotient = ratio if name == "ours" else 1.0
        print(f"{name:44}{rate:10.2f}{quotient:8.2f}{one['memory_mib']:8.0f}{one['gflop']:8.2f}{share:9.0%}")
        figures |= {f"{name}_images_s": round(rate, 2), f"{name}_memory_mib": one["memory_mib"]}
        figures |= {f"{name}_gflop": round(one["gflop"], 2), f"{name}_share_of_peak": round(share, 3)}
    for name, left in shares.items():
        print(f"{'  without ' + name:44}{'':10}{left:8.2f}")
    figures["without"] = {name: round(left, 3) for name, left in shares.items()}
    return facts | figures


def main() -> None:
    """Measure, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["demo", "published"], default="demo", help="of ablation.yaml, or published")
    parser.add_argument("--batch", type=int, help="images a step (default: the size's; published on a CPU: 2)")
    parser.add_argument("--quick", action="store_true", help="fewer turns, no `without`; the demo in under a minute")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=["float32", "tf32", "bfloat16"], default="float32", help="of ours")
    parser.add_argument("--role", default="", help=argparse.SUPPRESS)
    parser.add_argument("--warm", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    slow = chosen.size == "published" and (chosen.device == "cpu" or not torch.cuda.is_available())
    chosen.turns, chosen.steps = (3, 1) if slow else (10, 8) if chosen.quick else (20, 8)
    chosen.warm = chosen.warm or (1 if slow else 5)
    if chosen.role:
        serve(chosen)
        return
    figures = measure(chosen)
    decode, mapped = decoding()
    print(f"a 512 x 512 PNG: decoded in {decode * 1e3:.2f} ms; mapped from a file, {mapped * 1e3:.2f} ms")
    figures |= {"decode_ms": round(decode * 1e3, 3), "mapped_ms": round(mapped * 1e3, 3)}
    rival = "the published loop's order in plain PyTorch"
    print(json.dumps({"name": "train_step", "rival": rival, "size": chosen.size, **figures}))


if __name__ == "__main__":
    main()
