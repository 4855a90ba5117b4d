"""Seals: they show that arrays.json was written by this user, not by a stranger who sent the folder.

A seal is a keyed hash of arrays.json. The key is made at random when it is first needed, and kept in the cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEALS = "seals"  #: key of arrays.json
LENGTH = 32  #: bytes of the key


def cache_folder() -> Path:
    """The folder for what can be made again: `KGREC_CACHE`, else `kgrec` in `XDG_CACHE_HOME` or `~/.cache`."""
    named = os.environ.get("KGREC_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kgrec"


def can_seal() -> bool:
    """Whether this user has a key. Without one, arrays are checked each time they are loaded."""
    return own_key() is not None


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with this user's seal; without one if no key can be kept."""
    plain = {name: value for name, value in document.items() if name != SEALS}
    key = own_key()
    return plain if key is None else {**plain, SEALS: {_name(key): _seal(plain, key)}}


def is_own(document: Mapping[str, Any], key: bytes | None) -> bool:
    """Whether a document has the seal of this user. key: the user's `own_key`."""
    seals = document.get(SEALS)
    if key is None or not isinstance(seals, dict):
        return False
    plain = {name: value for name, value in document.items() if name != SEALS}
    return hmac.compare_digest(str(seals.get(_name(key))), _seal(plain, key))


def _seal(plain: Mapping[str, Any], key: bytes) -> str:
    return hmac.new(key, json.dumps(plain, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _name(key: bytes) -> str:
    return hashlib.sha256(b"name" + key).hexdigest()[:16]


def own_key() -> bytes | None:
    """The user's key; None if it cannot be kept."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home folder
        path = cache_folder() / "key"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".key-{secrets.token_hex(8)}")
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(LENGTH))
            try:
                os.link(draft, path)  # unlike a rename, it does not replace another process's key
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        key = path.read_bytes()
        return key if len(key) == LENGTH else None
    return None
