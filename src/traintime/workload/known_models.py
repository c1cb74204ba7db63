"""The models that forecasts know by name, without code of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from traintime.architecture import NETWORKS
from traintime.workload.sample import Sample
from traintime.workload.shipped import ALIASES, families, shipped_graph

OWN_FAMILY = "traintime's own, for small images"


@dataclass(frozen=True)
class KnownModel:
    """A model that forecasts know by name.

    Args:
        name: As it is typed in `model=NAME`.
        family: Of its kin.
        parameters: Learned values; None where the data decides.
        input: Of one sample, as it is typed in `input=`; empty where the data decides.
        other_names: That mean the same.
    """

    name: str
    family: str
    parameters: int | None
    input: str
    other_names: tuple[str, ...] = ()


def known_models() -> Iterator[KnownModel]:
    """Return those that are shipped, by kin, then the networks of our trainer."""
    for family, names in families().items():
        for name in names:
            graph = shipped_graph(name, "fp32")
            assert graph, f"{name} is listed and not shipped"
            sample = Sample(graph.input_shape, tokens=graph.size_unit == "tokens")
            others = tuple(other for other, of in ALIASES.items() if of == name)
            yield KnownModel(name, family, graph.parameters, str(sample), others)
    for name in NETWORKS:
        yield KnownModel(name, OWN_FAMILY, None, "")
