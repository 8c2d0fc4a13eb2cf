"""Patterns of working together: each takes agents, or other patterns, and is itself one more; see docs/patterns.md.

from accord.agents.patterns import parallel, sequential

report = sequential(collect, parallel(analyse, visualise), summarise)
result = await report.run("sales", key="report-7")
"""

from accord.agents.patterns.best_of import best_of
from accord.agents.patterns.consensus import consensus
from accord.agents.patterns.event_driven import event_driven
from accord.agents.patterns.flow import Flow, Pattern
from accord.agents.patterns.hierarchical import hierarchical
from accord.agents.patterns.models import asks
from accord.agents.patterns.parallel import parallel
from accord.agents.patterns.roles import Item, Outcome, Roles
from accord.agents.patterns.sequential import sequential
from accord.agents.patterns.supervisor import Supervisor

__all__ = [
    "Flow",
    "Item",
    "Outcome",
    "Pattern",
    "Roles",
    "Supervisor",
    "asks",
    "best_of",
    "consensus",
    "event_driven",
    "hierarchical",
    "parallel",
    "sequential",
]
