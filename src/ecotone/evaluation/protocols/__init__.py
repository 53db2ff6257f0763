"""Protocols: ways to measure features. Each chooses on val what it must choose, then answers for test features."""

from ecotone.errors import RecipeError, nearest
from ecotone.evaluation.protocols.base import Fitted, Protocol
from ecotone.evaluation.protocols.knn import KNN, KNNGrid
from ecotone.evaluation.protocols.linear import LinearProbe
from ecotone.evaluation.protocols.retrieval import Retrieval

PROTOCOLS: dict[str, type[Protocol]] = {"knn": KNN, "knn-grid": KNNGrid, "linear": LinearProbe, "retrieval": Retrieval}


def protocol(name: str) -> Protocol:
    """The protocol of this name with its published settings.

    Raises:
        RecipeError: No such protocol; the nearest name is suggested.
    """
    if name not in PROTOCOLS:
        raise RecipeError(f"unknown protocol {name!r}", mend=nearest(name, PROTOCOLS))
    return PROTOCOLS[name](name=name)


__all__ = ["KNN", "PROTOCOLS", "Fitted", "KNNGrid", "LinearProbe", "Protocol", "Retrieval", "protocol"]
