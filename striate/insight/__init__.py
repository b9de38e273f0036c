"""What a network is and what it saw: summaries, receptive fields, feature maps and figures of any `torch.nn.Module`."""

from striate.insight.feature_maps import Stage, feature_maps, filters
from striate.insight.outline import Part, outline
from striate.insight.summary import Row, Summary, summary

__all__ = ["Part", "Row", "Stage", "Summary", "feature_maps", "filters", "outline", "summary"]
