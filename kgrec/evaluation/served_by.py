"""What the list of a user is based on, in codes and in words, without torch."""

from __future__ import annotations

from enum import IntEnum


class ServedBy(IntEnum):
    """What a user's list is based on. From POPULARITY on, the model knows nothing about the user."""

    HISTORY = 0  #: the model, with the user's target edges
    BEHAVIOURS = 1  #: the model, with other behaviours of the user
    PROFILE = 2  #: the model, with the user's feature columns
    OTHER_EDGES = 3  #: the model, with facts about the user
    POPULARITY = 4  #: popularity, because the user has no target edge
    UNTRAINED = 5  #: popularity, because the model was trained on none of the user's target edges
    UNREAD = 6  #: popularity, because the model cannot use the target edges of a new user
    FOLDED_IN = -1  #: the model, with a vector for a new user, fitted to the user's target edges
    ALONG_GRAPH = -2  #: the model, with a vector for a new user, computed along the user's target edges


#: The note in an answer for users who are not served by their own history
REASONS = {
    ServedBy.BEHAVIOURS: "no history, by other behaviours",
    ServedBy.PROFILE: "no history, by profile",
    ServedBy.OTHER_EDGES: "no history, by other edges",
    ServedBy.POPULARITY: "no history, by popularity",
    ServedBy.UNTRAINED: "no history in training, by popularity",
    ServedBy.UNREAD: "the model reads no history, by popularity",
    ServedBy.FOLDED_IN: "by history, folded in",
    ServedBy.ALONG_GRAPH: "by history, along the graph",
}
