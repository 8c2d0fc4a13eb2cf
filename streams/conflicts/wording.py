"""When two names or two topics are the same, however they are written. A text is compared by what it becomes here.

Names (actions, targets, resources, modes) are compared after

1. Unicode NFKC: full width, ligatures, composed and decomposed accents,
2. case folding: `Report` and `REPORT`, `Straße` and `STRASSE`,
3. blanks: any run of them is one, none at the ends.

Topics also by

4. punctuation: it is a blank, other than a sign or a point that makes a number another (`-5`, `1.5`) and what tells
   names apart (`C#`, `R&D`, `50%`, `@ada`). `re-write` and `re write` are the same, `rewrite` is another word.

Not seen: another word for the same (synonyms, other languages, `12` and `twelve`), another order, another form of a
word (plural, tense), abbreviations, spelling mistakes. And one text that means two things is one topic.

Whatever the release of Python, the same text becomes the same: characters that Unicode 3.2 did not have are left as
they are, and of the others neither normal form nor case folding changes any more.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from unicodedata import ucd_3_2_0 as unicode

KEPT: Final = "#%&@*"
"""Punctuation, for Unicode, that tells names apart."""
_BLANKS: Final = re.compile(r"[\s\u200b\ufeff]+")
_POINT_IN_NUMBER: Final = re.compile(r"(?<=[0-9])[.,](?=[0-9])")
_SIGN: Final = re.compile(r"(?<![^\s(])[-\u2212](?=[0-9])")
_HELD: Final = {".": "\ue000", ",": "\ue001", "-": "\ue002", "\u2212": "\ue002"}
"""What stays is put aside while the rest of the punctuation goes: characters for private use, in no text's way."""
_BACK: Final = str.maketrans({"\ue000": ".", "\ue001": ",", "\ue002": "-"})


@lru_cache(maxsize=4_096)
def name_key(text: str) -> str:
    """What a name is compared by."""
    return _BLANKS.sub(" ", "".join(map(_folded, unicode.normalize("NFKC", text)))).strip()


@lru_cache(maxsize=4_096)
def topic_key(text: str) -> str:
    """What a topic is compared by."""
    key = _SIGN.sub(_aside, _POINT_IN_NUMBER.sub(_aside, name_key(text)))
    words = "".join([" " if _is_punctuation(letter) else letter for letter in key])
    return _BLANKS.sub(" ", words).strip().translate(_BACK)


def _aside(found: re.Match[str]) -> str:
    return _HELD[found.group()]


def _folded(letter: str) -> str:
    return letter.casefold() if unicode.category(letter) != "Cn" else letter


def _is_punctuation(letter: str) -> bool:
    return letter not in KEPT and unicode.category(letter).startswith("P")
