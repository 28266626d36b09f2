"""Text to Cypher for Neo4j 5: one statement over the graph of a schema."""

from qwen_lightning.execution.base import QueryJob, QueryOutcome
from qwen_lightning.execution.cypher.static import judge_statically
from qwen_lightning.records import CypherRecord
from qwen_lightning.tasks.queries import QueryTask


class Text2Cypher(QueryTask[CypherRecord]):
    """Checks `parses` and `references` from the schema, `executes` and `match` on the record's graph."""

    name = "text2cypher"
    record_type = CypherRecord
    checks = ("parses", "executes", "references", "match")
    rule = "Answer with one Cypher query and nothing else."

    def tag(self, record: CypherRecord) -> str:
        return "[TASK=TEXT2CYPHER|NEO4J=v5]"

    def dialect(self, record: CypherRecord) -> str:
        return "cypher"

    def judge_statically(self, job: QueryJob) -> QueryOutcome:
        return judge_statically(job)
