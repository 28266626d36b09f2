import pytest
from pydantic import ValidationError

from qwen_lightning.errors import RequestError
from qwen_lightning.serving.requests import ChatRequest, parse_request, read_request

HELLO = {"role": "user", "content": "Hello"}
RING = {"type": "function", "function": {"name": "ring", "description": None, "strict": True, "parameters": {}}}


def test_what_is_not_known_is_passed_over_and_null_is_absent():
    request = parse_request(
        {"messages": [HELLO | {"weight": 1}], "stop": "END", "tools": None, "n": None, "verbosity": "low"}
    )
    assert (request.stop, request.tools, request.n) == (["END"], [], 1)
    assert parse_request({"messages": [HELLO], "max_tokens": 5, "max_completion_tokens": 7}).most_tokens == 7
    inner = {"stream_options": {"include_usage": None}, "response_format": {"type": "text", "json_schema": None}}
    said = {"role": "assistant", "content": None, "tool_calls": [{"id": None, "function": {"name": "ring"}}]}
    request = parse_request({"messages": [HELLO, said, HELLO], **inner})
    assert request.stream_options.include_usage is False
    assert request.messages[1].tool_calls[0].id == ""


def test_text_parts_are_joined_and_calls_are_written_as_the_model_writes_them():
    call = {"id": "1", "type": "function", "function": {"name": "ring", "arguments": '{"bell": 2}'}}
    request = parse_request(
        {
            "tools": [RING],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Ring"}, {"type": "text", "text": "twice"}]},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "content": "done", "tool_call_id": "1"},
            ],
        }
    )
    turns = [message.turn() for message in request.messages]
    assert turns[0].content == "Ring\ntwice"
    assert turns[1].content == '<tool_call>\n{"name": "ring", "arguments": {"bell": 2}}\n</tool_call>'
    assert turns[2].role == "tool"
    assert request.tools[0].model_dump() == {
        "type": "function",
        "function": {"name": "ring", "description": "", "parameters": {}},
    }


def test_a_tool_choice_says_which_tools_may_be_called():
    other = {"type": "function", "function": {"name": "open"}}
    value = {"messages": [HELLO], "tools": [RING, other]}
    named = {"type": "function", "function": {"name": "open"}}
    assert [tool.function.name for tool in parse_request(value | {"tool_choice": named}).usable_tools] == ["open"]
    assert parse_request(value | {"tool_choice": "none"}).usable_tools == []


@pytest.mark.parametrize(
    ("value", "field", "fault"),
    [
        ([], "", "a chat request is a JSON object, not list"),
        ({}, "messages", "is missing"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role", "'system'"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content", "valid string"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content", "only text"),
        ({"messages": [{"role": "system", "content": "x"}]}, "", "a user's turn"),
        ({"messages": [HELLO, {"role": "assistant", "content": "Hi"}]}, "", "end with one"),
        ({"messages": [HELLO], "n": 0}, "n", "greater than or equal to 1"),
        ({"messages": [HELLO], "temperature": 3}, "temperature", "less than or equal to 2"),
        ({"messages": [HELLO], "stop": ["a"] * 5}, "stop", "at most 4"),
        ({"messages": [HELLO], "functions": []}, "", "send tools"),
        ({"messages": [HELLO], "tools": [RING, RING]}, "", "the same name"),
        ({"messages": [HELLO], "tool_choice": "required"}, "", "no tools"),
        ({"messages": [HELLO], "tools": [{"type": "function"}]}, "tools.0.function", "is missing"),
        ({"messages": [HELLO], "response_format": {"type": "json_schema"}}, "response_format", "needs json_schema"),
        ({"messages": [HELLO] * 2049}, "messages", "at most 2048"),
        ({"messages": [HELLO], "tools": [RING] * 129}, "tools", "at most 128"),
        (
            {"messages": [HELLO], "tools": [{"type": "function", "function": dict.fromkeys("abcdefghijklmnopq", 1)}]},
            "",
            "nothing else",
        ),
    ],
)
def test_a_fault_names_its_field(value, field, fault):
    with pytest.raises(RequestError, match=fault) as error:
        parse_request(value)
    assert error.value.field == field
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [0] * 1000},
        {"messages": [{"role": "assistant", "tool_calls": [0] * 1000}]},
        {"messages": [HELLO], "tools": [{"type": "function"}] * 100},
        {"messages": [HELLO], "stop": [""] * 1000},
    ],
)
def test_a_list_is_read_up_to_its_first_fault(value):
    """Else a body of a megabyte has half a million faults, and takes seconds."""
    with pytest.raises(ValidationError) as error:
        ChatRequest.model_validate(value)
    assert error.value.error_count() == 1


def test_a_file_that_holds_no_request(tmp_path):
    path = tmp_path / "request.json"
    for content, fault in ((b'{"messages": ', "not JSON"), (b"\xff", "not UTF-8"), (b"[" * 100_000, "nested|not JSON")):
        path.write_bytes(content)
        with pytest.raises(RequestError, match=fault) as error:
            read_request(path)
        assert str(error.value).startswith(f"{path}: ")
