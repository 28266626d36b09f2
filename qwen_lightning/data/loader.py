"""A training loader that knows where it stands, so that a resumed run sees the very batches that were left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader

from qwen_lightning.errors import ConfigError

Item = TypeVar("Item")
Batch = TypeVar("Batch")
Item_contra = TypeVar("Item_contra", contravariant=True)
Batch_co = TypeVar("Batch_co", covariant=True)


class BatchSource(Protocol[Item_contra, Batch_co]):
    """Builds a batch from what a plan says is in it."""

    def __getitem__(self, item: Item_contra, /) -> Batch_co:
        """The batch; runs in a worker process where there are workers."""
        ...


class ResumableLoader(Generic[Item, Batch]):
    """A stream of batches, epoch after epoch, that is read `length` at a time.

    The order is a function of the epoch's number alone, so the number of batches handed out is the whole state; it is
    the same on all ranks, which is why the checkpoint of rank 0 serves them all. Each `iter` goes on where the last
    one was left: wherever a trainer draws the line between its epochs, no batch is skipped or comes twice.

    Args:
        plan: Epoch number to this rank's batches; as many in every epoch and on every rank.
        length: Batches an epoch.
        source: Builds the batches.
        fingerprint: Settings and hashes that the plan depends on; a state with others is refused.
        num_workers: Processes that build batches ahead; 0 builds them in this one.

    Attributes:
        position: Batches handed out so far, over all epochs.
    """

    def __init__(
        self,
        plan: Callable[[int], Sequence[Item]],
        length: int,
        source: BatchSource[Item, Batch],
        fingerprint: dict[str, Any],
        num_workers: int = 0,
    ) -> None:
        self.plan, self.length, self.source, self.fingerprint = plan, length, source, fingerprint
        self.num_workers = num_workers
        self.position = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        start = self.position
        epoch, offset = divmod(start, self.length)
        items = [*self._items(epoch)[offset:]]
        if offset:
            items += self._items(epoch + 1)[:offset]
        # A generator of its own: the loader must not advance the global one, which the training step draws from.
        batches: DataLoader[Any] = DataLoader(
            self.source,  # type: ignore[arg-type]
            batch_size=None,
            sampler=items,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
            generator=torch.Generator(),
        )
        for position, batch in enumerate(batches, start + 1):
            # Counted when it is handed out, whatever the workers have built ahead.
            self.position = position
            yield batch

    def _items(self, epoch: int) -> Sequence[Item]:
        items = self.plan(epoch)
        if len(items) != self.length:
            raise RuntimeError(f"the plan of epoch {epoch} has {len(items)} batches, not {self.length}")
        return items

    def state_dict(self) -> dict[str, Any]:
        """Batches handed out, and the fingerprint."""
        return {"position": self.position, "fingerprint": dict(self.fingerprint)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken.

        Raises:
            ConfigError: The state was taken with other data or settings.
        """
        then = state["fingerprint"]
        changed = [
            f"{key} was {then.get(key)}, is {self.fingerprint.get(key)}"
            for key in {**then, **self.fingerprint}
            if then.get(key) != self.fingerprint.get(key)
        ]
        if changed:
            raise ConfigError(
                f"the checkpoint cannot be resumed with other data settings ({'; '.join(changed)}); "
                "restore them, or start a new run from the adapter"
            )
        self.position = state["position"]


def _as_it_is(batch: Any) -> Any:
    return batch
