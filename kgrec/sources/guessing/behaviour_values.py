"""What users did in each row: the values of a column such as `view`, `cart` and `purchase`, as relations."""

from __future__ import annotations

import re

from kgrec.graph.schema import clean_name
from kgrec.sources.guessing.column_profile import Column
from kgrec.sources.guessing.column_words import has_role

MOST_VALUES = 25  #: different values that a column of behaviours may have
#: Words of a value -> the relation
WORDS = {
    "viewed": "pageview viewed page_view product_view pv view detail visit detail_page_view impression views view_item",
    "clicked": "click clicks clicked clickout",
    "carted": "cart carted addtocart add_to_cart add-to-cart basket addtobasket add_to_basket",
    "purchased": "purchase purchased purchases buy bought order ordered transaction checkout sale pay paid conversion",
    "favorited": "fav favorite favourite favorited wishlist add_to_wishlist bookmark bookmarked save saved collect",
    "liked": "like liked likes upvote thumbs_up",
    "rated": "rate rated rating review reviewed",
    "played": "play played listen listened stream watch watched plays",
    "shared": "share shared",
    "commented": "comment commented",
    "searched": "search searched",
    "followed": "follow followed",
    "downloaded": "download downloaded install installed",
    "started": "start started",
    "finished": "finish finished complete completed",
    "borrowed": "borrow borrowed loan checkout_book",
    "recommended": "recommend recommended",
}
AGAINST = (
    "remove removed remove_from_cart removefromcart delete deleted return returned refund refunded cancel cancelled "
    "canceled dislike disliked unlike downvote uninstall uninstalled hide hidden block blocked skip skipped report "
    "reported unfollow thumbs_down error logout login"
)
RELATION_OF = {word: relation for relation, words in WORDS.items() for word in words.split()}
LEFT_OUT = frozenset(AGAINST.split())


def relation_of(value: str) -> str | None:
    """The relation of a value; None where it is left out, as returns are.

    >>> relation_of("AddToCart"), relation_of("remove_from_cart"), relation_of("gift")
    ('carted', None, 'gift')
    """
    plain = re.sub(r"[\s\-]+", "_", value.strip().lower())
    if plain in LEFT_OUT:
        return None
    return RELATION_OF.get(plain) or RELATION_OF.get(plain.replace("_", "")) or clean_name(plain)


def behaviour_of(column: Column) -> dict[str, str | None] | None:
    """By value of a column, its relation; None where the column does not say what users did."""
    if column.is_list or column.is_number or not 2 <= len(column.distinct) <= MOST_VALUES:
        return None
    order = sorted(range(len(column.distinct)), key=lambda place: -int(column.counts[place]))
    values = [column.distinct[place].as_py() for place in order]
    plain = [re.sub(r"[\s\-]+", "_", value.strip().lower()) for value in values]
    known = sum(word in RELATION_OF or word in LEFT_OUT or word.replace("_", "") in RELATION_OF for word in plain)
    if known < max(1, len(values) * (0.3 if has_role(column.name, "behaviour") else 0.6)):
        return None
    found = {value: relation_of(value) for value in values}
    return found if any(found.values()) else None
