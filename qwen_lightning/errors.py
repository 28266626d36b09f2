"""Faults that a user can mend, named by the boundary where they are found.

The command line prints such a fault as one line on standard error and exits with `exit_code`.
"""

from __future__ import annotations

from pathlib import Path


class QwenLightningError(Exception):
    """Base of the faults that end a command with one clear line."""

    exit_code = 2


class DataError(QwenLightningError):
    """A record, completion or data file that breaks its format.

    Args:
        message: What is wrong and what to do about it.
        file: The file at fault.
        line: Its line, counted from 1.
    """

    def __init__(self, message: str, file: str | Path | None = None, line: int | None = None) -> None:
        self.message, self.file, self.line = message, file, line
        place = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(place + message)


class RequestError(DataError):
    """A chat request that cannot be answered as it stands.

    Args:
        field: The request's field at fault, such as `messages.0.content`.
        message: What is wrong and what to do about it.
        file: The file that holds the request, where one does.
    """

    def __init__(self, field: str, message: str, file: str | Path | None = None) -> None:
        self.field, self.fault = field, message
        super().__init__(f"{field}: {message}" if field else message, file)


class ConfigError(QwenLightningError):
    """A setting, or a combination of settings, that cannot be meant."""


class ExecutionError(QwenLightningError):
    """An executor that cannot do its work (not started, unreachable, unsafe); never a model's bad query."""


class WorkerFaultError(ExecutionError):
    """A fault of the program's own in a query worker; the first line tells its kind and places, not the query."""


class QueryError(QwenLightningError):
    """A query that its database does not take, or does not finish within its limits; the message says which."""


class AdapterError(QwenLightningError):
    """An adapter folder that is missing, incomplete or does not fit the backbone."""


class ProbeError(QwenLightningError):
    """A start-up probe that failed: the run would have trained on wrong numbers."""


class StageError(QwenLightningError):
    """A stage of the pipeline that ended without its adapter; what it said itself stands above."""


class RedLineStop(QwenLightningError):
    """A red line stopped the run; the last good adapter is saved and the message says why."""

    exit_code = 3


class SignalStop(QwenLightningError):
    """A signal ended the run after a checkpoint."""

    exit_code = 4
