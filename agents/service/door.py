"""Who is let in, and how often: the token and the rate of a request, before anything is read or recorded.

Rules that act here:
- Where tokens are set, a request brings one of them, `Authorization: Bearer TOKEN`. They are compared in constant time.
- A token is for some of the routes, by its scopes; for the others it gets 403.
- A token may have `requests_per_minute`, and as many at once; without one, the address from which it comes. Who asks
  with a wrong token is counted by address, so guessing is as slow.
- Counted is in this process: behind several processes each lets in as many. At `CALLERS_MAX` callers the one that was
  not seen for longest is forgotten, and begins anew.
- `/health` and `/openapi.json` are open.
"""

from __future__ import annotations

import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from accord.agents.service.replies import failure
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from accord.errors import AccordError, Denied, NotAuthenticated, Overloaded
from accord.settings import ServiceSettings

OPEN: Final = frozenset({"/health", "/openapi.json"})
CALLERS_MAX: Final = 10_000
MINUTE_S: Final = 60.0
SCOPE_OF: Final = {"create-content": "content", "research-parallel": "research", "task": "read"}
"""By the first part of a path. For what is not here (`metrics`, or nothing) any token will do."""


class Rate:
    """Token buckets, one a caller.

    Args:
        per_minute: requests; also how many at once after a minute of silence. 0: no bound.
        now_s: a clock that only goes forward, in seconds.
    """

    def __init__(self, per_minute: int, now_s: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._now_s = now_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By caller, the longest unseen first: how many requests were left, and when."""

    def take(self, caller: str) -> float:
        """Counts a request. Returns in how many seconds it may be made; 0: now, and only then it counts."""
        if not self._per_minute:
            return 0.0
        now_s = self._now_s()
        left, at_s = self._left.pop(caller, (float(self._per_minute), now_s))
        left = min(float(self._per_minute), left + (now_s - at_s) * self._per_minute / MINUTE_S)
        lacking = max(0.0, 1.0 - left)
        self._left[caller] = (left if lacking else left - 1.0, now_s)
        if len(self._left) > CALLERS_MAX:
            self._left.popitem(last=False)
        return lacking * MINUTE_S / self._per_minute


def scope_of(path: str) -> str | None:
    """The scope that a path needs; None: any token will do."""
    return SCOPE_OF.get(path.split("/")[1])


class Door:
    """The ASGI middleware. Arguments as for `Rate`; settings say the tokens and the rate."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, now_s: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._tokens = [token.encode() for token in settings.tokens]
        self._scopes = list(settings.tokens.values())
        self._rate = Rate(settings.requests_per_minute, now_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN:
            address = (scope.get("client") or ("unknown", 0))[0]
            refusal = self._refusal(Headers(scope=scope), address, scope["path"])
            if refusal is not None:
                await failure(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers, address: str, path: str) -> AccordError | None:
        """Why a request is not let in; None: it is."""
        known = self._known(headers.get("authorization", ""))
        wait_s = self._rate.take(f"address {address}" if known is None else f"token {known}")
        if wait_s:
            return Overloaded(
                "Too many requests.",
                remedy=f"Try again in {math.ceil(wait_s)} s.",
                retry_after_ms=math.ceil(wait_s * 1_000),
            )
        if self._tokens and known is None:
            what = "The token is none of this service's." if "authorization" in headers else "A token is needed."
            return NotAuthenticated(what, remedy="Send it as the header Authorization: Bearer TOKEN.")
        needed = scope_of(path)
        if known is not None and needed is not None and needed not in self._scopes[known]:
            return Denied(
                f"The token is not for {path}: it lacks the scope {needed}.",
                remedy="Ask whoever runs the service for one that has it.",
                scope=needed,
            )
        return None

    def _known(self, authorization: str) -> int | None:
        """Which of the tokens the header brings. All are compared, whichever it is."""
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        # Latin-1 is how the header was read: so its bytes are compared, whatever they are.
        same = [hmac.compare_digest(given.strip().encode("latin-1"), token) for token in self._tokens]
        return same.index(True) if True in same else None
