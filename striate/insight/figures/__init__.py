"""Figures of networks and their results. Each function returns a matplotlib `Figure`; `save` writes one."""

from striate.insight.figures.campaigns import comparison_figure, history_figure, parallel_figure
from striate.insight.figures.network import feature_map_figure, filter_figure
from striate.insight.figures.overlays import overlay_figure
from striate.insight.figures.regression import regression_figure
from striate.insight.figures.results import confusion_figure, curves_figure, mistakes_figure, prediction_figure
from striate.insight.figures.scoring import bars_figure, precision_recall_figure, reliability_figure, roc_figure
from striate.insight.figures.sheet import save
from striate.insight.figures.tiles import pairs_figure, texts_figure, tiles_figure

__all__ = [
    "bars_figure",
    "comparison_figure",
    "confusion_figure",
    "curves_figure",
    "feature_map_figure",
    "filter_figure",
    "history_figure",
    "mistakes_figure",
    "overlay_figure",
    "pairs_figure",
    "parallel_figure",
    "precision_recall_figure",
    "prediction_figure",
    "regression_figure",
    "reliability_figure",
    "roc_figure",
    "save",
    "texts_figure",
    "tiles_figure",
]
