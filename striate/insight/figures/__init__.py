"""Figures of networks and their results. Each function returns a matplotlib `Figure`; `save` writes one."""

from striate.insight.figures.network import feature_map_figure, filter_figure
from striate.insight.figures.results import confusion_figure, curves_figure, mistakes_figure, prediction_figure
from striate.insight.figures.sheet import save

__all__ = [
    "confusion_figure",
    "curves_figure",
    "feature_map_figure",
    "filter_figure",
    "mistakes_figure",
    "prediction_figure",
    "save",
]
