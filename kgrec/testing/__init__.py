"""The contract of models: checks of what training, serving and saving rely on, for built-in models and your own.

It needs pytest, which kgrec does not install. Either inherit it in a test file:

    from kgrec.testing import ModelContract

    class TestMine(ModelContract):
        model = "mypackage.mine"  # a name of `kgrec models`, a dotted path, or the class
        config = {"dim": 16, "lr": 0.01}  # settings for a graph of 60 users
        epochs = 20  # as many as the model needs to learn from this graph

or run the same checks as cases of one test:

    @pytest.mark.parametrize("check", kgrec.testing.checks("mypackage.mine", {"dim": 16}, epochs=20))
    def test_mine(check):
        check()

`check_model` runs all of them at once, for instance in a notebook. A model is trained once, and its checks share it.
The graph is `planted_graph`: 60 users, 40 items and 5 genres; the next item can be predicted from taste, facts and
time.
"""

from __future__ import annotations

from kgrec.testing.contract import ModelContract, check_model, checks
from kgrec.testing.model_checks import CHECKS, recall_at_5
from kgrec.testing.subject import Subject, planted_graph, trained

__all__ = ["CHECKS", "ModelContract", "Subject", "check_model", "checks", "planted_graph", "recall_at_5", "trained"]
