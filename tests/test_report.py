"""Reports and model cards: what they say is what runs say, and no title of a stranger's file is read as markup."""

import hashlib
import json
import os
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from kgrec import Graph, KgrecError, backtest, compare, train
from kgrec.graph.graph_plot import graph_plot, schema_plot
from kgrec.plots.charts import bar_chart, interval_chart, line_chart, standalone
from kgrec.plots.markup import Markup, element
from kgrec.plots.svg_files import check_svg_path, write_svg
from kgrec.reporting.model_card import plain
from kgrec.reporting.run_facts import by_activity
from kgrec.reporting.written_report import report
from kgrec.studies.study_plots import backtest_plot, comparison_plot

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
SPLIT = "last_n:1"
CHROMIUM = os.environ.get("KGREC_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def graph(shift: int = 0) -> Graph:
    """Twelve users and ten items whose ids and titles are markup; a genre, and a column of users with one value."""
    users = [f"u{number}{EVIL}" for number in range(12)]
    items = [f"i{number}</title>{EVIL}" for number in range(10)]
    rows = [
        (user, items[(u + step * (1 + u % 3) + shift) % 10], step) for u, user in enumerate(users) for step in range(5)
    ]
    nodes = {
        "user": pd.DataFrame({"id": users, "sex": ["F<b>", "M"] * 6, "land": ["x"] * 12}),
        "item": pd.DataFrame({"id": items, "label": [f"Title {number} {EVIL} | `x` \x07" for number in range(10)]}),
        "genre": pd.DataFrame({"id": ["g<i>"]}),
    }
    edges = {
        ("user", "rated", "item"): pd.DataFrame(rows, columns=["source", "target", "time"]),
        ("item", "has_genre", "genre"): pd.DataFrame({"source": items[:6], "target": ["g<i>"] * 6}),
    }
    return Graph.from_frames(
        nodes=nodes,
        edges=edges,
        target=("user", "rated", "item"),
        features={"user": {"sex": "categorical", "land": "categorical"}},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two runs of one graph, one of another, and one that was stopped in its second epoch."""
    where = tmp_path_factory.mktemp("report")
    one = graph()
    one.save(where / "graph")
    train("itemknn", one, split=SPLIT, out=where / "knn.run")
    train("mf", one, split=SPLIT + ",valid=1", config={"dim": 4}, training={"epochs": 2}, out=where / "mf.run")
    train("popularity", one, split=SPLIT, out=where / "pop.run")
    train("popularity", graph(1), split=SPLIT, out=where / "other.run")

    def stop(epoch, metrics) -> None:
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("mf", one, split=SPLIT + ",valid=1", training={"epochs": 3}, out=where / "stopped.run", report=stop)
    return where


class Tags(HTMLParser):
    """Collects elements, attributes and visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names, self.attributes, self.shown = set[str](), list[tuple[str, str | None]](), list[str]()
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.names.add(tag)
        self.attributes += attrs

    def handle_data(self, data) -> None:
        self.shown.append(data)


@pytest.fixture(scope="module")
def page(folder) -> str:
    report(
        [folder / "knn.run", folder / "pop.run"],
        folder / "r.html",
        card=folder / "card.md",
        graph=folder / "graph",
        groups="sex",
    )
    return (folder / "r.html").read_text("utf-8")


def test_titles_and_ids_are_shown_and_never_read_as_markup(page) -> None:
    found = Tags(page)
    assert not found.names & {"script", "img", "iframe", "object", "link", "form", "base"}
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in ("src", "srcdoc", "action")]
    assert {value for name, value in found.attributes if name == "href"} <= {
        f"#{v}" for n, v in found.attributes if n == "id"
    }
    text = "".join(found.shown)
    assert f"Title 3 {EVIL} | `x` \\x07" in text and "F<b>" in text and "\x07" not in page
    assert "http:" not in page.replace("http://www.w3.org/2000/svg", "") and "url(" not in page


def test_a_report_says_what_the_runs_say(page, folder) -> None:
    text = " ".join(Tags(page).shown)
    for run in ("knn", "pop"):
        value = json.loads((folder / f"{run}.run/metrics.json").read_text())["test"]["ndcg@10"]
        assert f"{value:.4f}" in text
    titles = "Data,Split,Metrics,Differences,By user activity,By item popularity,Beyond accuracy,Groups of users"
    for title in (*titles.split(","), "Worst users", "Example lists", "Settings and commands"):
        assert title in Tags(page).shown
    assert "60" in Tags(page).shown and "user - rated - item" in Tags(page).shown  # edges of the graph
    assert "kgrec train itemknn GRAPH --split last_n:1" in text


def test_the_figures_of_lists_are_those_of_the_evaluation(folder) -> None:
    from kgrec import Run

    kinds = ("coverage", "tail_coverage", "gini", "novelty", "popularity", "tail_share", "diversity")
    names = [f"{kind}@3" for kind in kinds]
    facts = report(folder / "knn.run", k=3, graph=folder / "graph")
    wanted = Run.load(folder / "knn.run").measure(
        folder / "graph", metrics=[*names, "calibration_error@3", "recall@3"]
    )["test"]
    lists = facts.lists["knn"]
    for name in [*names, "calibration_error@3"]:
        assert lists.quality[name][0] == pytest.approx(wanted[name])
    pairs = sum(number for number, _ in lists.found)
    hits = sum(number * share for number, share in lists.found if share is not None)
    assert hits / pairs == pytest.approx(wanted["recall@3"])  # one held-out item a user
    assert sum(one for one, _ in lists.popularity) == pytest.approx(1)


def test_runs_of_different_graphs_stand_side_by_side_without_differences(folder) -> None:
    facts = report([folder / "pop.run", folder / "other.run"], folder / "two.html")
    assert facts.notes[0].startswith("The runs were trained on different graphs") and facts.comparison is None
    text = Tags((folder / "two.html").read_text("utf-8")).shown
    assert "Differences" not in text and "The graph of other" in text
    with pytest.raises(KgrecError, match="of 2 different graphs, so one graph cannot be held against all"):
        report([folder / "pop.run", folder / "other.run"], graph=folder / "graph")


def test_runs_of_other_protocols_are_not_compared(folder) -> None:
    facts = report([folder / "knn.run", folder / "mf.run"])
    assert facts.comparison is None and "measured with another protocol" in facts.notes[0]


def test_a_run_that_was_stopped_is_marked_so(folder) -> None:
    facts = report([folder / "stopped.run", folder / "mf.run"], folder / "s.html", card=folder / "s.md")
    assert (
        not facts.runs[0].finished and "stopped after epoch 1 and was never measured on test" in facts.runs[0].notes[0]
    )
    text = " ".join(Tags((folder / "s.html").read_text("utf-8")).shown)
    assert "stopped before its end" in text and "loss ranking by epoch" in text
    assert "not measured on test" in (folder / "s.md").read_text("utf-8")


def test_a_run_without_rows_of_users_has_no_intervals_and_says_so(folder, tmp_path) -> None:
    shutil.copytree(folder / "knn.run", tmp_path / "bare.run")
    config = json.loads((tmp_path / "bare.run/config.json").read_text())
    del config["files"]["per_user.parquet"]
    (tmp_path / "bare.run/config.json").write_text(json.dumps(config))
    (tmp_path / "bare.run/per_user.parquet").unlink()
    facts = report(tmp_path / "bare.run", tmp_path / "r.html", card=tmp_path / "c.md")
    assert not facts.lists and not facts.runs[0].intervals and "no per_user.parquet" in facts.runs[0].notes[0]
    assert "recall@10" in (tmp_path / "c.md").read_text("utf-8")


def test_folders_of_strangers_are_read_or_refused(folder, tmp_path) -> None:
    for name, state in (
        ("epoch", {"job": {}, "state": {"epoch": "<b>"}}),
        ("config", {"job": {"config": [1]}, "state": {}}),
        ("job", {"state": {}}),
    ):
        (tmp_path / f"{name}.run.checkpoint").mkdir()
        (tmp_path / f"{name}.run.checkpoint/state.json").write_text(json.dumps(state))
        with pytest.raises(KgrecError, match=f"not of the form that kgrec writes: .*{name}"):
            report(tmp_path / f"{name}.run", tmp_path / "r.html")
    shutil.copytree(folder / "knn.run", tmp_path / "odd.run")
    metrics, config = (json.loads((tmp_path / f"odd.run/{name}.json").read_text()) for name in ("metrics", "config"))
    text = json.dumps({**metrics, "test": {"odd<b>": 1.0}, "below_control": {"note": EVIL}}).encode()
    (tmp_path / "odd.run/metrics.json").write_bytes(text)
    config["files"]["metrics.json"] = {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    (tmp_path / "odd.run/config.json").write_text(json.dumps(config))
    assert not report(tmp_path / "odd.run", tmp_path / "r.html").runs[0].intervals
    found = Tags((tmp_path / "r.html").read_text("utf-8"))
    assert "odd<b>" in found.shown and not found.names & {"script", "img"}


def test_facts_of_links_are_reported_without_users(folder, tmp_path) -> None:
    train(
        "distmult", graph(), split="ratio:0.4,valid=0.2", task="link", training={"epochs": 1}, out=tmp_path / "link.run"
    )
    facts = report(tmp_path / "link.run", tmp_path / "r.html")
    assert "task link" in facts.runs[0].notes[0] and "mrr" in " ".join(Tags((tmp_path / "r.html").read_text()).shown)


def test_what_cannot_be_reported_is_refused_and_nothing_is_written(folder, tmp_path) -> None:
    knn = folder / "knn.run"
    for wanted, options in (
        ("all 12 users have the same value 'x' in 'land'", {"groups": "land"}),
        ("the name must end in .html", {"out": tmp_path / "r.pdf"}),
        ("the name must end in .md", {"card": tmp_path / "r.txt"}),
        ("k is 0, but must be at least 1", {"k": 0}),
    ):
        with pytest.raises(KgrecError, match=wanted):
            report(knn, **{"out": tmp_path / "r.html", "card": tmp_path / "r.md", **options})
        assert not list(tmp_path.iterdir())
    with pytest.raises(KgrecError, match="is named twice"):
        report([knn, knn])
    with pytest.raises(KgrecError, match=r"is no run folder|is not there"):
        report(tmp_path / "nothing.run")
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(KgrecError, match="exists"):
        report(knn, tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text() == "mine"


def test_a_card_is_markdown_in_which_names_are_only_text(folder, page) -> None:
    card = (folder / "card.md").read_text("utf-8")
    assert card.startswith("# Model card: knn, pop\n") and "<script" not in card.replace("\\<script", "")
    assert "F\\<b\\>" in card and plain("[x](y)|") == "\\[x\\](y)\\|"


def test_users_are_cut_into_parts_by_their_activity() -> None:
    values = pd.Series([0.0, 1.0, 0.5, 0.5], index=list("abcd"))
    found = by_activity(values, pd.Series([1, 1, 4, 9], index=list("abcd")), parts=2)
    assert [(name, users, mean) for name, users, mean, *_ in found] == [("1 to 4", 3, 0.5), ("9", 1, 0.5)]
    assert found[0][3] == pytest.approx(0.5 - 1.959964 * 0.5 / 3**0.5)


def test_charts_are_xml_that_leaves_out_what_is_not_finite() -> None:
    nan = float("nan")
    charts = [
        line_chart(EVIL, {EVIL: [(1, 2.0), (2, nan)]}, EVIL),
        bar_chart(EVIL, [EVIL, "b"], {"x": [1.0, None], EVIL: [nan, -2.0]}, EVIL),
        interval_chart(EVIL, [(EVIL, 0, 1.0, None, 2.0), ("b", 7, nan, 0.0, 1.0)], EVIL, zero=True),
        line_chart("empty", {"a": []}, "x"),
    ]
    for chart in charts:
        root = ElementTree.fromstring(standalone(chart))
        assert {one.tag.rpartition("}")[2] for one in root.iter()} <= {
            "svg",
            "style",
            "rect",
            "text",
            "line",
            "circle",
            "polyline",
        }
        assert "nan" not in chart
    assert element("p", "<", Markup("<b>"), class_='"') == '<p class="&quot;">&lt;<b></p>'


def test_a_graph_is_drawn_with_its_counts_and_times() -> None:
    root = ElementTree.fromstring(standalone(graph_plot(graph())))
    said = [one.text for one in root.iter() if one.tag.endswith("text")]
    assert {"rated 60", "has_genre 6", "Edges of rated", "Edges over time"} <= set(said)
    assert [said[said.index(name) + 1] for name in ("user", "item", "genre")] == ["12", "10", "1"]
    bars = [one for one in root.iter() if one.get("class") == "fill0"]
    assert bars  # of degrees and of times


def test_studies_are_drawn_and_refuse_other_files_first(folder, tmp_path) -> None:
    found = compare([folder / "knn.run", folder / "pop.run"], metrics=["recall@10"])
    root = ElementTree.fromstring(standalone(comparison_plot(found)))
    said = [one.text for one in root.iter() if one.tag.endswith("text")]
    assert f"{found.differences[0].difference:+.4f}" in said
    windows = backtest("popularity", graph(), every=1, windows=2, valid=False, metrics=["recall@10"])
    assert "recall@10 of popularity by window" in standalone(backtest_plot(windows))
    with pytest.raises(KgrecError, match=r"--plot x.png: drawings are SVG; .* such as x.svg"):
        check_svg_path("x.png")
    write_svg(tmp_path / "x.svg", schema_plot(graph()))
    with pytest.raises(KgrecError, match="exists"):
        check_svg_path(tmp_path / "x.svg")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: the package chromium, or KGREC_CHROMIUM")
def test_a_browser_finds_nothing_wrong_and_asks_for_nothing(folder, page) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'kgrec[browser]'")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe: pip install 'kgrec[browser]'")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] * (os.geteuid() == 0))
        for scheme, width in (("light", 1280), ("dark", 390)):
            screen = {"width": width, "height": 900}
            context = browser.new_context(color_scheme=scheme, viewport=screen, offline=True, bypass_csp=True)
            tab, asked = context.new_page(), list[str]()
            tab.on("request", lambda one, asked=asked: asked.append(one.url))
            tab.on("dialog", lambda one, asked=asked: asked.append(one.message))
            tab.goto((folder / "r.html").as_uri())
            found = axe.Axe().run(tab)
            assert found.violations_count == 0, found.generate_report()
            assert asked == [(folder / "r.html").as_uri()]
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            context.close()
        browser.close()
