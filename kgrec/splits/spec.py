"""The text form of a split (SPEC), as on the command line and in recipes."""

from __future__ import annotations

from kgrec.errors import KgrecError

SPECS = {
    "last_n": "last_n:N[,valid=M]",
    "ratio": "ratio:F[,valid=F][,per_user][,seed=S]",
    "by_time": "by_time:T1,T2",
    "cold_items": "cold_items:F[,valid=F][,warm=F][,seed=S]",
    "NAME": "NAME[,valid=M or F][,users=F][,seed=S], where NAME is a split stored in the graph",
}
OF_FACTS = "ratio:0.1,valid=0.05,seed=0"  #: how facts are divided by default


class Spec:
    """A SPEC in its parts: `kind:positional,...,name=value,...,flag`."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        kind, colon, rest = spec.partition(":")
        words = rest.split(",") if colon else spec.split(",")[1:]
        self.kind = kind.strip() if colon else spec.split(",")[0].strip()
        words = [word.strip() for word in words if word.strip()]
        self.options = dict(word.split("=", 1) for word in words if "=" in word)
        self.positional = [word for word in words if "=" not in word]

    def wrong(self, why: str) -> KgrecError:
        return KgrecError(f"split {self.spec!r}: {why}; possible splits are {'; '.join(SPECS.values())}")

    def allow(self, *names: str) -> None:
        for name in self.options:
            if name not in names:
                raise self.wrong(f"it has no option {name!r}")

    def whole_number(self, text: str, what: str, least: int, most: int = 2**31 - 1) -> int:
        if not text.isdecimal() or (len(text) <= 20 and int(text) < least):
            raise self.wrong(f"{what} is {text!r}, but must be a whole number of at least {least}")
        if len(text) > 20 or int(text) > most:
            raise self.wrong(f"{what} is {text!r}, but must be at most {most:,}")
        return int(text)

    def share(self, text: str, what: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise self.wrong(f"{what} is {text!r}, but must be a share between 0 and 1") from None
        if not 0 < value < 1:
            raise self.wrong(f"{what} is {text}, but must be a share between 0 and 1")
        return value

    @property
    def seed(self) -> int:
        return self.whole_number(self.options.get("seed", "0"), "seed", 0, 2**63 - 1)


def shares_of(words: Spec) -> tuple[float, float]:
    """The shares of test and of valid in a `ratio` SPEC."""
    shares = [word for word in words.positional if word != "per_user"]
    if len(shares) != 1:
        raise words.wrong("write exactly one share after ratio:")
    test = words.share(shares[0], "F")
    valid = words.share(words.options["valid"], "valid") if "valid" in words.options else 0.0
    if test + valid >= 1:
        raise words.wrong("test and valid leave nothing to train on")
    return test, valid


def spec_of_test(spec: str) -> str:
    """The part of a SPEC that determines the test edges. Two SPECs with the same part have the same test edges.

    >>> spec_of_test("given,valid=0.1,users=0.2,seed=3"), spec_of_test("ratio:0.2,valid=0.1")
    ('given:', 'ratio:0.2,seed=0')
    """
    words = Spec(spec)
    return _spelled(words, *(() if ":" not in spec else ("warm", "seed")))


def spec_of_parts(spec: str) -> str:
    """A SPEC in one fixed spelling: two SPECs that divide a graph in the same way give the same text.

    >>> spec_of_parts("given,seed=0,valid=0.1") == spec_of_parts("given,valid=0.1")
    True
    """
    return _spelled(Spec(spec), "valid", "users", "warm", "seed")


def _spelled(words: Spec, *names: str) -> str:
    """A SPEC's kind, its positional words, and its options among `names`; `valid` and `seed` are 0 if they are not
    there."""
    options = {"valid": "0", "seed": "0"} | words.options
    return f"{words.kind}:" + ",".join([*words.positional, *(f"{n}={options[n]}" for n in names if n in options)])
