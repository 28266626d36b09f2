"""Function calls in the base model's own tool format."""

import json
from typing import Any

from qwen_lightning.records import FunctionCallRecord
from qwen_lightning.tasks.base import Task

NO_TOOL_FITS = "None of the available tools fits this request."


class FunctionCall(Task[FunctionCallRecord]):
    """The completion is one or more `<tool_call>` blocks; a short sentence where no tool fits."""

    name = "function_call"
    record_type = FunctionCallRecord

    def tag(self, record: FunctionCallRecord) -> str:
        return "[TASK=FUNCTION_CALL]"

    def system(self, record: FunctionCallRecord) -> str:
        return "Answer with tool calls and nothing else; where no tool fits, say so in one sentence."

    def tools(self, record: FunctionCallRecord) -> list[dict[str, Any]]:
        return [tool.model_dump() for tool in record.tools]

    def target(self, record: FunctionCallRecord) -> str:
        super().target(record)
        calls = [
            json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)
            for call in record.gold or []
        ]
        return "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls) or NO_TOOL_FITS
