"""Readers, splits and preprocessing: from files of many kinds to labelled samples (N, C, *spatial)."""

from striate.data.dataset import Dataset, SkippedFile
from striate.data.gathering import SkippedFileWarning
from striate.data.loading import load_data
from striate.data.overview.contact_sheet import contact_sheet
from striate.data.overview.report import DataReport, Duplicate, describe, load_leniently
from striate.data.preprocessing import Preprocessing
from striate.data.registry import list_readers, register_reader
from striate.data.samples import FileSamples, Samples, TensorSamples
from striate.data.single import read_input, write_output
from striate.data.text.word_vectors import read_vectors

__all__ = [
    "DataReport",
    "Dataset",
    "Duplicate",
    "FileSamples",
    "Preprocessing",
    "Samples",
    "SkippedFile",
    "SkippedFileWarning",
    "TensorSamples",
    "contact_sheet",
    "describe",
    "list_readers",
    "load_data",
    "load_leniently",
    "read_input",
    "read_vectors",
    "register_reader",
    "write_output",
]
