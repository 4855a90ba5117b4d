"""The words of a SPEC: how a split is asked for on the command line and in recipes."""

from __future__ import annotations

from kgrec.errors import KgrecError

SPECS = {
    "last_n": "last_n:N[,valid=M]",
    "ratio": "ratio:F[,valid=F][,per_user][,seed=S]",
    "by_time": "by_time:T1,T2",
    "cold_items": "cold_items:F[,valid=F][,seed=S]",
    "NAME": "NAME[,valid=M or F][,users=F][,seed=S], NAME being a split stored in the graph",
}
OF_FACTS = "ratio:0.1,valid=0.05,seed=0"  #: how facts are divided where no SPEC is given


class Spec:
    """The words of a SPEC: `kind:positional,...,name=value,...,flag`."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        kind, colon, rest = spec.partition(":")
        words = rest.split(",") if colon else spec.split(",")[1:]
        self.kind = kind.strip() if colon else spec.split(",")[0].strip()
        words = [word.strip() for word in words if word.strip()]
        self.options = dict(word.split("=", 1) for word in words if "=" in word)
        self.positional = [word for word in words if "=" not in word]

    def wrong(self, why: str) -> KgrecError:
        return KgrecError(f"split {self.spec!r}: {why}; the forms are {'; '.join(SPECS.values())}")

    def allow(self, *names: str) -> None:
        for name in self.options:
            if name not in names:
                raise self.wrong(f"no option {name!r}")

    def whole_number(self, text: str, what: str, least: int, most: int = 2**31 - 1) -> int:
        if not text.isdecimal() or (len(text) <= 20 and int(text) < least):
            raise self.wrong(f"{what} is {text!r}, a whole number from {least} is wanted")
        if len(text) > 20 or int(text) > most:
            raise self.wrong(f"{what} is {text!r}, at most {most:,} is wanted")
        return int(text)

    def share(self, text: str, what: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise self.wrong(f"{what} is {text!r}, a share between 0 and 1 is wanted") from None
        if not 0 < value < 1:
            raise self.wrong(f"{what} is {text}, a share between 0 and 1 is wanted")
        return value

    @property
    def seed(self) -> int:
        return self.whole_number(self.options.get("seed", "0"), "seed", 0, 2**63 - 1)


def shares_of(words: Spec) -> tuple[float, float]:
    """Of test and of valid, by `ratio`."""
    shares = [word for word in words.positional if word != "per_user"]
    if len(shares) != 1:
        raise words.wrong("one share is wanted after ratio:")
    test = words.share(shares[0], "F")
    valid = words.share(words.options["valid"], "valid") if "valid" in words.options else 0.0
    if test + valid >= 1:
        raise words.wrong("test and valid leave nothing to train on")
    return test, valid


def spec_of_test(spec: str) -> str:
    """What of a SPEC says which edges are test: of two that differ in the rest alone, both hold out the same.

    >>> spec_of_test("given,valid=0.1,users=0.2,seed=3"), spec_of_test("ratio:0.2,valid=0.1")
    ('given:', 'ratio:0.2,seed=0')
    """
    words = Spec(spec)
    return _spelled(words, *(() if ":" not in spec else ("seed",)))


def spec_of_parts(spec: str) -> str:
    """A SPEC as all spell it that divide alike.

    >>> spec_of_parts("given,seed=0,valid=0.1") == spec_of_parts("given,valid=0.1")
    True
    """
    return _spelled(Spec(spec), "valid", "users", "seed")


def _spelled(words: Spec, *names: str) -> str:
    """A SPEC's kind, its positional words and the options of these names, where they are given or are 0 if not."""
    options = {"valid": "0", "seed": "0"} | words.options
    return f"{words.kind}:" + ",".join([*words.positional, *(f"{n}={options[n]}" for n in names if n in options)])
