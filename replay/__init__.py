"""Reads the log again: verify, state at a point, timeline, archives.

    with replay.open("hotel.accord") as log:
        assert log.verify().ok
        print(log.at("locks/3@1842").partitions)

Replay repeats no effect: it reads, decides and folds, and calls nothing outside.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accord.replay.log import Log
    from accord.replay.source import Source

    from accord.settings import Settings

__all__ = ["open"]


def open(source: str | Path | Settings | Source | None = None, *, partial: bool = False) -> Log:
    """Opens a log for replay: fixed where it ends now.

    Args:
        source: the directory of an archive; the address of a cluster, `host:port`; settings, whose cluster it is; None
            for the cluster of the settings in force.
        partial: take an archive that was never completed, as far as it goes.

    Raises:
        NotFound: there is no such archive, or the cluster has no topics of accord.
        KafkaUnreachable: no broker answers.
        ArtifactDamaged: the archive is not whole.
        BadInput: the text is neither a directory nor an address.
    """
    from accord.replay.log import Log  # noqa: PLC0415  importing an archive's writer must not bring all of replay
    from accord.replay.source import open_source  # noqa: PLC0415

    return Log(open_source(source, partial=partial))
