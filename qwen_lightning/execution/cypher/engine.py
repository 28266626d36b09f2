"""What a graph engine offers to the judge: graphs in several variants, and read queries run on them within limits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from qwen_lightning.execution.base import Limits
from qwen_lightning.execution.cypher.variants import Wanted
from qwen_lightning.execution.results import JUDGED, Result


class Engine(ABC):
    """Lives in a worker process.

    `knows_all_names` says that `schema` tells every label, type and property, so that another one is a fault.
    """

    knows_all_names = True

    @abstractmethod
    def original(self, database: str) -> str:
        """Name of the variant that is the graph as it is; loads it on first use.

        Raises:
            DataError: There is no such graph, or it cannot be read.
        """

    @abstractmethod
    def schema(self, database: str) -> str:
        """The schema text of a graph; empty where it has no labelled node.

        Raises:
            DataError: There is no such graph, or it cannot be read.
        """

    @abstractmethod
    def variants(self, database: str) -> Sequence[str]:
        """Names of the variants of a graph, the original first; loads it on first use.

        Raises:
            DataError: There is no such graph, or it cannot be read.
        """

    @abstractmethod
    def directed(self, database: str, wanted: Wanted, seed: int) -> str | None:
        """Name of a variant made for a query that looks for this; None where the engine has no variants."""

    @abstractmethod
    def shuffled(self, database: str) -> str | None:
        """Name of the original made in another order, kept with it; None where the engine has no variants."""

    @abstractmethod
    def drop(self, variant: str) -> None:
        """Forget a directed variant."""

    def run(self, variant: str, query: str) -> Result:
        """Run a query that passed the static analysis, in canonical values. Never raises for what the query does."""
        return self.fetch(variant, query, JUDGED).whole

    @abstractmethod
    def fetch(self, variant: str, query: str, limits: Limits) -> Result:
        """The same, with as much of the result as the limits allow."""

    @abstractmethod
    def explain(self, variant: str, query: str) -> Result:
        """No rows, but fault or gap where the query would not be run. Never raises for what the query is."""

    @abstractmethod
    def interrupt(self) -> None:
        """Stop the query that runs, from another thread."""

    @property
    @abstractmethod
    def note(self) -> str:
        """What a verdict's detail says about this engine's matches; empty where there is nothing to say."""

    def remark(self, query: str) -> str:
        """What the engine has to say about a query that it ran; nothing unless it says otherwise."""
        return ""
