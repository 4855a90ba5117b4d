"""Names that moved are found where they were, for a release."""

from __future__ import annotations

from importlib import import_module

import pytest

from kgrec._deprecation import FormerName
from kgrec.errors import UnknownName
from kgrec.evaluation.metrics import parse
from kgrec.training.job import TrainingJob


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("kgrec.samplers.ways:Ways", "kgrec.samplers.directions:Directions"),
        ("kgrec.samplers.loader:Both", "kgrec.samplers.loader:CombinedLoader"),
        ("kgrec.kernels:is_member", "kgrec.graph.edge_kernels:is_member"),
        ("kgrec.model:sgd", "kgrec.optimizers:sgd"),
        ("kgrec.split:spec_of_test", "kgrec.splits.spec:spec_of_test"),
        ("kgrec.artifact:must_be_run", "kgrec.run_files:must_be_run"),
        ("kgrec.comparison:BEST", "kgrec.studies.measured_runs:BEST"),
        ("kgrec.robustness:HITS_AT", "kgrec.studies.noise_trials:HITS_AT"),
        ("kgrec.training:Precision", "kgrec.training.config:Precision"),
        ("kgrec.sources.rdf:rdf_files", "kgrec.sources.rdf.source:rdf_files"),
        ("kgrec.sources.tables:read_table", "kgrec.sources.tables.table_columns:read_table"),
        ("kgrec.sources.recipe:NodeTable", "kgrec.sources.recipe.node_part:NodeTable"),
        ("kgrec.sources.recipe:GivenSplit", "kgrec.sources.recipe.published_part:PublishedSplit"),
    ],
)
def test_a_name_that_moved_gives_the_same_object_and_a_warning(former: str, present: str) -> None:
    module, name = former.split(":")
    home, now = present.split(":")
    with pytest.warns(FormerName, match=f"{name} is now {home}.{now}; the former name will be removed"):
        found = getattr(import_module(module), name)
    assert found is getattr(import_module(home), now)


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("kgrec.samplers.kernels", "kgrec.samplers.neighbor_kernels"),
        ("kgrec.nn.vectors", "kgrec.nn.computed_vectors"),
        ("kgrec.nn.transr", "kgrec.nn.relation_space"),
    ],
)
def test_a_module_that_moved_is_the_same_module(former: str, present: str) -> None:
    assert import_module(former) is import_module(present)


def test_names_in_another_case_are_nearly_right() -> None:
    with pytest.raises(UnknownName, match=r"no model 'MF' .*; did you mean 'mf'\?"):
        TrainingJob("MF")
    with pytest.raises(UnknownName, match=r"no metric 'NDCG'; did you mean 'ndcg'\?"):
        parse("NDCG@10")
    with pytest.raises(UnknownName, match=r"no metric 'hit-rate'; did you mean 'hit_rate'\?"):
        TrainingJob("mf", metrics=["hit-rate@10"])


def test_metrics_may_be_one_text() -> None:
    assert TrainingJob("mf", metrics="ndcg@10, recall@20").metrics == ("ndcg@10", "recall@20")  # type: ignore[arg-type]
