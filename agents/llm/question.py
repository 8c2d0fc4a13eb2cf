"""What a model is asked, and the hash by which the log knows it.

The hash is BLAKE2b of all that the answer depends on: model, instructions, prompt, cap of tokens and parameters. Whose
question it is, where the model is asked, by which API and with which key are no part of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from accord.streams.limits.bounds import TOKENS_MAX

from accord.errors import BadInput

HASH_BYTES: Final = 20
CHARS_A_TOKEN: Final = 3
"""Fewer than English has, so that the guess of a prompt's tokens is rather too high; corrected after the call."""
OWN: Final = frozenset(
    {
        "model", "input", "messages", "instructions", "prompt", "max_tokens", "max_output_tokens",
        "max_completion_tokens", "stream", "n", "store", "background", "timeout", "extra_headers", "extra_query",
    }
)  # fmt: skip
"""What is no parameter: set here already, changes the form of the answer, or may hold a secret."""


class Question(NamedTuple):
    """A question as the endpoint gets it; `parameters` are passed on to the API as they are."""

    model: str
    instructions: str
    prompt: str
    max_tokens: int
    parameters: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """The key of the question on the log: 40 hexadecimal digits."""
        plain = json.dumps(self._asdict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return blake2b(plain.encode(), digest_size=HASH_BYTES).hexdigest()

    @property
    def tokens(self) -> int:
        """How many tokens the call may take."""
        chars = len(self.prompt) + len(self.instructions)
        return min(chars // CHARS_A_TOKEN + 1 + self.max_tokens, TOKENS_MAX)


def checked(
    model: str, prompt: str, instructions: str, max_tokens: int, parameters: Mapping[str, Any] | None
) -> Question:
    """A question. Raises BadInput: it cannot be asked."""
    if not prompt.strip():
        raise BadInput("ask(): the prompt is empty.")
    if max_tokens < 1:
        raise BadInput(f"ask(): max_tokens={max_tokens}; the least is 1.")
    own = sorted(OWN & set(parameters or ()))
    if own:
        raise BadInput(f"ask(): {', '.join(own)} cannot be set by parameters.", remedy="Use arguments and settings.")
    question = Question(model, instructions, prompt, max_tokens, dict(parameters or {}))
    try:
        _ = question.hash
    except (TypeError, ValueError) as error:
        raise BadInput(f"ask(): the parameters are no JSON: {error}.") from None
    return question
