"""The record of a driver: versions, git commit and whether the tree was dirty, command."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["record"]

PACKAGES = ("mlflow", "numpy", "optuna", "pandas", "pillow", "ray", "scikit-image", "scipy", "torch", "torchvision")


def record(root: Path, command: list[str]) -> dict[str, Any]:
    """Return what a later reader needs to know about the program that ran; git's part is None outside a checkout."""
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {
        "git_commit": _git(root, "rev-parse", "HEAD"),
        "git_dirty": None if changed is None else bool(changed),
        "versions": {"python": sys.version.split()[0]} | {name: importlib.metadata.version(name) for name in PACKAGES},
        "command": command,
    }


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
