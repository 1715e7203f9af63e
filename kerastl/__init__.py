"""kerastl: from labelled images to a trustworthy, deployable classifier.

`kerastl.run(kerastl.FitConfig("photos/"))` is the whole job; every step of it is a plain
function below. Names are imported when they are first used (PEP 562), so that
`import kerastl` and every `--help` answer without TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kerastl._version import __version__ as __version__

# Public name -> module that has it. No name here may be that of a command module
# (`benchmark`, `check`, `fit`, `tune`, `predict`, `export`), which `python -m kerastl.fit` needs
# for itself.
_PUBLIC = {
    "FitConfig": "kerastl.config",
    "DataOptions": "kerastl.data_options",
    "read_config": "kerastl.config_file",
    "config_to_yaml": "kerastl.config_file",
    "KerasTLError": "kerastl.errors",
    "run": "kerastl.workflow",
    "RunResult": "kerastl.workflow",
    "cross_validate": "kerastl.cross_validation",
    "find_rates": "kerastl.rate_sweep",
    "search_recipe": "kerastl.tuning.search",
    "inspect_data": "kerastl.inspection",
    "Inspection": "kerastl.inspection",
    "ImageTable": "kerastl.data.sources",
    "load_table": "kerastl.data.sources",
    "table_from_arrays": "kerastl.data.sources",
    "load_pixels": "kerastl.data.pixels",
    "ImageStream": "kerastl.data.stream",
    "decode_image": "kerastl.data.decode",
    "prepare_image": "kerastl.data.preparation",
    "split_rows": "kerastl.data.splits",
    "fold_rows": "kerastl.data.splits",
    "split_rows_of_fold": "kerastl.data.folds",
    "training_batches": "kerastl.data.batches",
    "backbone_names": "kerastl.models.backbones",
    "build_backbone": "kerastl.models.backbones",
    "build_network": "kerastl.models.network",
    "build_classifier": "kerastl.models.classifier",
    "borders": "kerastl.models.blocks",
    "top_blocks_border": "kerastl.models.depth",
    "extract_features": "kerastl.features.extract",
    "predict_probabilities": "kerastl.features.extract",
    "fit_probe": "kerastl.features.probe",
    "Phase": "kerastl.training.phase",
    "assign_probe": "kerastl.training.head",
    "fine_tune": "kerastl.training.phases",
    "choose_temperature": "kerastl.training.temperature",
    "bake_temperature": "kerastl.training.temperature",
    "classification_metrics": "kerastl.evaluation.metrics",
    "multi_label_metrics": "kerastl.evaluation.metrics",
    "accuracy_difference": "kerastl.evaluation.comparison",
    "confusion_matrix_figure": "kerastl.evaluation.pictures",
    "contact_sheet_figure": "kerastl.evaluation.pictures",
    "learning_curves_figure": "kerastl.evaluation.pictures",
    "export_run": "kerastl.deploy.runs",
    "export_formats": "kerastl.exports",
    "export_savedmodel": "kerastl.deploy.savedmodel",
    "load_savedmodel": "kerastl.deploy.served_model",
}

__all__ = list(_PUBLIC)

if TYPE_CHECKING:
    from kerastl.config import FitConfig as FitConfig
    from kerastl.workflow import run as run


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'kerastl' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
