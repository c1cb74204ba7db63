"""Which names mean a network and a data set of our own trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traintime.architecture import NETWORKS
from traintime.data.catalogue import DATA_SETS
from traintime.recipe.data_folder import fold_name, folder_named_by, table_named_by
from traintime.workload.shipped import shipped_graph


class OwnDataSets:
    """The data sets that our trainer has, under every spelling that it takes, and folders."""

    def __contains__(self, name: object) -> bool:
        is_own = folder_named_by(str(name)) or table_named_by(str(name))
        return bool(is_own) or fold_name(str(name)) in {fold_name(known) for known in DATA_SETS}


def is_own_network(fields: Mapping[str, Any]) -> bool:
    """Say whether our trainer's network is meant: resnet18 on cifar10 is ours, on imagenet is not.

    With an input of its own it is the shipped one, if there is one of that name.
    """
    model = fields.get("model")
    if not isinstance(model, str) or model not in NETWORKS:
        return False
    if str(fields.get("data")) not in OwnDataSets():
        return False
    return fields.get("input") is None or shipped_graph(model, "fp32") is None
