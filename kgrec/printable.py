"""Make text from data safe to print: control characters become visible escapes."""

from __future__ import annotations

import unicodedata

#: Categories of characters that control a terminal, break a line or cannot be encoded
HIDDEN = ("Cc", "Cs", "Zl", "Zp")
#: Characters that turn the direction of what is written after them (UAX #9), and the mark of byte order
TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
#: Short escapes, as Python spells them
SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: object, keep: str = "") -> str:
    """The text with control characters, line breaks and marks of writing direction as visible escapes. keep: characters
    that are not changed, such as the line breaks of a message.

    >>> print(printable("a\\x1b[31mb"), printable("[b] :skull:"), printable("x\\ny"))
    a\\x1b[31mb [b] :skull: x\\ny
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if one in keep or not _is_hidden(one) else _escaped(one) for one in text)


def is_no_unicode(text: str) -> bool:
    """Whether a text has half a surrogate pair, which UTF-8 cannot write.

    >>> is_no_unicode("é"), is_no_unicode("\\ud800")
    (False, True)
    """
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _is_hidden(character: str) -> bool:
    return character in TURNING or unicodedata.category(character) in HIDDEN


def _escaped(character: str) -> str:
    number = ord(character)
    return SHORT.get(character) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")
