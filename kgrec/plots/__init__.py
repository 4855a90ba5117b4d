"""Drawings as SVG, without a plotting library: charts that take the colours of the page, light, dark or printed."""
