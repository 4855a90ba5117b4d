"""What a person may choose where two guesses are as likely: on a terminal, or by `--set key=value`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kgrec.errors import KgrecError, unknown_name

KEYS = {
    "interactions": "the file with interactions",
    "user": "the column with users",
    "item": "the column with items",
    "time": "the column with times, or none",
    "time_format": "its strptime format, such as %d/%m/%Y",
    "weight": "the column with ratings or counts, or none",
    "behaviour": "the column that says what users did, or none",
    "target": "the relation to recommend",
}  #: keys of --set


@dataclass(frozen=True)
class Question:
    """A choice between guesses that are as likely. options: value -> why it may be the one."""

    key: str
    text: str
    options: Mapping[str, str]


Ask = Callable[[Question], str]


@dataclass(frozen=True)
class Choices:
    """What was chosen beforehand, and who is asked about the rest; None: nobody, so a question is an error."""

    chosen: Mapping[str, str] = field(default_factory=dict)
    ask: Ask | None = None

    @staticmethod
    def of(assignments: Sequence[str], ask: Ask | None = None) -> Choices:
        """Choices from texts such as `user=customer`. Raises KgrecError for another form, UnknownName for another
        key."""
        chosen = {}
        for one in assignments:
            key, equals, value = one.partition("=")
            if not equals or not value:
                raise KgrecError(f"--set {one}: write it as key=value, such as interactions=orders.csv")
            if key not in KEYS:
                raise unknown_name("key", key, KEYS, "of --set")
            chosen[key] = value
        return Choices(chosen, ask)

    def answer(self, question: Question) -> str:
        """The value that was chosen. Raises KgrecError with the possible ones where nobody can be asked."""
        if question.key in self.chosen:
            return self.chosen[question.key]
        if self.ask is not None:
            return self.ask(question)
        lines = [f"  --set {question.key}={value}   {why}".rstrip() for value, why in question.options.items()]
        raise KgrecError("\n".join([f"{question.text}; choose one:", *lines]), kind="several candidates")
