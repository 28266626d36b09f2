"""Intent rewriting: the utterance, made to stand without its history."""

from qwen_lightning.records import IntentRewriteRecord
from qwen_lightning.tasks.base import Task


class IntentRewrite(Task[IntentRewriteRecord]):
    """The completion is the rewritten utterance, whole."""

    name = "intent_rewrite"
    record_type = IntentRewriteRecord

    def tag(self, record: IntentRewriteRecord) -> str:
        return "[TASK=INTENT_REWRITE]"

    def system(self, record: IntentRewriteRecord) -> str:
        return "Answer with the last message rewritten so that it stands alone, and nothing else."
