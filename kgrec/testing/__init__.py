"""The contract of models, for the built-in ones and for yours: what training, serving and saving rely on.

It needs pytest, which kgrec itself does not install. Either inherit it in a test file:

    from kgrec.testing import ModelContract

    class TestMine(ModelContract):
        model = "mypackage.mine"  # a name of `kgrec models`, a dotted path, or the class
        config = {"dim": 16, "lr": 0.01}  # settings for a graph of 60 users
        epochs = 20  # so many as the model needs to learn there

or run the same checks as cases of one test, one after another:

    @pytest.mark.parametrize("check", kgrec.testing.checks("mypackage.mine", {"dim": 16}, epochs=20))
    def test_mine(check):
        check()

`check_model` runs them all at once, in a notebook, say. A model is trained once and shared by its checks. The graph is
`planted_graph`: 60 users, 40 items and 5 genres, where taste, facts and time say what comes next.
"""

from __future__ import annotations

from kgrec.testing.contract import ModelContract, check_model, checks
from kgrec.testing.model_checks import CHECKS, recall_at_5
from kgrec.testing.subject import Subject, planted_graph, trained

__all__ = ["CHECKS", "ModelContract", "Subject", "check_model", "checks", "planted_graph", "recall_at_5", "trained"]
