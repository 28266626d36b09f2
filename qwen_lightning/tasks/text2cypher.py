"""Text to Cypher for Neo4j 5."""

from qwen_lightning.execution.base import QueryExecutor
from qwen_lightning.records import CypherRecord
from qwen_lightning.tasks.base import Task


class Text2Cypher(Task[CypherRecord]):
    """The completion is one Cypher statement, without fence or prose."""

    name = "text2cypher"
    record_type = CypherRecord

    def __init__(self, executor: QueryExecutor | None = None) -> None:
        self.executor = executor

    def tag(self, record: CypherRecord) -> str:
        return "[TASK=TEXT2CYPHER|NEO4J=v5]"

    def system(self, record: CypherRecord) -> str:
        return f"Answer with one Cypher query and nothing else.\n{record.schema_text}"
