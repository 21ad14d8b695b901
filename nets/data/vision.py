"""torchvision is imported here and nowhere else."""

import importlib
from typing import Any

import torch

# Operators stay defined only as long as the library that defined them lives.
_schemas: list[torch.library.Library] = []


def vision_data_sets() -> Any:
    """The module `torchvision.datasets`.

    torchvision registers stand-ins for two of its compiled operators when it is imported. Beside a torch for another
    device than the one it was compiled for, those operators do not load, and the import fails with "operator
    torchvision::nms does not exist", although data sets need none of them. In that case alone their schemas are
    declared, and the import is repeated.
    """
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _schemas.append(library)
    return importlib.import_module("torchvision.datasets")
