"""Faults of the program's own in a worker."""

from __future__ import annotations

from multiprocessing import Pipe
from typing import Any

import pytest

from qwen_lightning.errors import WorkerFaultError
from qwen_lightning.execution.base import DatabaseJob, QueryJob, QueryOutcome
from qwen_lightning.execution.worker import Judge, _serve
from qwen_lightning.serving.http.errors import fault_of


class _Broken(Judge):
    """Fails at whatever is asked of it."""

    def static(self, job: QueryJob) -> tuple[Any, QueryOutcome, bool]:
        raise KeyError(job.query)

    def load(self, database: str) -> None:
        raise KeyError("SELECT a secret")

    prepare = decide = describe = explain = table = load  # type: ignore[assignment]


@pytest.mark.parametrize(
    "job",
    [DatabaseJob("run", "d", "SELECT a secret"), QueryJob("SELECT a secret", "CREATE TABLE t (a INT);", "postgres")],
)
def test_a_fault_of_its_own_is_told_without_the_query(
    job: DatabaseJob | QueryJob, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = Pipe()
    _serve(theirs, _Broken(), job)
    kind, error, text = ours.recv()
    assert (kind, error) == ("error", WorkerFaultError)
    assert "secret" in text  # for who runs a rollout
    fault = fault_of(error(text))
    assert fault.status == 500
    assert "KeyError" in caplog.text
    assert "test_worker_faults.py:" in caplog.text
    assert "secret" not in caplog.text + fault.message
