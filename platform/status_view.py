"""Where a study stands, for people: plain lines and tables, no colour needed to understand them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from analysis.records import dated
from analysis.schema import COMPLETED, DIVERGED, FAILED, PLANNED, RUNNING, STATES, STOPPED
from platform.standing import Chosen
from platform.status_driver import DEAD, INTERRUPTED, Driver
from platform.status_study import Brief, Ended, Lost, Place, Search, Status
from platform.status_study import Running as Training
from platform.status_terminal import cell, count, lines, say, table
from platform.status_trial import named, short
from platform.view import clock

__all__ = ["show", "show_list"]

LISTED = 10
"""So many sentences, or trials, are shown; `--json` has all."""
NAMES = 4
STATE = {
    "running": "running",
    "unfinished": "not finished",
    "budget": "not finished, its budget is spent",
    "failed": "all trials have ended, some FAILED",
    "done": "done, every trial has a result",
}
ALWAYS = (PLANNED, RUNNING, COMPLETED)


def show(to: Console, now: Status, asked: str) -> None:
    """Print where a study stands; `asked` is the study as the user named it."""
    say(to, f"{now.study}: {STATE[now.state]}", "bold")
    lines(to, _facts(now))
    _stages(to, now)
    _running(to, now)
    for title, ended in ((FAILED, now.failed), (DIVERGED, now.diverged)):
        _broken(to, title, ended, asked)
    _lost(to, now)
    if now.search is not None:
        _search(to, now.search)
    _disk(to, now)


def show_list(to: Console, studies: Sequence[Brief]) -> None:
    """Print a line for each study."""
    made = table(("study", "left"), ("trials", "right"), ("failed", "right"), ("diverged", "right"), ("", "left"))
    for one in studies:
        if one.state == "unreadable":
            made.add_row(*map(cell, [one.study, "", "", "", one.why]))
            continue
        said = STATE[one.state] + (f": {one.why}" if one.state == "unfinished" else "")
        if one.driver is not None and one.state == "running":
            said += f" since {dated(one.driver.started)}, process {one.driver.pid} on {one.driver.host}"
        counts = [
            f"{_results(one.trials)}/{sum(one.trials.values())}",
            str(one.trials[FAILED]),
            str(one.trials[DIVERGED]),
        ]
        made.add_row(*map(cell, [one.study, *counts, said]))
    to.print(made)


def _facts(now: Status) -> list[tuple[str, str]]:
    stopped = now.state in ("unfinished", "budget", "failed")
    told = now.driver is not None and now.driver.state in (DEAD, INTERRUPTED)
    return [
        ("driver", _driver(now)),
        ("because", now.why if now.state in ("unfinished", "budget") and not told else ""),
        ("trials", _trials(now)),
        ("time", _time(now)),
        ("mirror", _mirror(now)),
        ("to go on", now.go_on if stopped and now.state != "failed" else ""),
        ("to retry", f"{now.go_on} --retry failed" if now.state == "failed" else ""),
    ]


def _driver(now: Status) -> str:
    driver = now.driver
    if driver is None:
        said = "none has run yet"
    else:
        who = f"process {driver.pid} on {driver.host}"
        said = {
            "running": f"{who} runs since {dated(driver.started)} ({clock(max(0.0, now.at - driver.started))})",
            "ended": f"none runs; the last one, {who}, ended {_when(driver, now.at)}",
            "interrupted": f"none runs; the last one, {who}, was interrupted {_when(driver, now.at)}",
            "dead": f"none runs; the last one, {who}, is dead without a word, last heard of {_when(driver, now.at)}",
        }[driver.state]
    held = now.held_by
    if held is not None and (driver is None or driver.state != "running"):
        said += f"; process {held.pid} on {held.host} holds the study and has not begun to train"
    return said


def _when(driver: Driver, at: float) -> str:
    ended = driver.ended or driver.started
    return f"{dated(ended)} ({_ago(at - ended)})"


def _results(trials: Mapping[str, int]) -> int:
    return sum(trials.values()) - trials[PLANNED] - trials[RUNNING]


def _trials(now: Status) -> str:
    counts = now.trials
    parts = [f"{_results(counts)} of {sum(counts.values())} have ended"]
    cut = "cut off" if _dead(now) else "running"
    named_states = {RUNNING: cut, PLANNED: "planned", STOPPED: "stopped", DIVERGED: DIVERGED, FAILED: FAILED}
    parts += [f"{counts[state]} {word}" for state, word in named_states.items() if counts[state]]
    parts += [f"about {now.to_come} more that the search will add"] if now.to_come else []
    parts += [f"{now.unplanned} of earlier specs, kept beside the plan"] if now.unplanned else []
    return ", ".join(parts)


def _time(now: Status) -> str:
    time = now.time
    parts = [f"{clock(time.spent)} of training so far"]
    if time.budget is not None:
        parts[0] += f", of {clock(time.budget)} allowed"
    if now.state in ("done", "failed"):
        return parts[0]
    if time.left is None:
        parts.append("time left not yet known")
    elif now.state == "running":
        parts.append(f"about {clock(time.left)} left with {time.at_a_time} at a time")
    else:
        parts.append(f"about {clock(time.left)} of training left")
    return ", ".join(parts)


def _mirror(now: Status) -> str:
    command = shlex.join(["python", "-m", "platform.mirror", now.folder])
    one = now.mirror
    if one is None:
        return f"no copy in MLflow yet; to make it: {command}"
    where = f"{one.uri}, experiment {one.experiment}"
    said = f"{_ago(now.at - one.at)}" + (f": {one.error}" if one.error else "")
    if one.behind:
        return f"{count(one.behind, 'ended trial')} behind, {said} ({where}); to copy now: {command}"
    return f"up to date ({where})" + (f"; but {said}" if one.error else "")


def _stages(to: Console, now: Status) -> None:
    shown = [one for one in STATES if one in ALWAYS or any(row.states[one] for row in now.variants)]
    heads = {RUNNING: "cut off"} if _dead(now) else {}
    valued = any(row.value is not None for row in now.variants)
    counts = [(heads.get(state, state.lower()), "right") for state in shown]
    made = table(("stage", "left"), ("variant", "left"), *counts, *([(now.primary, "right")] if valued else []))
    for row in now.variants:
        value = [_number(row.value)] if valued else []
        made.add_row(*map(cell, [row.stage, row.variant, *(str(row.states[state]) for state in shown), *value]))
    _section(to, "", made)


def _running(to: Console, now: Status) -> None:
    dead = _dead(now)
    heads = [("trial", "left"), ("identity", "left"), ("step", "right"), ("", "right"), (now.primary, "right")]
    heads += [("spent on it", "right"), ("attempt", "right"), ("where", "left"), ("last heard of", "right")]
    made = table(*heads)
    for one in now.running[: 4 * LISTED]:
        made.add_row(*map(cell, _training(one, now.at)))
    title = "cut off; the same command goes on from their last checkpoints" if dead else "running now"
    if now.running:
        _section(to, title, made, more=len(now.running) - 4 * LISTED)


def _training(one: Training, at: float) -> list[str]:
    share = f"{100 * one.step // one.steps} %" if one.steps else ""
    where = " ".join(part for part in (one.node, one.device) if part)
    return [
        _names([one.places[0]] if one.places else []), short(one.trial), f"{one.step}/{one.steps}", share,
        _number(one.value), clock(one.seconds), str(one.attempt), where, _ago(at - one.last_sign),
    ]  # fmt: skip


def _broken(to: Console, title: str, ended: Sequence[Ended], asked: str) -> None:
    """Print the trials that ended badly, those with the same sentence together."""
    if not ended:
        return
    groups: dict[tuple[str, str], list[Ended]] = {}
    for one in ended:
        groups.setdefault((one.kind or "", one.message), []).append(one)
    to.print()
    say(to, f"{title}: {count(len(ended), 'trial')}", "bold")
    most = sorted(groups.items(), key=lambda group: -len(group[1]))
    for (kind, message), those in most[:LISTED]:
        names = ", ".join(f"{_names(one.places[:1])} ({short(one.trial)})" for one in those[:NAMES])
        more = f" and {len(those) - NAMES} more" if len(those) > NAMES else ""
        say(to, f"  {f'{kind}: ' if kind else ''}{message}\n    {names}{more}")
    if len(most) > LISTED:
        say(to, f"  and {len(most) - LISTED} more sentences; --json has all")
    one = most[0][1][0]
    what = "the traceback" if title == FAILED else "all of it"
    say(to, f"  {what}: {shlex.join(['python', '-m', 'platform.status', asked, '--trial', short(one.trial)])}")


def _lost(to: Console, now: Status) -> None:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(now.outcomes.items()))
    if not counts:
        return
    to.print()
    say(to, f"attempts without an end: {counts}", "bold")
    for one in sorted(now.lost, key=lambda one: -one.last)[:LISTED]:
        say(to, f"  {_lost_line(one, now.at)}")
    if len(now.lost) > LISTED:
        say(to, f"  and {len(now.lost) - LISTED} more trials; --json has all")


def _lost_line(one: Lost, at: float) -> str:
    nodes = f" on {', '.join(one.nodes)}" if one.nodes else ""
    who = f"{_names(one.places[:1])} ({short(one.trial)})"
    return f"{who}: lost {count(one.attempts, 'time')}{nodes}, last {_ago(at - one.last)}"


def _search(to: Console, search: Search) -> None:
    heads = [("variant", "left"), ("spent", "right"), ("budget", "right")]
    heads += [(f"best\n{name}", "right") for name in search.objectives]
    several = len(search.objectives) > 1
    heads += [("front", "right")] if several else []
    made = table(*heads, ("confirmed", "right"))
    for one in search.standings:
        row = [one.variant, str(one.spent), f"{one.budget} {search.unit}"] if one.budget else [one.variant, "", "none"]
        row += [_number(one.best.get(name)) for name in search.objectives]
        row += [str(one.front) if one.front else ""] if several else []
        confirmed = f"{one.confirmed.ended}/{one.confirmed.planned}" if one.confirmed.planned else ""
        made.add_row(*map(cell, [*row, confirmed]))
    _section(to, "search", made)
    for one in search.standings:
        if one.ended:
            say(to, f"  {one.variant}: ended early, {one.ended}")
        for two in one.chosen:
            repeat = f", repeat {two.repeat}" if len(one.chosen) > 1 else ""
            say(to, f"  {one.variant}{repeat}: chosen {_chosen(two)}")


def _chosen(one: Chosen) -> str:
    """Return what a search chose, and what that was worth when confirmed."""
    if one.number is None:
        return f"nothing, {one.why}"
    said = "as it stands, nothing to search"
    if one.number >= 0:
        settings = (
            f"{path} {f'{value:.4g}' if isinstance(value, float) else value}" for path, value in one.params.items()
        )
        said = f"{one.number}: {', '.join(settings)}"
    values = ", ".join(f"{name} {value:.3f}" for name, value in one.confirmed.values.items())
    return f"{said}; confirmed {values}" if values else said


def _disk(to: Console, now: Status) -> None:
    made = table(("files", "left"), ("size", "right"), ("where", "left"))
    for one in now.disk:
        label = "other of trials" if one.what == "trials" else one.what
        missing = "not written yet" if one.what == "report" else "not to be seen from here"
        size = missing if one.bytes is None else decimal(one.bytes) if one.whole else f"over {decimal(one.bytes)}"
        made.add_row(*map(cell, [label, size, one.path]))
    _section(to, "", made)


def _section(to: Console, title: str, made: Table, more: int = 0) -> None:
    to.print()
    if title:
        say(to, title, "bold")
    to.print(made)
    if more > 0:
        say(to, f"and {more} more; --json has all")


def _dead(now: Status) -> bool:
    """Whether what the ledger calls RUNNING runs no more."""
    return bool(now.running) and now.driver is not None and now.driver.state == DEAD


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _ago(seconds: float) -> str:
    days = int(seconds // 86400)
    return f"{days} days ago" if days > 1 else f"{clock(max(0.0, seconds))} ago"


def _names(places: Iterable[Place]) -> str:
    return ", ".join(named(place) for place in places) or "not in the plan"
