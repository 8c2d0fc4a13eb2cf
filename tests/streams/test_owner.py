"""What an owner holds after a contest: its own decisions, where they truly lie."""

from accord.schemas.headers import LOG_APPEND_TIME, LogRecord, command_headers
from accord.schemas.messages.locks import AcquireLock
from accord.streams.domains import DOMAINS
from accord.streams.owner import Owner
from accord.streams.partition import Identity, Partition
from msgspec.structs import replace


def test_known_ids_are_where_their_decisions_lie() -> None:
    """Checkpoints name where the oldest one lies: at a wrong place, none of them would be of any use."""
    partition = Partition(Identity("c", "locks", 0), DOMAINS["locks"])
    owner = Owner(partition, 0, None)
    made = [owner.open(1, "log_append").decision]
    for number in range(3):
        headers = command_headers(f"m{number}", "ada", "AcquireLock", b"[0,{}]")
        value = partition.commands.encode(AcquireLock("ada", "ada/1", 5_000, None))
        taken = owner.take(LogRecord(number, 1_000 + number, LOG_APPEND_TIME, b"room", value, headers))
        assert taken is not None
        made.append(taken.decision)
    owner.delivered(made[-1].seq, 7)
    assert owner.contested
    landed = [replace(decision, offset=offset) for decision, offset in zip(made, (0, 2, 3, 7), strict=True)]
    assert owner.settle(landed, 8)
    oldest = partition.window.oldest()
    assert oldest is not None and (oldest.offset, oldest.seq) == (0, 1)
    assert [entry[2] for entry in partition.window._order] == [0, 2, 3, 7]
    assert owner.expected == 8 and partition.head.offset == 7
