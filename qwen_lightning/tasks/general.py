"""General: ordinary chat, judged by the verifiable checks that a record carries."""

from __future__ import annotations

from qwen_lightning.errors import DataError
from qwen_lightning.records import GeneralRecord
from qwen_lightning.tasks.base import VerifiedTask
from qwen_lightning.tasks.checks.base import Check
from qwen_lightning.tasks.checks.registry import RESERVED, CheckRegistry
from qwen_lightning.verdict import Verdict


class General(VerifiedTask[GeneralRecord]):
    """Plain chat without a tag; its checks are the record's own, and `all`, the least of them.

    `all` is thus 1 exactly where every check made is 1, and equals the score of a graded check that stands alone.
    An empty answer fails every check. A check that needs a model's likelihoods is absent.

    Args:
        checks: Check types of one's own, subclasses of `qwen_lightning.tasks.checks.Check`, by import path.
    """

    name = "general"
    record_type = GeneralRecord
    checks = ()

    def __init__(self, checks: list[type[Check]] | None = None) -> None:
        self.check_types = CheckRegistry(checks or ())

    def tag(self, record: GeneralRecord) -> None:
        return None

    def system(self, record: GeneralRecord) -> str:
        return ""

    def validate(self, record: GeneralRecord) -> None:
        """Every entry of `checks` has a known type and the arguments it needs.

        Raises:
            DataError: One has not; the message names it.
        """
        try:
            self.check_types.validate(record)
        except DataError as error:
            raise DataError(f"general record: {error.message}") from None

    def needs_likelihood(self, record: GeneralRecord) -> bool:
        """Whether a check of the record can be made only with a model's likelihoods."""
        return any(check.needs_likelihood for check in self.check_types.of(record).values())

    def verify(self, record: GeneralRecord, completion: str) -> Verdict:
        """Judge one completion by every check of the record.

        Raises:
            DataError: The record's checks are not valid.
        """
        values: dict[str, float] = {}
        reasons: list[str] = []
        for name, check in self.check_types.of(record).items():
            if check.needs_likelihood:
                continue
            if not completion.strip():
                values[name] = 0.0
                continue
            value, reason = check.measure(completion, record)
            if value is not None:
                values[name] = value
            if reason and value != 1:
                reasons.append(f"{name}: {reason}")
        if values:
            values[RESERVED] = min(values.values())
        detail = "; ".join(reasons) if completion.strip() else "the answer is empty" if values else ""
        return Verdict(values, " ".join(detail.split()))
