"""Intent rewriting: the utterance, made to stand without its history."""

from qwen_lightning.errors import DataError
from qwen_lightning.records import IntentRewriteRecord
from qwen_lightning.tasks.base import VerifiedTask
from qwen_lightning.tasks.utterances import canonical, rouge_l
from qwen_lightning.verdict import Verdict


class IntentRewrite(VerifiedTask[IntentRewriteRecord]):
    """The completion is the rewritten utterance, whole.

    Checks: `exact` (equal to gold but for case, width, white space and final punctuation) and `overlap` (ROUGE-L with
    gold, in [0, 1]; words, and characters in Chinese). Neither can be made without gold.
    """

    name = "intent_rewrite"
    record_type = IntentRewriteRecord
    checks = ("exact", "overlap")
    decides = "exact"
    implied = frozenset({"overlap"})
    graded = frozenset({"overlap"})
    rule = "Answer with the last message rewritten so that it stands alone, and nothing else."

    def tag(self, record: IntentRewriteRecord) -> str:
        return "[TASK=INTENT_REWRITE]"

    def system(self, record: IntentRewriteRecord) -> str:
        return self.rule

    def validate(self, record: IntentRewriteRecord) -> None:
        """A gold says something.

        Raises:
            DataError: It is blank.
        """
        if record.gold is not None and not record.gold.strip():
            raise DataError("intent_rewrite record: gold is blank; give the rewritten utterance or leave gold out")

    def verify(self, record: IntentRewriteRecord, completion: str) -> Verdict:
        if record.gold is None:
            return Verdict({})
        if not completion.strip():
            return Verdict({"exact": 0.0, "overlap": 0.0}, "the answer is empty")
        exact = canonical(completion) == canonical(record.gold)
        overlap = 1.0 if exact else rouge_l(record.gold, completion)
        return Verdict(
            {"exact": float(exact), "overlap": overlap}, "" if exact else f"not the gold; ROUGE-L {overlap:.2f}"
        )
