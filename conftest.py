"""Plain `pytest` has loaded the standard module `platform` before our package is on its path: graft ours onto it."""

import sys
from pathlib import Path

import platform

ROOT = Path(__file__).resolve().parent
if not hasattr(platform, "__path__"):
    platform.__path__ = [str(ROOT / "platform")]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
