"""Makes a graph folder from Parquet files that another program wrote or changed."""

from kgrec.sources.adopting.adoption import adopt
from kgrec.sources.adopting.adoption_report import AdoptionReport

__all__ = ["AdoptionReport", "adopt"]
