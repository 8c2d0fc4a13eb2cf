"""What users test their programs with.

The fixtures are in `plugin.py`; for `accord_sim` there are the invariants `exclusion`, `order`, `atomicity`,
`serializability`, `duration` and `liveness`. Every pytest of an environment loads this package with the plugin: so it
imports nothing by itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from accord.testing.trials.invariants import atomicity, duration, exclusion, liveness, order, serializability
    from accord.testing.trials.sim import AccordSim, TrialFailed
    from accord.testing.trials.threads import NotSimulated
    from accord.testing.trials.trial import Trial

_HOMES: Final = {
    "AccordSim": "sim",
    "NotSimulated": "threads",
    "Trial": "trial",
    "TrialFailed": "sim",
    "atomicity": "invariants",
    "duration": "invariants",
    "exclusion": "invariants",
    "liveness": "invariants",
    "order": "invariants",
    "serializability": "invariants",
}

__all__ = [
    "AccordSim",
    "NotSimulated",
    "Trial",
    "TrialFailed",
    "atomicity",
    "duration",
    "exclusion",
    "liveness",
    "order",
    "serializability",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'accord.testing' has no attribute {name!r}")
    return getattr(import_module(f"accord.testing.trials.{_HOMES[name]}"), name)
