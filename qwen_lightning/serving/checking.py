"""Whether an answer is what was asked for: JSON of a schema, a call that must be made, and what its task verifies.

A query that is meant for a database is also explained there, which does not run it.
"""

from __future__ import annotations

import json
from typing import Any

from qwen_lightning.errors import DataError, ExecutionError, RequestError
from qwen_lightning.execution.base import Explanation
from qwen_lightning.serving.databases import LANGUAGES, Databases
from qwen_lightning.serving.outcomes import Finding
from qwen_lightning.serving.requests import ChatRequest, ResponseFormat
from qwen_lightning.serving.routing.planning import Plan
from qwen_lightning.serving.routing.router import CHAT
from qwen_lightning.tasks import strict_json
from qwen_lightning.tasks.base import Message, Prompt, VerifiedTask
from qwen_lightning.tasks.json_schema import validator
from qwen_lightning.tasks.registry import TaskRegistry
from qwen_lightning.tasks.tool_calls import read_answer

_REFUSED = "That answer was refused: {}\nAnswer the request again, correctly, in the same form and with nothing else."


class AnswerChecker:
    """Checks answers. The format that a request asks for is always checked; what its task verifies where wanted.

    Args:
        tasks: The tasks that there are.
        verify: Whether an answer is verified as its task does in training, as far as that needs no gold, and asked for
            once more where it fails.
    """

    def __init__(self, tasks: TaskRegistry, verify: bool = False) -> None:
        self.tasks, self.verify, self.databases = tasks, verify, Databases(tasks)

    def prepare(self, request: ChatRequest) -> None:
        """See that the request's format can be checked.

        Raises:
            RequestError: Its schema is broken.
        """
        wanted = request.response_format.json_schema if request.response_format else None
        if wanted is not None and wanted.json_schema:
            try:
                validator(wanted.json_schema)
            except DataError as error:
                raise RequestError("response_format.json_schema.schema", error.message) from None

    def applies(self, request: ChatRequest, plan: Plan) -> bool:
        """Whether there is anything to check in an answer to this request."""
        verified = self.verify and (self._verified(plan) is not None or self.explains(request, plan))
        return _form(request) is not None or _must_call(request) or verified

    def may_repair(self, request: ChatRequest, plan: Plan) -> bool:
        """Whether an answer to this request may be replaced by a second one."""
        return self.verify and self.applies(request, plan)

    def check(self, request: ChatRequest, plan: Plan, text: str) -> Finding | None:
        """What is wrong with an answer; None where nothing was to be checked."""
        answer = read_answer(text) if request.usable_tools else None
        if answer is not None and not answer.calls and not answer.fault and not _must_call(request):
            answer, task = None, None  # that no tool fits is an answer too
        else:
            task = self._verified(plan) if self.verify else None
        if answer is not None and _must_call(request) and (answer.fault or not answer.calls):
            return Finding(False, f"a call is required; {answer.fault or 'there is none'}")
        form = _form(request)
        calls = answer is not None and bool(answer.calls)
        fault = _fault(form, text) if form is not None and not calls else ""
        if fault:
            return Finding(False, fault)
        if task is None or plan.completion.record is None:
            return Finding(True) if form is not None and not calls else None
        try:
            verdict = task.verify_all(plan.completion.record, text)
        except (DataError, ExecutionError) as error:
            return Finding(None, f"not verified: {error}")
        failed = [name for name, value in verdict.checks.items() if value < 1]
        if failed:
            return Finding(False, verdict.detail or f"fails {', '.join(failed)}")
        return Finding(True if verdict.checks else None)

    def asks_workers(self, plan: Plan) -> bool:
        """Whether `check` waits for a process that analyses queries."""
        return self.verify and plan.decision.task in LANGUAGES

    def explains(self, request: ChatRequest, plan: Plan, finding: Finding | None = None) -> bool:
        """Whether a database is still to be asked about an answer, after `check` found this."""
        query = plan.decision.task in LANGUAGES and _form(request) is None and not request.usable_tools
        refused = finding is not None and finding.passed is False
        return self.verify and request.database is not None and query and not refused

    def explain(self, request: ChatRequest, plan: Plan, text: str, finding: Finding | None) -> Finding:
        """What is found, with what the request's database says of the query; blocks until it has said it."""
        assert request.database is not None
        try:
            said = self.databases.explain(LANGUAGES[plan.decision.task], request.database, text)
        except (DataError, ExecutionError) as error:
            said = Explanation(None, str(error).splitlines()[0])
        if said.accepted is None:
            return Finding(None if finding is None else finding.passed, f"not explained: {said.detail}")
        where = f"the database {request.database!r} refuses it: "
        return Finding(said.accepted, "" if said.accepted else where + said.detail)

    def second(self, prompt: Prompt, text: str, finding: Finding) -> Prompt:
        """The prompt that asks once more."""
        said: list[Message] = [
            {"role": "assistant", "content": text},
            {"role": "user", "content": _REFUSED.format(finding.detail)},
        ]
        return Prompt([*prompt.messages, *said], prompt.tools)

    def _verified(self, plan: Plan) -> VerifiedTask[Any] | None:
        task = self.tasks[plan.decision.task]
        verifiable = isinstance(task, VerifiedTask) and task.name not in CHAT and plan.completion.record is not None
        return task if verifiable and isinstance(task, VerifiedTask) else None


def _must_call(request: ChatRequest) -> bool:
    return bool(request.usable_tools) and request.tool_choice != "auto"


def _form(request: ChatRequest) -> ResponseFormat | None:
    wanted = request.response_format
    return wanted if wanted is not None and wanted.type != "text" else None


def _fault(form: ResponseFormat, text: str) -> str:
    """Why a text is not of a format; empty where it is."""
    try:
        value = strict_json.parse(text)
    except strict_json.NotJSON as error:
        return f"not JSON: {error}"
    if form.json_schema is None or form.type == "json_object":
        return "" if isinstance(value, dict) else f"JSON, but no object: {json.dumps(value)[:40]}"
    return "; ".join(map(str, validator(form.json_schema.json_schema).errors(value, limit=3)))
