"""Function calls in the base model's own tool format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qwen_lightning.errors import DataError
from qwen_lightning.records import FunctionCallRecord
from qwen_lightning.tasks.base import VerifiedTask
from qwen_lightning.tasks.call_matching import check_accept, why_no_match
from qwen_lightning.tasks.json_schema import validator
from qwen_lightning.tasks.tool_calls import MAX_CALLS, Answer, Call, read_answer
from qwen_lightning.verdict import Verdict

NO_TOOL_FITS = "None of the available tools fits this request."
_OF_CALLS = ("json", "schema", "required", "types")


class FunctionCall(VerifiedTask[FunctionCallRecord]):
    """The completion is one or more `<tool_call>` blocks; a short sentence where no tool fits.

    `json`: every block is a call, and there is one. `schema`: the arguments satisfy the tool's JSON Schema and none is
    undeclared; `required` and `types` are parts of it: no required argument is missing, and each argument has its
    declared type as deep as it is declared. `match`: the calls are gold's.
    """

    name = "function_call"
    record_type = FunctionCallRecord
    checks = (*_OF_CALLS, "no_extra_text", "match")
    decides = "match"
    implied = frozenset(_OF_CALLS)
    rule = "Answer with tool calls and nothing else; where no tool fits, say so in one sentence."

    def system(self, record: FunctionCallRecord) -> str:
        return self.rule

    def tools(self, record: FunctionCallRecord) -> list[dict[str, Any]]:
        return [tool.model_dump() for tool in record.tools]

    def target(self, record: FunctionCallRecord) -> str:
        super().target(record)
        calls = [
            json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)
            for call in record.gold or []
        ]
        return "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls) or NO_TOOL_FITS

    def validate(self, record: FunctionCallRecord) -> None:
        """Tools have names of their own and readable schemas, and `accept` holds lists.

        Raises:
            DataError: One has not; the message names the field.
        """
        seen: set[str] = set()
        for position, tool in enumerate(record.tools):
            place, name, parameters = f"tools.{position}.function", tool.function.name, tool.function.parameters
            if name in seen:
                raise DataError(f"function_call record: {place}.name: {name!r} is the name of an earlier tool too")
            seen.add(name)
            try:
                kind = validator(parameters, closed=True).schema.get("type", "object")
            except DataError as error:
                raise DataError(f"function_call record: {place}.parameters: {error.message}") from None
            if "object" not in ([kind] if isinstance(kind, str) else kind):
                raise DataError(f"function_call record: {place}.parameters: type is {kind!r}; arguments are an object")
        if len(record.gold or []) > MAX_CALLS:
            raise DataError(f"function_call record: gold has more than {MAX_CALLS} calls")
        for position, accept in enumerate(record.accept or []):
            try:
                check_accept(accept, f"accept.{position}")
            except DataError as error:
                raise DataError(f"function_call record: {error.message}") from None

    def verify(self, record: FunctionCallRecord, completion: str) -> Verdict:
        """Judge one completion.

        Raises:
            DataError: A tool's schema is broken.
        """
        answer = read_answer(completion)
        if not answer.calls and not answer.fault:
            return _without_call(record, answer)
        parameters = {tool.function.name: tool.function.parameters for tool in record.tools}
        checks, reasons = _judge_calls(answer, parameters)
        if record.gold is not None:
            reason = "" if all(checks.values()) else "a call fails its schema"
            reason = reason or _why_no_match(answer.calls, record, parameters)
            checks["match"] = float(not reason)
            reasons.append(reason)
        checks["no_extra_text"] = float(not answer.extra)
        reasons.append("text outside the calls" if answer.extra else "")
        return Verdict(checks, _one_line(next(filter(None, reasons), "")))


def _without_call(record: FunctionCallRecord, answer: Answer) -> Verdict:
    """Right where gold says that no tool fits; silence says nothing, and is no answer."""
    if record.gold == []:
        checks = dict.fromkeys(_OF_CALLS, 1.0) | {"match": float(not answer.blank)}
        return Verdict(checks, "the answer is empty" if answer.blank else "")
    checks = dict.fromkeys(_OF_CALLS, 0.0) | {"no_extra_text": float(not answer.extra)}
    return Verdict(checks if record.gold is None else checks | {"match": 0.0}, "no call")


def _judge_calls(answer: Answer, parameters: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, float], list[str]]:
    """The checks that need no gold, each 1 only if every call passes, and why they fail, first call first."""
    if answer.fault:
        return dict.fromkeys(_OF_CALLS, 0.0), [answer.fault]
    checks, reasons = dict.fromkeys(_OF_CALLS, 1.0), []
    for number, call in enumerate(answer.calls, start=1):
        if call.name not in parameters:
            checks |= dict.fromkeys(("schema", "required", "types"), 0.0)
            reasons.append(f"call {number}: unknown tool {call.name!r}")
            continue
        schema = parameters[call.name]
        faults = validator(schema, closed=True).errors(call.arguments, limit=1)
        if faults:
            checks["schema"] = 0.0
            reasons.append(f"call {number} ({call.name}): {faults[0]}")
            for check in ("required", "types"):
                if checks[check] and not validator(schema, rules=check).is_valid(call.arguments):
                    checks[check] = 0.0
    return checks, reasons


def _why_no_match(calls: list[Call], record: FunctionCallRecord, parameters: Mapping[str, Mapping[str, Any]]) -> str:
    gold = record.gold or []
    if len(calls) == len(gold):
        # 5.0 is an integer to JSON Schema, not to the function that is called.
        for number, call in enumerate(calls, start=1):
            if _has_float(call.arguments):
                faults = validator(parameters[call.name], rules="exact_types").errors(call.arguments, limit=1)
                if faults:
                    return f"call {number} ({call.name}): {faults[0]}"
    return why_no_match(calls, gold, record.accept, parameters)


def _has_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_float, value.values()))
    return any(map(_has_float, value)) if isinstance(value, list) else isinstance(value, float)


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 400 else f"{text[:400]}…"
