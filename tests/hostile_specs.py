"""Damaged and hostile specs: each case is a function of its number and a seed, so that any can be made again."""

import random
from dataclasses import dataclass

from tests.spec_damage import FULL, NAMES, PATHS, dumped, garbled, loaded, restructured, setting, sources

__all__ = ["CRAFTED", "Case", "case"]


TAGS = (
    "!!python/object/apply:os.system", "!!python/name:os.system", "!!python/module:os", "!!binary", "!!set", "!!omap",
    "!!timestamp", "!!int", "!!float", "!!bool", "!!null", "!!str", "!!merge", "!x", "!<tag:x>", "!!pairs",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A spec, as bytes of its file, and the settings that override it."""

    name: str
    content: bytes
    settings: tuple[str, ...] = ()
    sound: bool = False
    """Whether nothing is wrong with it."""


def case(number: int, seed: int = 0) -> Case:
    """Return the case of this number; the first ones are the crafted ones, the others are drawn from the seed."""
    crafted = CRAFTED
    if number < len(crafted):
        return crafted[number]
    draw = random.Random(f"{seed} {number}")
    text = draw.choice(sources())
    kind = draw.choice(["structure"] * 5 + ["text"] * 3 + ["settings"] * 2)
    if kind == "structure":
        return Case(f"{kind} {seed}/{number}", restructured(text, draw))
    if kind == "text":
        return Case(f"{kind} {seed}/{number}", garbled(text, draw))
    return Case(f"{kind} {seed}/{number}", text.encode(), tuple(setting(text, draw) for _ in range(draw.randint(1, 3))))


def _with(**sections) -> bytes:
    spec = loaded(FULL)
    for path, value in sections.items():
        *above, last = path.split("__")
        node = spec
        for part in above:
            node = node[part]
        node[last] = value
    return dumped(spec)


def _line(text: str) -> bytes:
    return f"study: s\n{text}\n".encode("utf-8", "surrogatepass")


def _laughs(levels: int, width: int = 9) -> str:
    rows = ["a0: &a0 [x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(rows)


def _merged(n: int) -> str:
    return f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], k{n}: *a{n - 1}}}"


def _crafted():
    many = [f"loss.k{n}" for n in range(2000)]
    yield "bomb of aliases", _line(_laughs(12))
    yield "small bomb of aliases", _line(f"{_laughs(5)}\ntrain: {{init: *a4}}")
    yield "bomb of merged mappings", _line(
        "a0: &a0 {x: 1}\n" + "\n".join(_merged(n) for n in range(1, 12))
    )  # fmt: skip
    yield "long text, many times", _line(f"a: &a {'x' * 50_000}\ndata: [{', '.join(['*a'] * 5000)}]")
    yield "list in itself", _line("train: &a [*a]")
    yield "mapping in itself", _line("train: &a {b: *a}")
    yield "mapping merged into itself", _line("train: &a {<<: *a, b: 1}")
    yield "a million numbers", _line(f"seeds: [{', '.join(map(str, range(1_000_000)))}]")
    yield "a million keys", _line("train:\n" + "".join(f"  k{n}: 1\n" for n in range(1_000_000)))
    yield "deep lists", _line("train: " + "[" * 100_000)
    yield "deep lists, closed", _line("train: " + "[" * 400 + "]" * 400)
    yield "deep mappings", _line("train: " + "{a: " * 300 + "1" + "}" * 300)
    yield "deep block", _line("train:\n" + "".join(f"{' ' * n}a:\n" for n in range(1, 600)))
    yield "one long line", _line("components: " + "x" * 3_000_000)
    yield "huge whole number", _line(f"seeds: {'9' * 100_000}")
    yield "huge hexadecimal number", _line(f"seeds: 0x{'F' * 100_000}")
    yield "huge octal number in a list", _line(f"seeds: [0o{'7' * 100_000}]")
    yield "huge exponent", _line("budget: {hours: 1e999999999}")
    yield "huge number in a space", _with(search__space={"loss.sfp_global": {"float": [1, 10**400]}})
    yield "huge whole number in a space", _with(search__space={"local.patches": {"int": [1, 10**400]}})
    yield "huge weight", _with(search__choose={"weights": {"eval/psnr_db": 10**400, "eval/niqe": 1}})
    yield "huge step", _with(search__space={"local.patches": {"int": [1, 4], "step": 10**400}})
    yield "infinite range", _with(search__space={"loss.sfp_global": {"float": [0, float("inf")]}})
    yield "range without numbers", _with(search__space={"loss.sfp_global": {"float": [float("nan"), 1]}})
    yield "widest range", _with(search__space={"loss.sfp_global": {"float": [0, 1.7e308], "step": 1e-300}})
    yield "range about zero, at most", _with(search__space={"loss.sfp_global": {"float": [-1.7e308, 1.7e308]}})
    yield "smallest log range", _with(search__space={"loss.sfp_global": {"float": [5e-324, 1e-323], "log": True}})
    yield "finest step", _with(search__space={"loss.sfp_global": {"float": [0, 1], "step": 1e-300}})
    yield "fine step", _with(search__space={"loss.sfp_global": {"float": [0, 1], "step": 1e-9}})
    yield (
        "a hundred thousand choices",
        _with(search__space={"local.patch_px": {"choice": [16 + n * 1e-9 for n in range(100_000)]}}),
    )
    yield "ten thousand choices", _with(search__space={"local.patch_px": {"choice": list(range(16, 10_016))}})
    yield (
        "a thousand choices that fit",
        _with(search__space={"loss.sfp_global": {"choice": [n / 1000 for n in range(1000)]}}),
    )
    yield (
        "ten thousand choices that fit",
        _with(search__space={"loss.sfp_global": {"choice": [n / 1000 for n in range(10_000)]}}),
    )
    yield "two thousand unknown settings in the space", _with(search__space={path: {"float": [0, 1]} for path in many})
    yield "two thousand unknown settings", _with(train=dict.fromkeys(many, 1))
    yield "two thousand components", _with(components={f"c{n}": {"loss.sfp_global": n + 2} for n in range(2000)})
    yield (
        "three hundred components in a search",
        _with(components={f"c{n}": {"loss.identity": n + 2} for n in range(300)}),
    )
    yield (
        "many conditions",
        _with(
            search__space={
                path: {"choice": [0.1, 0.2], "when": {other: [0.1] for other in _LOSSES if other != path}}
                for path in _LOSSES
            }
        ),
    )
    yield (
        "condition on itself",
        _with(search__space={"loss.sfp_global": {"choice": [1, 2], "when": {"loss.sfp_global": 1}}}),
    )
    yield (
        "conditions in a circle",
        _with(
            search__space={
                "loss.sfp_global": {"choice": [1, 2], "when": {"loss.sfp_local": 1}},
                "loss.sfp_local": {"choice": [1, 2], "when": {"loss.sfp_global": 1}},
            }
        ),
    )
    yield "every weight searched", _with(search__space={path: {"float": [0, 1]} for path in _LOSSES})
    yield "a billion seeds", _line("seeds: 1000000000")
    yield "ten thousand seeds", _with(seeds=10_000)
    yield "a billion trials", _with(search__trials=10**12)
    yield "a billion steps of search", _with(search__trials=None, search__steps=10**15)
    yield "a thousand repeats", _with(search__repeats=1000)
    yield "a billion patience", _with(search__patience=10**30)
    yield "a billion caps", _with(search__total={"trials": 10**30, "hours": 1e300, "gpu_hours": 1e300})
    yield "a billion steps", _with(train__steps=10**12)
    yield "a billion evaluations", _with(train__steps=10**12, train__evaluate_every=1)
    yield (
        "a billion evaluations, median",
        _with(train__steps=10**12, train__evaluate_every=1, search__scheduler={"median": {}}),
    )
    yield "a billion brackets", _with(search__scheduler={"hyperband": {"brackets": 10**12, "first_rung": 1}})
    yield "huge reduction", _with(search__scheduler={"asha": {"first_rung": 10, "reduction": 10**400}})
    yield "huge first rung", _with(search__scheduler={"asha": {"first_rung": 10**400}})
    yield "a billion in the batch", _with(train__batch=10**9)
    yield "widest generator", _with(train__generator={"width": 256, "depth": 1})
    yield "a billion pixels", _with(train__crop_px=2**40)
    yield "a billion parts of a batch", _with(train__generator={"width": 8, "norm_splits": 10**12})
    yield "a billion CPUs", _with(resources={"cpu": 1e300, "gpu": 1e300})
    yield "infinite CPUs", _with(resources={"cpu": float("inf"), "gpu": float("nan")})
    yield "smallest CPU", _with(resources={"cpu": 5e-324, "gpu": 0})
    yield "infinite CPUs alone", _with(resources={"cpu": float("inf")})
    yield "infinite GPUs alone", _with(resources={"gpu": float("inf")})
    yield (
        "most variants, seeds and repeats",
        _with(
            components={f"c{n}": {"loss.identity": n + 2} for n in range(190)},
            seeds=10_000,
            search__repeats=1000,
            confirm={"seeds": 10_000},
        ),
    )
    yield "most seeds to confirm", _with(search__repeats=1000, confirm={"seeds": 10_000})
    for pattern in (
        "(a{0,99999999999})",
        "(" * 300 + "a" + ")" * 300,
        "(?P<a>.)(?P=b)",
        "(?<=a*)(b)",
        "(a{0,9999}){0,9999}",
    ):
        yield f"scenes {pattern[:20]}", _with(data__evaluate={"x": {"low": "../photos/low", "scenes": pattern}})
    yield "infinite hours", _with(budget={"hours": float("inf")})
    yield "huge seeds", _with(seeds=[2**32 - 1, 0])
    yield "huge seeds and repeats", _with(seeds=[2**32 - 1, 0], search__seeds=[2**32 - 1], search__repeats=1000)
    yield "huge confirming seeds", _with(confirm={"seeds": [2**32 - 1]}, search__repeats=1000)
    yield "score of all evaluations", _with(analysis={"at": 10**30})
    for kind in ("asha", "hyperband", "median", "none"):
        yield f"scheduler {kind} alone", _with(search__scheduler=kind)
    for name in NAMES:
        yield f"study {name[:20]!r}", _with(study=name)
        yield f"set {name[:20]!r}", _with(data__evaluate={name: {"low": "../photos/low", "normal": "../photos/normal"}})
        yield f"component {name[:20]!r}", _with(components={name: {"generator.attention": "none"}})
        yield f"weights called {name[:20]!r}", _with(components={"a": {"vgg.weights": name}})
        yield f"metric {name[:20]!r}", _with(search__objectives={name: "max"}, analysis__matters={name: 1})
    for path in PATHS:
        yield f"low {path[:20]!r}", _with(data__low=path)
        yield f"init {path[:20]!r}", _with(train__init=path)
        yield f"reference {path[:20]!r}", _with(reference={"mine": path})
        yield f"scenes {path[:20]!r}", _with(data__evaluate={"x": {"low": "../photos/low", "scenes": path}})
        yield f"start {path[:20]!r}", _with(search__start=path)
        yield f"tracking {path[:20]!r}", _with(tracking={"uri": path, "experiment": path})
    for tag in TAGS:
        for value in ("x", "[touch escape]", "{args: [touch escape]}", "12", "aGVsbG8="):
            yield f"tag {tag} {value}", _line(f"train: {{init: {tag} {value}}}")
    yield "tag on a key", _line("train: {!!python/name:os.system init: 3}")
    yield "key of a list", _line("train: {[a, b]: c}")
    yield "key of a mapping", _line("train: {{a: b}: c}")
    yield "key of a date", _line("2024-01-01: c")
    yield "date", _line("data: 2024-01-01T10:00:00+02:00")
    yield "date that is none", _line("data: 2024-99-99")
    yield "keys that read the same", _line('train: {1: a, "1": b}')
    yield "keys without text", _line("train: {null: a, ~: b, true: c, 1.5: d}")
    yield "same key twice", _line("train: {steps: 1, steps: 2}")
    yield "study twice", b"study: a\nstudy: b\n"
    yield "merged keys", _line("a: &a {steps: 40, evaluate_every: 10}\ntrain: {<<: *a, crop_px: 32}")
    yield "merged scalar", _line("train: {<<: 3}")
    yield "merged list of scalars", _line("train: {<<: [1, 2]}")
    yield "unknown alias", _line("train: *nothing")
    yield "several documents", b"study: a\n---\nstudy: b\n"
    yield "directive", b"%YAML 1.1\n---\nstudy: yes\n"
    yield "unknown directive", b"%FOO bar\n---\nstudy: a\n"
    yield "far version", b"%YAML 99.1\n---\nstudy: a\n"
    yield "tag directive", b"%TAG ! tag:x,2000:\n---\nstudy: !a b\n"
    yield "empty", b""
    yield "comment alone", b"# nothing\n"
    yield "nothing but ends", b"---\n...\n"
    yield "null characters", b"study: a\0b\n"
    yield "bytes of nothing", bytes(range(256))
    yield "half of a character", b"study: \xc3\n"
    yield "half of a pair", _line('components: {"\\ud800": {generator.attention: none}}')
    yield "half of a pair as a value", _line('components: {a: {vgg.weights: "\\ud83d"}}')
    yield "escapes as a key", _line('"\\e]0;owned\\a\\e[31m": 1')
    yield "right to left as a key", _line('"\\u202egnp": 1')
    yield "escapes of eight bits", _line('"\\x9b31m": 1')
    yield "carriage returns", b"study: a\rseeds: 3\r"
    yield "only tabs", b"\tstudy: a\n"
    yield "a shell", b"#!/bin/sh\ntouch escape\n"
    yield "a pickle", b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."
    yield "a reference with code in it", _with(reference={"mine": "../photos/hostile.pth"})
    yield "a start with code in it", _with(train__init="../photos/hostile.pth")
    yield "features with code in them", _with(train__vgg={"weights": "../photos/hostile.pth"})
    yield "unclosed", _line("train: {steps: [1, 2")
    yield "a link as a set", _with(data__evaluate={"x": {"low": "../photos/link", "normal": "../photos/normal"}})
    yield "trainer of another kind", _with(trainer="os")
    yield "trainer of many", _with(trainer=["trials.trainer"])
    yield "trainer with a path", _with(trainer="../escape")


_LOSSES = (
    "loss.global_weight", "loss.local_weight", "loss.sfp_global", "loss.sfp_local", "loss.colour_constancy",
    "loss.identity", "loss.gradient", "loss.total_variation", "stabilise.r1", "augment.darken", "optimiser.flat",
)  # fmt: skip

_SETTINGS = {
    "settings below settings": "data." + "a." * 3000 + "a=1", "deep mapping": "data=" + "{a: " * 300 + "1" + "}" * 300,
    "setting of many values": f"seeds=[{', '.join(map(str, range(20_000)))}]", "setting in itself": "data=&a [*a]",
    "half of a pair": "study=\ud800", "half of a pair as a path": "\udcff=1", "escapes": "\x1b[31m=1",
    "line break": "study=a\nb", "line break as a path": "a\nb=1", "no path": "=1", "no value": "study=",
    "dots": "...=1", "value below a value": "study.a.b=1", "object": "train.init=!!python/name:os.system",
}  # fmt: skip

CRAFTED = [
    Case("the whole spec, undamaged", FULL.encode(), sound=True),
    *(Case(name, content) for name, content in _crafted()),
    *(Case(f"--set: {name}", FULL.encode(), (given,)) for name, given in _SETTINGS.items()),
]
