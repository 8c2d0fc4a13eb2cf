"""Four agents race for two rooms. One is killed, one is stopped and comes back; no room is booked twice.

Six processes take part: this one (broker, worker, hotel), a researcher who has a language model choose the hotel, and
four bookers. What is promised is checked afterwards, in the log and in the hotel's ledger: exit 1 if any is not kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from pathlib import Path

from cast import CastError
from plot import BOOKERS, ROOMS, Played, play
from screen import Screen, named
from stage import StageError, accord_command, stage
from story import Promise, Story

import accord
from accord.testing.kafka_jars import KafkaUnavailable

BROKEN, NOT_RUN, INTERRUPTED = 1, 3, 130


def main() -> int:
    options = _options()
    screen = Screen(quiet=options.json)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    started = time.monotonic()
    try:
        guests = sum(len(guests) for guests in BOOKERS.values())
        screen.title(f"{len(BOOKERS)} agents, {guests} guests, {len(ROOMS)} rooms" + ", no locks" * options.no_locks)
        played = play(screen, stage(screen, options.keep, on_kafka=options.kafka), locks=not options.no_locks)
        story = Story(str(options.keep))
        _tell(screen, story, options.keep)
        if options.no_locks:
            return _without_locks(screen, played, as_json=options.json)
        promises = story.promises(played.bookings, ROOMS, played.killed or "nobody", played.paused or "nobody")
        promises.append(_verify(screen, options.keep, as_json=options.json))
        _conclude(screen, promises, played, options.keep)
        summary = _summary(promises, played, options.keep, on_kafka=options.kafka, seconds=time.monotonic() - started)
        if options.json:
            print(json.dumps(summary))
        return 0 if summary["ok"] else BROKEN
    except (CastError, StageError, KafkaUnavailable) as error:
        screen.title("The demo did not come to its end.")
        screen.line(str(error))
        return NOT_RUN
    except accord.AccordError as error:
        screen.title("The demo did not come to its end.")
        screen.line(f"{error.code}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        screen.line("interrupted; all agents were ended")
        return INTERRUPTED


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kafka", action="store_true", help="on a real Kafka: KAFKA_BOOTSTRAP_SERVERS, else its own")
    parser.add_argument("--no-locks", action="store_true", help="without locks: see what happens")
    parser.add_argument("--keep", type=Path, default=Path("hotel.accord"), help="the archive (default: hotel.accord)")
    parser.add_argument("--json", action="store_true", help="print one JSON object; all else goes to stderr")
    return parser.parse_args()


def _tell(screen: Screen, story: Story, keep: Path) -> None:
    screen.title(f"What the log says ({keep})")
    for row in story.rows():
        text = f"[bold red]{row.text}[/]" if row.grave else row.text
        at = f"[dim]{row.after_ms / 1_000:5.2f} s[/]"
        screen.row(at, f"[dim]{row.position:<12}[/]", named(row.agent), text)
    if story.in_vain_count:
        screen.line(f"         and {story.in_vain_count} times a room was found taken")


def _verify(screen: Screen, keep: Path, *, as_json: bool) -> Promise:
    """Decides the whole log again, with the program that users have."""
    command = ["replay", "verify", str(keep), *(["--json"] if as_json else [])]
    screen.title("Decided again, and compared")
    screen.line(f"$ accord {' '.join(command)}")
    code, said = accord_command(*command, check=False)
    screen.line(said.rstrip())
    return Promise("verify", "every decision, made again from its command, is the recorded one", code == 0)


def _conclude(screen: Screen, promises: list[Promise], played: Played, keep: Path) -> None:
    screen.title("What was promised")
    for promise in promises:
        mark = "[green]kept  [/]" if promise.kept else "[bold red]BROKEN[/]"
        at = f"  [dim]{promise.position}[/]" if promise.position else ""
        screen.row(mark, f"{promise.text}{at}", indent=2)
    _ledger(screen, played)
    position = next((promise.position for promise in promises if promise.position), "locks/0@1")
    program = "accord" if shutil.which("accord") else _relative(Path(sys.executable).parent / "accord")
    following = {
        f"{program} events list {keep}": "all of it",
        f"{program} replay state {keep} --at {position}": "how things stood there",
        "script/demo --no-locks": "what happens without",
        "script/demo --kafka": "the same on a real Kafka",
    }
    screen.title("Next")
    for command, what in following.items():
        screen.row(f"{command:<{max(map(len, following))}}", f"[dim]{what}[/]", indent=2)


def _without_locks(screen: Screen, played: Played, *, as_json: bool) -> int:
    """Shows what the locks are for. Exit 1 if it does not show: then something else made them take turns."""
    _ledger(screen, played)
    double = len(played.bookings) - len({booking.room for booking in played.bookings})
    if double:
        screen.title(f"{len(played.bookings)} bookings for {len(ROOMS)} rooms")
        screen.line("Each agent found its room free, paid, and wrote. With locks: script/demo")
    if as_json:
        bookings = [booking._asdict() for booking in played.bookings]
        print(json.dumps({"ok": not double, "bookings": bookings, "double_bookings": double}))
    return 0 if double else BROKEN


def _ledger(screen: Screen, played: Played) -> None:
    screen.title(f"The ledger of the {played.hotel}")
    for booking in sorted(played.bookings):
        under = f"token {booking.token}" if booking.token is not None else "no token"
        screen.row(f"room {booking.room}", f"{booking.guest:<6}", f"by {named(booking.agent)}", under, indent=2)


def _summary(
    promises: list[Promise], played: Played, keep: Path, *, on_kafka: bool, seconds: float
) -> dict[str, object]:
    """What `--json` prints."""
    return {
        "ok": all(promise.kept for promise in promises),
        "broker": "kafka" if on_kafka else "embedded",
        "rooms": len(ROOMS),
        "bookings": [booking._asdict() for booking in played.bookings],
        "hotel": played.hotel,
        "model": played.model,
        "killed": played.killed,
        "paused": played.paused,
        "promises": {promise.name: promise._asdict() for promise in promises},
        "archive": str(keep),
        "seconds": round(seconds, 1),
    }


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
