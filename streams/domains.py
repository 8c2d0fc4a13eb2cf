"""Every domain that a worker can run. A new one adds its schemas, its messages, its decider and a line here."""

from __future__ import annotations

from typing import Final

from accord.streams import limits, locks, signals
from accord.streams.decider import Domain

DOMAINS: Final[dict[str, Domain]] = {domain.name: domain for domain in (locks.DOMAIN, signals.DOMAIN, limits.DOMAIN)}
