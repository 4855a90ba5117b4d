"""API keys with roles. A file holds their hashes; a key itself is shown once, when it is made."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from kgrec.errors import BadData, Fault, KgrecError, unknown_name

Role = Literal["read", "write", "admin"]  #: each may what those before it may
ROLES: tuple[Role, ...] = get_args(Role)
HEAD = "# API keys of kgrec serve: NAME ROLE SHA-256 of the key\n"
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ApiKey:
    """A key that the server knows."""

    name: str  #: what to call it
    role: Role
    digest: str  #: SHA-256 of the key, in hexadecimal digits; keys are 256 random bits, so it needs no salt

    def may(self, role: Role) -> bool:
        """Whether it may what a role may.

        >>> ApiKey("shop", "write", "").may("read"), ApiKey("shop", "write", "").may("admin")
        (True, False)
        """
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class ApiKeys:
    """The keys of a file."""

    keys: tuple[ApiKey, ...]

    @staticmethod
    def read(path: Path) -> ApiKeys:
        """The keys of a file. Raises KgrecError where it cannot be read or holds none, BadData for lines that are no
        keys."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise KgrecError(f"{path}: {error}; make keys by `kgrec key NAME --keys {path}`") from error
        keys, faults = list[ApiKey](), list[Fault | str]()
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 3 or words[1] not in ROLES or not HASH.fullmatch(words[2]):
                message = f"is no key; NAME, a role ({', '.join(ROLES)}) and 64 hexadecimal digits are wanted"
                faults.append(Fault(message, str(path), number, kind="bad key"))
            else:
                keys.append(ApiKey(words[0], words[1], words[2]))
        if faults:
            raise BadData(faults)
        if not keys:
            raise KgrecError(f"{path} holds no keys; make one by `kgrec key NAME --keys {path}`")
        return ApiKeys(tuple(keys))

    def of(self, key: str) -> ApiKey | None:
        """The key that a request shows; None: it is not known. All are compared, each in constant time."""
        digest, found = digest_of(key), None
        for one in self.keys:
            if hmac.compare_digest(one.digest, digest):
                found = one
        return found


def digest_of(key: str) -> str:
    """SHA-256 of a key, in hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def add_key(path: Path, name: str, role: str) -> str:
    """Make a key and add it to a file, which only its owner reads. Returns the key, which is stored nowhere.

    Raises KgrecError for a name that is there or that no key can have, UnknownName for a role that is not there.
    """
    if role not in ROLES:
        raise unknown_name("role", role, ROLES)
    if not NAME.fullmatch(name):
        raise KgrecError(f"the name {name!r} is not up to 64 letters, digits, '_', '.' and '-'")
    known = ApiKeys.read(path).keys if path.exists() else ()
    if any(one.name == name for one in known):
        raise KgrecError(f"{path} has a key {name!r} already; take its line out first, or choose another name")
    key = f"kgrec_{secrets.token_urlsafe(32)}"
    line = f"{name} {role} {digest_of(key)}\n"
    try:
        there = path.read_text(encoding="utf-8") if path.exists() else HEAD
        between = "" if there.endswith("\n") else "\n"
        path.touch(mode=0o600)
        with path.open("a", encoding="utf-8") as file:
            file.write(line if path.stat().st_size and not between else f"{between or HEAD}{line}")
    except OSError as error:
        raise KgrecError(f"cannot write to {path}: {error.strerror or error}") from error
    return key
