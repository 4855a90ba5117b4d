"""Pictures of a comparison and of a backtest."""

from __future__ import annotations

import math

import numpy as np

from kgrec.plots.charts import HEIGHT, interval_chart, interval_height, line_chart, stacked
from kgrec.plots.markup import Markup
from kgrec.studies.backtesting import Backtest
from kgrec.studies.comparison import Comparison


def comparison_plot(comparison: Comparison) -> Markup:
    """For each metric the differences of the other runs from the reference, with their intervals."""
    runs = [name for name in comparison.models if name != comparison.reference]
    charts = []
    for metric in dict.fromkeys(one.metric for one in comparison.differences):
        rows = [
            (one.run, runs.index(one.run), one.difference, *(one.interval or (None, None)))
            for one in comparison.differences
            if one.metric == metric
        ]
        title = f"{metric}: difference from {comparison.reference}"
        label = f"difference, {100 * comparison.confidence:.4g} % interval"
        charts.append((interval_height(len(rows)), interval_chart(title, rows, label, zero=True)))
    return stacked("Differences between runs", charts)


def backtest_plot(result: Backtest) -> Markup:
    """Each metric over the windows; the number of a window stands below. Windows that were skipped are left out."""
    windows = [window for window in result.windows if window.skipped is None]
    charts = []
    for metric in dict.fromkeys(name for window in windows for name in window.test):
        points = [(float(window.number), window.test.get(metric, math.nan)) for window in windows]
        first, last = (np.datetime64(one, "s").astype("datetime64[D]") for one in (windows[0].start, windows[-1].stop))
        label = f"window, {first} to {last}"
        charts.append((HEIGHT, line_chart(f"{metric} of {result.model} by window", {result.model: points}, label)))
    return stacked(f"Backtest of {result.model}", charts)
