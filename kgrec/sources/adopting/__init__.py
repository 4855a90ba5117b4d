"""A graph folder that another engine wrote or changed, taken as one of ours."""

from kgrec.sources.adopting.adoption import adopt
from kgrec.sources.adopting.adoption_report import AdoptionReport

__all__ = ["AdoptionReport", "adopt"]
