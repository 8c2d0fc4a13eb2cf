"""Which anomalies can occur at which level of isolation, and which cannot; each by the schedule that is known for it.

An anomaly is a function of a level: it runs two transactions side by side and says whether what must not be happened.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.streams.sessions import Session, Store

LEVELS = ("read_committed", "snapshot", "serializable")


def store_of(**values: str) -> Store:
    store = Store()
    first = Session(store, "serializable")
    for key, value in values.items():
        first.put(key, value)
    assert first.commit()
    return store


def dirty_read(level: str) -> bool:
    """Reads what is not committed, and perhaps never is."""
    store = store_of(a="1")
    one, other = Session(store, level), Session(store, level)
    one.put("a", "2")
    seen = other.get("a")
    one.delete("a")
    return seen == "2" or (one.commit() and other.get("a") == "2")


def intermediate_read(level: str) -> bool:
    """Reads one half of what another writes."""
    store = store_of(a="1", b="1")
    one, other = Session(store, level), Session(store, level)
    one.put("a", "2")
    seen = other.get("a")
    one.put("b", "2")
    one.commit()
    return seen == "2"


def non_repeatable_read(level: str) -> bool:
    """Reads a key twice, and it has changed."""
    store = store_of(a="1")
    one, other = Session(store, level), Session(store, level)
    before = one.get("a")
    other.put("a", "2")
    other.commit()
    return one.get("a") != before


def read_skew(level: str) -> bool:
    """Reads two keys that were never so together."""
    store = store_of(a="1", b="1")
    one, other = Session(store, level), Session(store, level)
    a = one.get("a")
    other.put("a", "2")
    other.put("b", "2")
    other.commit()
    return (a, one.get("b")) == ("1", "2")


def phantom(level: str) -> bool:
    """Reads the keys with a prefix twice, and there are others."""
    store = store_of(**{"room/1": "1"})
    one, other = Session(store, level), Session(store, level)
    before = one.keys("room/")
    other.put("room/2", "1")
    other.commit()
    return one.keys("room/") != before


def lost_update(level: str) -> bool:
    """Both add to what they have read, and one addition is gone."""
    store = store_of(n="0")
    one, other = Session(store, level), Session(store, level)
    for session in (one, other):
        session.put("n", str(int(session.get("n") or 0) + 1))
    both = one.commit(), other.commit()
    return both == (True, True) and Session(store, level).get("n") == "1"


def lost_delete(level: str) -> bool:
    """One deletes what another one changes, and it is there again."""
    store = store_of(n="0")
    one, other = Session(store, level), Session(store, level)
    one.put("n", (one.get("n") or "") + "1")
    other.get("n")
    other.delete("n")
    both = other.commit(), one.commit()
    return both == (True, True)


def write_skew(level: str) -> bool:
    """Each goes off duty because it sees the other on duty."""
    store = store_of(ada="on", bob="on")
    sessions = {name: Session(store, level, name) for name in ("ada", "bob")}
    for name, session in sessions.items():
        if [session.get("ada"), session.get("bob")].count("on") > 1:
            session.put(name, "off")
    return all(session.commit() for session in sessions.values())


def write_skew_by_phantom(level: str) -> bool:
    """Each books a room because there is no booking yet; neither writes what the other one has written."""
    store = store_of(other="1")
    sessions = {name: Session(store, level, name) for name in ("ada", "bob")}
    for name, session in sessions.items():
        if not session.keys("booking/"):
            session.put(f"booking/{name}", "1")
    return all(session.commit() for session in sessions.values())


def write_skew_by_values(level: str) -> bool:
    """Each takes from one account because the sum is enough for that."""
    store = store_of(**{"account/ada": "60", "account/bob": "60"})
    sessions = {name: Session(store, level, name) for name in ("ada", "bob")}
    for name, session in sessions.items():
        if sum(int(value or 0) for value in session.items("account/").values()) >= 100:
            session.put(f"account/{name}", "-40")
    return all(session.commit() for session in sessions.values())


Anomaly = Callable[[str], bool]
OCCUR: dict[Anomaly, dict[str, bool]] = {
    dirty_read: dict.fromkeys(LEVELS, False),
    intermediate_read: dict.fromkeys(LEVELS, False),
    non_repeatable_read: {"read_committed": True, "snapshot": False, "serializable": False},
    read_skew: {"read_committed": True, "snapshot": False, "serializable": False},
    phantom: {"read_committed": True, "snapshot": False, "serializable": False},
    lost_update: {"read_committed": True, "snapshot": False, "serializable": False},
    lost_delete: {"read_committed": True, "snapshot": False, "serializable": False},
    write_skew: {"read_committed": True, "snapshot": True, "serializable": False},
    write_skew_by_phantom: {"read_committed": True, "snapshot": True, "serializable": False},
    write_skew_by_values: {"read_committed": True, "snapshot": True, "serializable": False},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("anomaly", OCCUR, ids=lambda anomaly: anomaly.__name__)
def test_what_can_occur_and_what_cannot(anomaly: Anomaly, level: str) -> None:
    assert anomaly(level) == OCCUR[anomaly][level]


def test_who_reads_only_is_in_nobodys_way_and_sees_one_version() -> None:
    store = store_of(a="1", b="1")
    reader, writer = Session(store, "serializable"), Session(store, "serializable")
    assert reader.get("a") == "1"
    writer.put("b", str(int(writer.get("b") or 0) + 1))
    assert writer.commit()
    assert reader.get("b") == "1" and reader.commit()
