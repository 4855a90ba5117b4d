"""Short names for predicates, each of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kgrec.errors import BadData, Fault
from kgrec.graph.schema import clean_name, free_name
from kgrec.sources.rdf.facts import FactOptions


class RelationNames:
    """The relation that each predicate is called. Names that collide get the part of the IRI before, or a number.

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
        """Name predicates as the recipe says, else by their own last part. Raises BadData where a recipe's name is not
        letters, digits and single underscores."""
        predicates = list(predicates)
        chosen = {options.expanded(predicate): name for predicate, name in options.names.items()}
        wrong = [name for name in chosen.values() if clean_name(name) != name]
        if wrong:
            raise BadData(
                Fault(
                    f"`names`: {name!r} is not letters, digits and single underscores; call it {clean_name(name)!r}",
                    value=name,
                    kind="bad recipe",
                )
                for name in wrong
            )
        self._taken |= set(chosen.values())
        for predicate in predicates:
            if predicate not in self._name:
                self._name[predicate] = chosen.get(predicate) or self._free_name(predicate)
        self._add_inverses(options.inverse_of, options)

    def _add_inverses(self, inverse_of: Mapping[str, str], options: FactOptions) -> None:
        for predicate, other in inverse_of.items():
            backwards, forwards = options.expanded(predicate), options.expanded(other)
            if backwards in self._name and forwards in self._name:
                self._inverse[backwards] = self._name[forwards]

    def inverse(self, predicate: str) -> str | None:
        """The relation that states the same facts backwards, as the recipe says."""
        return self._inverse.get(predicate)

    def _free_name(self, predicate: str) -> str:
        chosen = free_name(predicate, self._taken)
        self._taken.add(chosen)
        return chosen
