"""How good outputs are: the metrics of every task, their confidence intervals, and how far probabilities hold.

A `Meter` takes outputs batch by batch and gives the metrics of its task by name, in the order of `METRICS`::

    meter = meter_of("classification", classes=10)
    for inputs, targets in batches:
        meter.add(model(inputs), targets)
    meter.values()["balanced_accuracy"]
"""

from striate.train.metrics.bootstrap import Resampling
from striate.train.metrics.calibration import (
    Calibration,
    Reliability,
    brier_score,
    calibrate,
    calibration_error,
    reliability,
)
from striate.train.metrics.classification import classification_metrics
from striate.train.metrics.intervals import intervals
from striate.train.metrics.meter import Collected, Meter, meter_of
from striate.train.metrics.multi_label import multi_label_metrics
from striate.train.metrics.names import METRICS, Metric, is_better, metrics_of
from striate.train.metrics.regression import OutputScore, output_scores, regression_metrics
from striate.train.metrics.segmentation import RegionScore, SegmentationCounts
from striate.train.metrics.verification import Verification, compare, verification_metrics

__all__ = [
    "METRICS",
    "Calibration",
    "Collected",
    "Meter",
    "Metric",
    "OutputScore",
    "RegionScore",
    "Reliability",
    "Resampling",
    "SegmentationCounts",
    "Verification",
    "brier_score",
    "calibrate",
    "calibration_error",
    "classification_metrics",
    "compare",
    "intervals",
    "is_better",
    "meter_of",
    "metrics_of",
    "multi_label_metrics",
    "output_scores",
    "regression_metrics",
    "reliability",
    "verification_metrics",
]
