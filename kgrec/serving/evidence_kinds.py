"""By what it is known which past items are behind a list, without torch."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """By what it is known which past items are behind a list."""

    ATTENTION = "attention"  #: the share of all attention to the user's history
    WITHOUT = "scores without it"  #: by what share the list's mean score falls where the history lacks the item
    #: the same, where the model knows users by their ids and scores are products: of a vector that is fitted to what
    #: the user did by weighted least squares (Hu et al. 2008), once with the item and once without
    FITTED = "scores fitted without it"
    COSINE = "cosine of vectors"  #: the mean cosine of the item's vector and those of the list
    NOTHING = "nothing"  #: the scores do not depend on what a user did, or the model has no vectors of items
