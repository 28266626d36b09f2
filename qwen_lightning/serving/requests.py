"""The OpenAI chat request, as far as it is understood here; fields that are not known are passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError, field_validator, model_validator

from qwen_lightning.errors import RequestError
from qwen_lightning.records import Tool, Turn

P = TypeVar("P", bound="RequestPart")
MAX_CHOICES = 16
MAX_STOPS = 4
MAX_MESSAGES = 2048
MAX_TOOLS = 128
MAX_CALLS = 128  # of one message
_FUNCTION_KEYS = 16  # a function has four
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")


class RequestPart(BaseModel):
    """A part of a request; fields that are not known are passed over, and `null` is the same as a field left out."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


class CalledFunction(RequestPart):
    """What a call calls; `arguments` is JSON text, as OpenAI sends it."""

    name: str = Field(min_length=1)
    arguments: str = "{}"


class RequestedCall(RequestPart):
    """A call that the assistant made in an earlier turn."""

    id: str = ""
    function: CalledFunction


class ChatMessage(RequestPart):
    """One message; content in text parts is joined."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str = ""
    tool_calls: Annotated[list[RequestedCall], FailFast()] = Field(default=[], max_length=MAX_CALLS)
    tool_call_id: str | None = None
    name: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        texts = []
        for part in value:
            kind = part.get("type") if isinstance(part, dict) else None
            text = part.get("text", part.get("refusal")) if isinstance(part, dict) else None
            if kind not in _TEXT_PARTS or not isinstance(text, str):
                raise ValueError(f"holds a part of type {kind!r}; only text is understood")
            texts.append(text)
        return "\n".join(texts)

    def turn(self) -> Turn:
        """The message as a record's turn: calls are written as the model writes them, beside what was said."""
        role: Any = {"developer": "system", "function": "tool"}.get(self.role, self.role)
        calls = [
            f'<tool_call>\n{{"name": {json.dumps(call.function.name, ensure_ascii=False)}, '
            f'"arguments": {call.function.arguments or "{}"}}}\n</tool_call>'
            for call in self.tool_calls
        ]
        return Turn(role=role, content="\n".join(part for part in (self.content, *calls) if part))


class JSONSchemaFormat(RequestPart):
    """The `json_schema` of a response format."""

    name: str = ""
    json_schema: dict[str, Any] = Field(alias="schema", default={})


class ResponseFormat(RequestPart):
    """How the answer is to be written."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchemaFormat | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and (self.json_schema is None or not self.json_schema.json_schema):
            raise ValueError('needs json_schema: {"name": …, "schema": {…}}')
        return self


class NamedFunction(RequestPart):
    """The function that must be called."""

    name: str


class NamedTool(RequestPart):
    """A choice of one tool."""

    type: Literal["function"]
    function: NamedFunction


class StreamOptions(RequestPart):
    """What a stream tells beside the answer."""

    include_usage: bool = False


class ChatRequest(RequestPart):
    """A chat request. Fields are OpenAI's. Lists are read up to their first fault: a body may hold a million."""

    model: str | None = None
    messages: Annotated[list[ChatMessage], FailFast()] = Field(min_length=1, max_length=MAX_MESSAGES)
    tools: Annotated[list[Tool], FailFast()] = Field(default=[], max_length=MAX_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedTool = "auto"
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None
    stop: Annotated[list[Annotated[str, Field(min_length=1)]], FailFast()] = Field(default=[], max_length=MAX_STOPS)
    n: int = Field(default=1, ge=1, le=MAX_CHOICES)
    seed: int | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _as_listed(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for old in ("functions", "function_call"):
            if value.get(old) is not None:
                raise ValueError(f"{old} is no longer understood; send tools and tool_choice")
        kept, tools = dict(value), value.get("tools")
        if isinstance(kept.get("stop"), str):
            kept["stop"] = [kept["stop"]]
        if isinstance(tools, list):
            kept["tools"] = [_described(tool) for tool in tools[: MAX_TOOLS + 1]]
        return kept

    @model_validator(mode="after")
    def _fits_together(self) -> ChatRequest:
        if isinstance(self.tool_choice, NamedTool):
            wanted = self.tool_choice.function.name
            if wanted not in {tool.function.name for tool in self.tools}:
                raise ValueError(f"tool_choice names {wanted!r}, which is not among tools")
        elif self.tool_choice == "required" and not self.tools:
            raise ValueError("tool_choice is required, but there are no tools")
        names = [tool.function.name for tool in self.tools]
        if len(set(names)) < len(names):
            raise ValueError("tools: two have the same name")
        said = [message.role for message in self.messages if message.role not in ("system", "developer")]
        if "user" not in said or said[-1] == "assistant":
            raise ValueError("messages must hold a user's turn and end with one, or with what tools returned")
        return self

    @field_validator("metadata")
    @classmethod
    def _names_a_database(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("database"), str | None):
            raise ValueError("database must be the name of one")
        return value

    @property
    def database(self) -> str | None:
        """The database that the answer is meant for, by the name that `metadata.database` gives."""
        return self.metadata.get("database")

    @property
    def most_tokens(self) -> int | None:
        """The limit on the answer's tokens; the newer of the two names wins."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def most_tokens_field(self) -> str:
        """The name under which that limit came; of the older one where none did."""
        return "max_completion_tokens" if self.max_completion_tokens else "max_tokens"

    @property
    def usable_tools(self) -> list[Tool]:
        """The tools that the answer may call: those chosen among where one is named, none where none is wanted."""
        if self.tool_choice == "none":
            return []
        if isinstance(self.tool_choice, NamedTool):
            return [tool for tool in self.tools if tool.function.name == self.tool_choice.function.name]
        return self.tools


def _described(tool: Any) -> Any:
    """A tool object without nulls, and without `strict`, which says how to decode and nothing of the function."""
    if not isinstance(tool, dict) or not isinstance(tool.get("function"), dict):
        return tool
    if len(tool["function"]) > _FUNCTION_KEYS:
        raise ValueError("tools: a function has name, description and parameters, and nothing else")
    function = {key: value for key, value in tool["function"].items() if value is not None and key != "strict"}
    return {"type": tool.get("type"), "function": function}


def parse_request(value: Any, file: str | Path | None = None) -> ChatRequest:
    """Validate a decoded request.

    Raises:
        RequestError: It is no chat request; the error names its first field at fault.
    """
    return validated(ChatRequest, value, "a chat request", file)


def validated(kind: type[P], value: Any, what: str, file: str | Path | None = None) -> P:
    """A decoded request of a kind.

    Raises:
        RequestError: It is none; the error names its first field at fault.
    """
    if not isinstance(value, dict):
        raise RequestError("", f"{what} is a JSON object, not {type(value).__name__}", file)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = [str(part) for part in fault["loc"] if not str(part).startswith(("literal[", "NamedTool"))]
        message = "is missing" if fault["type"] == "missing" else fault["msg"].removeprefix("Value error, ")
        raise RequestError(".".join(where), message, file) from None


def read_request(path: str | Path) -> ChatRequest:
    """Read a request from a JSON file.

    Raises:
        RequestError: The file cannot be read, or holds no chat request.
    """
    try:
        value = json.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise RequestError("", f"cannot be read: {error.strerror}", path) from None
    except UnicodeDecodeError as error:
        raise RequestError("", f"not UTF-8 at byte {error.start}", path) from None
    except json.JSONDecodeError as error:
        raise RequestError("", f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}", path) from None
    except RecursionError:
        raise RequestError("", "not a chat request: nested too deeply", path) from None
    return parse_request(value, path)
