"""Short names for predicates. No two predicates get the same name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kgrec.errors import BadData, Fault
from kgrec.graph.schema import clean_name, free_name
from kgrec.sources.rdf.facts import FactOptions


class RelationNames:
    """The relation name of each predicate. If two names are equal, one gets an earlier part of its IRI, or a number.

    >>> names = RelationNames()
    >>> names.add(["http://x/ontology/actor", "http://x/property/actor"], FactOptions())
    >>> names["http://x/ontology/actor"], names["http://x/property/actor"]
    ('actor', 'property_actor')
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._name: dict[str, str] = {}
        self._inverse: dict[str, str] = {}

    def __getitem__(self, predicate: str) -> str:
        return self._name[predicate]

    def add(self, predicates: Iterable[str], options: FactOptions) -> None:
        """Name predicates as the recipe says, or by the last part of their IRI. Raises BadData where a name in the
        recipe has other characters than letters, digits and single underscores."""
        predicates = list(predicates)
        chosen = {options.term(predicate): name for predicate, name in options.names.items()}
        wrong = [name for name in chosen.values() if clean_name(name) != name]
        if wrong:
            raise BadData(
                Fault(
                    f"`names`: {name!r} may only have letters, digits and single underscores; write "
                    f"{clean_name(name)!r}",
                    value=name,
                    kind="bad recipe",
                )
                for name in wrong
            )
        of_values = {options.term(name): literal.relation for name, literal in options.literals.items()}
        self._taken |= {*chosen.values(), *(name for name in of_values.values() if name is not None)}
        self._taken |= {options.classes.relation} if options.classes is not None else set()
        for predicate in predicates:
            if predicate not in self._name:
                self._name[predicate] = chosen.get(predicate) or self._free_name(predicate, of_values.get(predicate))
        self._add_inverses(options.inverse_of, options)

    def _add_inverses(self, inverse_of: Mapping[str, str], options: FactOptions) -> None:
        for predicate, other in inverse_of.items():
            backwards, forwards = options.term(predicate), options.term(other)
            if backwards in self._name and forwards in self._name:
                self._inverse[backwards] = self._name[forwards]

    def inverse(self, predicate: str) -> str | None:
        """The relation that says the same in the other direction, from the recipe's `inverse_of`."""
        return self._inverse.get(predicate)

    def _free_name(self, predicate: str, own: str | None) -> str:
        """A name that is not used yet. own: the name of the edges to the predicate's values, which it may share."""
        chosen = free_name(predicate, self._taken if own is None else self._taken - {own})
        self._taken.add(chosen)
        return chosen
