"""Where images and labels come from: `load_table` finds the reader that a name asks for."""

from __future__ import annotations

import os
from pathlib import Path

from kerastl.data.folders import table_from_folder
from kerastl.data.label_files import LABEL_FILE_SUFFIXES, table_from_label_file
from kerastl.data.splits import check_class_sizes
from kerastl.data.table import ImageTable, subset, table_from_arrays
from kerastl.errors import ConfigError, DataError, did_you_mean

__all__ = ["ImageTable", "load_table", "subset", "table_from_arrays"]
