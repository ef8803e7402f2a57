"""The sweep: from a spec to finished trials, their ledger and their MLflow runs.

`platform` is also a module of the standard library that Ray, MLflow, Optuna, pandas and uuid import. So this
package *is* that module first: its code runs in this namespace, and our submodules are reached through
`__path__`. No submodule may bear the name of one of the standard module's attributes; a test holds that.
"""

from __future__ import annotations

import importlib.machinery as _machinery
import os as _os
from typing import TYPE_CHECKING, Any


def _become_standard_module() -> None:
    """Run the standard module's code in this namespace, keeping what makes this a package.

    Raises:
        ImportError: if the standard library holds no `platform` module.
    """
    found = _machinery.PathFinder.find_spec("platform", [_os.path.dirname(_os.__file__)])
    if found is None or found.loader is None:
        raise ImportError("the standard library's own module 'platform' was not found beside 'os'")
    code = found.loader.get_code("platform")  # type: ignore[attr-defined]
    kept = ("__file__", "__path__", "__spec__", "__loader__", "__package__", "__cached__", "__doc__")
    ours = {name: globals()[name] for name in kept if name in globals()}
    exec(code, globals())
    globals().update(ours)


_become_standard_module()

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
