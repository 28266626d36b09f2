"""Text to SQL: one statement over the tables of a schema."""

from qwen_lightning.execution.base import QueryJob, QueryOutcome
from qwen_lightning.execution.sql.static import judge_statically
from qwen_lightning.records import SQLRecord
from qwen_lightning.tasks.queries import QueryTask


class Text2SQL(QueryTask[SQLRecord]):
    """Checks `parses`, `references` and `dialect` from the schema, `executes` and `match` on the record's database."""

    name = "text2sql"
    record_type = SQLRecord
    checks = ("parses", "executes", "references", "dialect", "match")
    rule = "Answer with one SQL query and nothing else."

    def tag(self, record: SQLRecord) -> str:
        return f"[TASK=TEXT2SQL|DIALECT={record.dialect.upper()}]"

    def dialect(self, record: SQLRecord) -> str:
        return record.dialect

    def judge_statically(self, job: QueryJob) -> QueryOutcome:
        return judge_statically(job)
