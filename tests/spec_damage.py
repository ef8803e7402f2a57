"""Damage done to specs: to their values and structure, to their characters, and by settings of the command line."""

import copy
import json
import string
from functools import cache
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

__all__ = ["FULL", "NAMES", "PATHS", "dumped", "garbled", "loaded", "restructured", "setting", "sources"]

ROOT = Path(__file__).parents[1]
FULL = """\
study: whole
trainer: trials.trainer
data:
  source: folders
  low: ../photos/low
  normal: ../photos/normal
  evaluate:
    paired: {low: ../photos/low, normal: ../photos/normal, scenes: "(.*)_"}
    alone: ../photos/low
  confirm:
    fresh: {low: ../photos/more, normal: ../photos/bright}
train:
  steps: 40
  batch: 2
  crop_px: 32
  evaluate_every: 10
  generator: {width: 8, attend: {input: true, skips: false}}
  global: {layers: 2, width: 8}
  local: {layers: 2, width: 8, patches: 2, patch_px: 16}
  vgg: {weights: random, layer: relu1_1}
  watch: {collapse: {evaluations: 3}}
components:
  attention: {generator.attention: none}
  local_sfp: {loss.sfp_local: 0}
design: leave-one-out
seeds: [3, 5, 8]
search:
  trials: 6
  total: {trials: 100, hours: 5}
  objectives: {eval/psnr_db: max, eval/niqe: min}
  choose: {best: eval/psnr_db, where: {eval/niqe: <= 7}}
  space:
    loss.sfp_global: {float: [0.03, 3], log: true}
    local.patches: {int: [1, 3]}
    local.patch_px: {choice: [16, 24]}
    stabilise.r1: {float: [0, 1], step: 0.25}
    stabilise.r1_every: {int: [1, 9], step: 4, when: {stabilise.r1: [0.5, 1]}}
  sampler: tpe
  scheduler: {hyperband: {first_rung: 10, reduction: 2, brackets: 2}}
  repeats: 2
  seed: 7
  first_points: 2
  patience: 5
  seeds: [3]
confirm: {seeds: 2}
control: {placebo: true}
analysis:
  primary: eval/psnr_db
  matters: {eval/psnr_db: 0.5, eval/niqe: 0.2}
  images: these
  at: last 2 evaluations
resources: {cpu: 1, gpu: 0}
budget: {hours: 8}
tracking: {uri: null, experiment: mine}
"""

NAMES = (
    "..", ".", "../../escape", "/escape", "~", "~root", "a/b", "a\\b", "con\0nul", "", " ", "-", "-rf", ".hidden",
    "x" * 81, "x" * 5000, "é", "名前", "a\nb", "a\n", "\x1b[31mred", "\u202egnp", "\u2028", "<script>alert(1)</script>",
    "[/bold]", "[red]x", "{{7*7}}", "%s%n", "$(touch escape)", "`touch escape`", "baseline", "no_attention", "placebo",
    "photos", "input", "mlflow.db", "mlartifacts", "report", "ledger.db", "constructor", "__class__", "model_fields",
    "<<", "null", "eval/psnr_db", "eval/niqe", "eval/none", "loss/generator", "health/duality_gap", "\ufeff",
    "\U0001f4a9",
)  # fmt: skip
PATHS = (
    "..", "/", "/etc/passwd", "/dev/zero", "/dev/null", "/proc/self/mem", "~", "~nobody_at_all/x", "~root", "../spec",
    "file:///etc/passwd", "http://127.0.0.1:9/x", "\0", "a\0b", "x" * 300, "x/" * 3000, "loop", "../spec/spec.yaml",
    "../photos/hostile.pth", "../photos/link", "../photos/low/a_1.png", "$HOME", "CON", "\\\\host\\share", "é.pth",
    "../photos/table.csv", "none.csv", "(", "(a)(b)", "(?P<x>.*)", "",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 3, 7, 10**9, 10**12, 2**31, 2**32, 2**63, 2**64, -(2**63), 10**400, 10**4400, 0.0, -0.0, 0.5, 1e-300,
    5e-324, 1e308, 1.7e308, float("inf"), float("-inf"), float("nan"), 1e-6, 0.1 + 0.2, True, False,
)  # fmt: skip
SETTINGS = (
    "loss.sfp_global", "local.patch_px", "local.patches", "generator.attention", "generator.width", "generator.depth",
    "generator", "vgg.weights", "vgg.layer", "init", "steps", "evaluate_every", "batch", "crop_px", "stabilise.r1",
    "stabilise.r1_every", "stabilise.ema", "optimiser.period_steps", "global.discriminator", "augment.darken_min",
    "generator.norm_splits", "watch.collapse", "loss", "loss.", ".loss", "loss..sfp_local", "generator.attend.input",
    "local.discriminator", "loss.sfp_local", "loss.local_weight", "compute.precision", "watch.collapse.evaluations",
)  # fmt: skip
INSERTED = (
    *"{}[]:,&*!|>'\"%@`#-?\t\0\x07\x1b\x7f\x85\xa0\u2028\ufeff", "<<: ", "---\n", "...\n",
    "%YAML 9.9\n---\n", "!!binary ",
    "!!float ", "!x ",
)  # fmt: skip
WORDS = (
    "none", "random", "imagenet", "list", "add-one-in", "leave-one-out", "folders", "photos", "knee", "gp", "tpe",
    "quasi-random", "asha", "hyperband", "median", "max", "min", "these", "sample",
    "last 99999999999999999999 evaluations",
    "last 0 evaluations", "<= 4", "> -1e999", "<= nan", "2024-01-01", "12:30:45", "0o17", "0x1F", "1_000", "yes", "~",
)  # fmt: skip


@cache
def sources():
    """Return the texts that are damaged: the project's own studies, and one with every section."""
    files = [ROOT / "ablation.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]
    return [FULL, FULL, *(path.read_text(encoding="utf-8") for path in files)]


def loaded(text):
    """Return what a sound spec's text holds, for the caller to damage."""
    return copy.deepcopy(_loaded(text))


@cache
def _loaded(text):
    loader = YAML(typ="safe", pure=True)
    loader.version = (1, 2)
    return loader.load(StringIO(text))


def dumped(spec) -> bytes:
    """Return the spec as YAML: JSON is YAML, but for what JSON cannot say."""
    return _flow(spec).encode("utf-8", "surrogatepass")


def _flow(node) -> str:
    if isinstance(node, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(value)}" for key, value in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(_flow, node)) + "]"
    if isinstance(node, float):
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(str(node), repr(node))
    if isinstance(node, int) and not isinstance(node, bool) and abs(node) >= 10**4299:
        return f"{node:#x}"
    return json.dumps(node)


def restructured(text, draw) -> bytes:
    spec = loaded(text)
    for _ in range(draw.choice([1, 1, 1, 2, 3, 5])):
        _change(spec, draw)
    return dumped(spec)


def _holders(node):
    """Return every mapping and list in a node, the node itself first."""
    found = [node] if isinstance(node, dict | list) else []
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        found += _holders(value)
    return found


def _change(spec, draw):
    """Change one thing, in place."""
    holders = [one for one in _holders(spec) if one]
    holder = draw.choice(holders)
    key = draw.choice(list(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
    what = draw.choice(["value"] * 6 + ["remove", "rename", "add", "wrap", "nest", "swap", "double"])
    if what == "value":
        holder[key] = _value(draw, holder[key])
    elif what == "remove":
        del holder[key]
    elif what == "rename" and isinstance(holder, dict):
        holder[_key(draw)] = holder.pop(key)
    elif what == "add" and isinstance(holder, dict):
        holder[_key(draw)] = _value(draw, holder[key])
    elif what == "wrap":
        holder[key] = draw.choice([[holder[key]], {"a": holder[key]}, {str(key): holder[key]}, [[[holder[key]]]]])
    elif what == "nest":
        inner = holder[key]
        for _ in range(draw.choice([3, 20, 60, 250])):
            inner = {"a": inner} if draw.random() < 0.5 else [inner]
        holder[key] = inner
    elif what == "swap":
        other = draw.choice(holders)
        at = draw.choice(list(other)) if isinstance(other, dict) else draw.randrange(len(other))
        taken, put = json.dumps(holder[key], default=str), json.dumps(other[at], default=str)
        holder[key], other[at] = json.loads(put), json.loads(taken)
    elif isinstance(holder, list):
        holder.extend(holder * draw.choice([1, 3, 50]))


def _key(draw):
    return draw.choice(
        [draw.choice(NAMES), draw.choice(SETTINGS), draw.choice(WORDS), draw.choice(NUMBERS), None, True]
    )


def _value(draw, old):
    kind = draw.choice(["number", "number", "name", "path", "word", "setting", "empty", "long", "near", "space"])
    if kind == "number":
        return draw.choice(NUMBERS)
    if kind == "name":
        return draw.choice(NAMES)
    if kind == "path":
        return draw.choice(PATHS)
    if kind == "word":
        return draw.choice(WORDS)
    if kind == "setting":
        return draw.choice([draw.choice(SETTINGS), {draw.choice(SETTINGS): draw.choice([*NUMBERS, *WORDS, *NAMES])}])
    if kind == "empty":
        return draw.choice([None, [], {}, "", [None], {"": None}, [[]], [{}]])
    if kind == "long":
        return draw.choice([list(range(300)), ["a"] * 300, {f"k{n}": n for n in range(300)}, "x" * 20_000])
    if kind == "space":
        return _distribution(draw)
    if isinstance(old, int | float) and not isinstance(old, bool):
        return draw.choice([-old, old * 10, old * 10**6, old / 3, str(old), [old, old]])
    return draw.choice([str(old), [old], not old])


def _distribution(draw):
    low, high = draw.choice(NUMBERS), draw.choice(NUMBERS)
    one = {draw.choice(["float", "int"]): [low, high]} if draw.random() < 0.6 else {"choice": draw.choices(NAMES, k=3)}
    if draw.random() < 0.3:
        one["step"] = draw.choice(NUMBERS)
    if draw.random() < 0.3:
        one["log"] = draw.choice([True, False, "true", 1])
    if draw.random() < 0.3:
        one["when"] = {draw.choice(SETTINGS): draw.choice([1, [1, 2], [], "none", {"a": 1}, None, [None]])}
    return draw.choice([one, {draw.choice(SETTINGS): one}])


def garbled(text, draw) -> bytes:
    """Return the text with damage to its characters, lines and bytes."""
    for _ in range(draw.choice([1, 1, 2, 4, 10])):
        lines = text.splitlines(keepends=True) or [""]
        at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        place = draw.randrange(len(text) + 1)
        what = draw.randrange(9)
        if what == 0:
            del lines[at]
        elif what == 1:
            lines.insert(other, lines[at])
        elif what == 2:
            lines[at], lines[other] = lines[other], lines[at]
        elif what == 3:
            lines[at] = draw.choice(["  ", "\t", " " * 40, "- ", "? ", "&a ", "*a ", "!!set "]) + lines[at]
        elif what == 4:
            lines[at] = lines[at].lstrip()
        if what <= 4:
            text = "".join(lines)
        elif what == 5:
            text = text[:place] + draw.choice(INSERTED) + text[place:]
        elif what == 6:
            text = text[:place]
        elif what == 7:
            text = text[:place] + draw.choice(string.printable) + text[place + 1 :]
        else:
            text = text[:place] + text[place + draw.randint(1, 30) :]
    content = text.encode("utf-8")
    if draw.random() < 0.15:
        place = draw.randrange(len(content) + 1)
        content = content[:place] + draw.choice([b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\0"]) + content[place:]
    if draw.random() < 0.05:
        content = text.encode(draw.choice(["utf-16", "utf-32", "utf-8-sig"]))
    return content


def setting(text, draw) -> str:
    """Return a `path=value` for the command line, which holds no null characters."""
    spec = loaded(text)
    path = []
    while isinstance(spec, dict) and spec and draw.random() < 0.85:
        path.append(str(draw.choice(list(spec))))
        spec = spec[path[-1]]
    if draw.random() < 0.3:
        path.append(draw.choice([*SETTINGS, *NAMES, *WORDS]))
    value = draw.choice(
        ["", "[", "{a: b}", "&a [*a]", "!!python/name:os.system", "{<<: 3}", "null", "[1, 2", "\t", "---"]
    )
    if draw.random() < 0.7:
        value = _flow(_value(draw, spec))
    return f"{'.'.join(path)}{draw.choice(['=', '=', '=', '=', '==', ':', ''])}{value}".replace("\0", "")
