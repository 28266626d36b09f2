"""The official client against a real server over the tiny model: what it says is noise, how it says it is not."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import asdict
from itertools import cycle
from pathlib import Path

import openai
import pytest
from pydantic import BaseModel

from qwen_lightning.commands.workbench import load_planner
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.serving.generation import Sampling
from qwen_lightning.serving.requests import parse_request
from qwen_lightning.tasks.registry import TaskRegistry
from tests.serving.live import CALL, SQL, WEATHER, Serve, user
from tools.demo.tiny import TinyDemo
from tools.make_requests import ask


def test_chat_is_what_the_engine_says_under_the_routed_adapter(
    serve: Serve, renderer: ChatRenderer, adapters: Path
) -> None:
    server = serve()
    answer = server.client().chat.completions.with_raw_response.create(model="auto", messages=user(SQL), max_tokens=12)
    said = answer.parse()
    planner = load_planner([], str(adapters))
    plan = planner.plan(parse_request({"messages": user(SQL)}))
    prompt = renderer.prompt_ids(plan.completion.prompt)
    alone = server.engine.submit(prompt, "sql", Sampling(12))
    tokens = alone.tokens()
    assert said.choices[0].message.content == renderer.decode([token.id for token in tokens])
    assert said.choices[0].finish_reason == alone.finish_reason
    assert said.usage.model_dump()["prompt_tokens"] == len(prompt)
    assert (said.usage.completion_tokens, said.usage.total_tokens) == (len(tokens), len(prompt) + len(tokens))
    assert said.model == "sql"
    assert said.routing == {"adapter": "sql", "task": "text2sql", "reason": plan.decision.reason}
    assert (answer.headers["x-adapter"], answer.headers["x-task"]) == ("sql", "text2sql")
    assert "DDL" in answer.headers["x-routing-reason"]
    assert re.fullmatch("fp_[0-9a-f]{12}", said.system_fingerprint)


@pytest.mark.parametrize("stop", [None, "heron"])
def test_a_stream_is_the_whole_answer_in_pieces(serve: Serve, stop: str | None) -> None:
    client = serve(None if stop is None else ["An eagle, a stork, an owl, a heron, a gull."] * 2).client()
    asked = {
        "model": "fc",
        "messages": user("Name a bird. 请说中文。"),
        "max_tokens": 40,
        "logprobs": True,
        "top_logprobs": 2,
    }
    if stop is not None:
        asked["stop"] = [stop, "never"]
    plain = client.chat.completions.create(**asked)
    if stop is not None:
        assert plain.choices[0].message.content == "An eagle, a stork, an owl, a "
        assert plain.choices[0].finish_reason == "stop"
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == plain.choices[0].message.content
    assert choices[0].delta.role == "assistant"
    assert choices[-1].finish_reason == plain.choices[0].finish_reason
    assert len(choices) > 5
    assert chunks[-1].usage == plain.usage
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.model for chunk in chunks} == {"fc"}
    streamed = [said for choice in choices if choice.logprobs for said in choice.logprobs.content]
    assert [said.token for said in streamed] == [said.token for said in plain.choices[0].logprobs.content]
    if stop is None:
        joined = b"".join(bytes(said.bytes) for said in streamed)
        assert joined.decode("utf-8", "replace") == plain.choices[0].message.content
        assert all(len(said.top_logprobs) == 2 for said in streamed)
        assert all(said.logprob == pytest.approx(said.top_logprobs[0].logprob, abs=1e-4) for said in streamed)  # greedy


@pytest.mark.parametrize("stop", [["uvx", "END"], ["uvEND"]])
def test_logprobs_are_of_what_is_said_before_the_stop_string(serve: Serve, stop: list[str]) -> None:
    says = "abc uvEND."
    client = serve([says] * 2).client()
    asked = {"model": "fc", "messages": user("Say."), "max_tokens": 30, "logprobs": True, "stop": stop}
    choice = client.chat.completions.create(**asked).choices[0]
    said = [token.token for token in choice.logprobs.content]
    assert choice.message.content == says[: says.index(stop[-1])]
    assert "".join(said).startswith(choice.message.content)
    assert len("".join(said[:-1])) < len(choice.message.content)  # the last begins before the stop string
    streamed = [chunk.choices[0] for chunk in client.chat.completions.create(**asked, stream=True)]
    assert [token.token for each in streamed if each.logprobs for token in each.logprobs.content] == said


def test_n_choices_with_seeds_of_their_own(serve: Serve) -> None:
    client = serve().client()
    asked = {"model": "slot", "messages": user("Name a bird."), "temperature": 1.0, "max_tokens": 12}
    three = client.chat.completions.create(**asked, n=3, seed=7)
    texts = [choice.message.content for choice in three.choices]
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    for index, text in enumerate(texts):
        assert client.chat.completions.create(**asked, seed=7 + index).choices[0].message.content == text
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, n=3, seed=7, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts


@pytest.mark.parametrize("before", ["", "I look it up. "])
@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls(serve: Serve, stream: bool, before: str) -> None:
    two = before + CALL + "\n" + CALL.replace("Köln", "Rome")
    client = serve([two, "None of the tools fits.", CALL.replace("weather", "wetter")]).client()

    def ask(**more: object) -> tuple[str | None, list, str]:
        asked = {"model": "auto", "messages": user("Weather?"), "tools": [WEATHER], "max_tokens": 300, **more}
        if not stream:
            choice = client.chat.completions.create(**asked).choices[0]
            return choice.message.content, choice.message.tool_calls or [], choice.finish_reason
        text, calls, reason = "", [], ""
        for chunk in client.chat.completions.create(**asked, stream=True):
            choice = chunk.choices[0]
            text, calls = text + (choice.delta.content or ""), calls + (choice.delta.tool_calls or [])
            reason = choice.finish_reason or reason
        return text or None, calls, reason

    text, calls, reason = ask()
    assert text == (before.strip() or None)
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("weather", {"city": "Köln"}),
        ("weather", {"city": "Rome"}),
    ]
    assert reason == "tool_calls"
    assert len({call.id for call in calls}) == 2
    assert ask() == ("None of the tools fits.", [], "stop")
    text, calls, reason = ask()  # a call of a tool that there is not is no call, and is not lost
    assert (text, calls, reason) == (CALL.replace("weather", "wetter"), [], "stop")


HALF = "\\ud800"  # half of a surrogate pair, which JSON's escapes can spell and UTF-8 cannot


def test_half_a_surrogate_pair_in_what_the_model_writes(serve: Serve) -> None:
    call = CALL.replace("Köln", HALF)
    client = serve([call] * 2).client()
    asked = {"model": "auto", "messages": user("Weather?"), "tools": [WEATHER], "max_tokens": 100}
    (said,) = client.chat.completions.create(**asked).choices[0].message.tool_calls
    assert said.function.arguments == f'{{"city": "{HALF}"}}'
    calls = [
        call
        for chunk in client.chat.completions.create(**asked, stream=True)
        for call in chunk.choices[0].delta.tool_calls or []
    ]
    assert [each.function.arguments for each in calls] == [said.function.arguments]
    client = serve([f'{{"{HALF}": 1}}'] * 2, verify=True).client()
    strict = {"type": "json_schema", "json_schema": {"name": "x", "schema": {**SCHEMA, "additionalProperties": False}}}
    choice = client.chat.completions.create(model="slot", messages=user(TRIP), response_format=strict).choices[0]
    assert choice.verdict["passed"] is False


@pytest.mark.parametrize(
    "text",
    [
        'Rewrite the last question:\n[{"role": "user", "content": "hi %s"}, {"role": "user", "content": "And she?"}]',
        'Extract JSON of {"type": "object", "properties": {"%s": {"type": "string"}}} from: I fly to Rome.',
        'Fill in {"city": "", "%s": ""} from: I fly to Rome.',
    ],
)
def test_half_a_surrogate_pair_in_a_message(serve: Serve, text: str) -> None:
    said = serve().client().chat.completions.create(model="auto", messages=user(text % HALF), max_tokens=2)
    assert said.usage.completion_tokens > 0


def test_each_line_of_a_stream_is_an_event(serve: Serve) -> None:
    """Also for clients that end lines where Unicode does."""
    says = "one\u2028two\u0085three"
    server = serve([says])
    asked = {"model": "fc", "messages": user("Say."), "max_tokens": 60, "stream": True}
    with server.client().chat.completions.with_streaming_response.create(**asked) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == says


def test_a_conversation_goes_on_after_its_tools_answered(serve: Serve) -> None:
    client = serve([CALL, "It rains."]).client()
    messages = user("Weather in Köln?")
    first = client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER], max_tokens=100)
    call = first.choices[0].message.tool_calls[0]
    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    second = client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER], max_tokens=100)
    assert second.choices[0].message.content == "It rains."
    assert second.routing["task"] == "general"


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}
TRIP = "Extract the fields: I fly to Rome."


@pytest.mark.parametrize("stream", [False, True])
def test_json_is_checked_and_asked_for_once_more(serve: Serve, stream: bool) -> None:
    client = serve(['{"town": "Rome"}', '{"city": "Rome"}', "no", "still no"], verify=True).client()

    def ask() -> tuple[str, dict, object]:
        asked = {"model": "slot", "messages": user(TRIP), "response_format": AS_SCHEMA, "max_tokens": 60}
        if not stream:
            said = client.chat.completions.create(**asked)
            return said.choices[0].message.content, said.choices[0].verdict, said.usage
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        return text, chunks[-2].choices[0].verdict, chunks[-1].usage

    text, verdict, usage = ask()
    assert (text, verdict) == ('{"city": "Rome"}', {"passed": True, "detail": "", "repaired": True})
    again, verdict, more = ask()
    assert again == "no"
    assert (verdict["passed"], verdict["repaired"]) == (False, False)
    assert verdict["detail"].startswith("not JSON")
    assert usage.completion_tokens > 0
    assert more.prompt_tokens > 0


def test_json_is_checked_without_a_second_answer_unless_wanted(serve: Serve) -> None:
    client = serve(["[1]", '{"a": 1}']).client()
    asked = {"model": "base", "messages": user("Write JSON."), "response_format": {"type": "json_object"}}
    first = client.chat.completions.create(**asked, max_tokens=50).choices[0]
    assert (first.message.content, first.verdict["passed"]) == ("[1]", False)
    assert client.chat.completions.create(**asked, max_tokens=50).choices[0].verdict["passed"] is True


def test_a_query_is_verified_and_asked_for_once_more(serve: Serve) -> None:
    says = ["SELECT count(*) FROM ships", "SELECT count(*) FROM boats"]
    asked = {"model": "auto", "messages": user(SQL), "max_tokens": 60}
    choice = serve(says, verify=True).client().chat.completions.create(**asked).choices[0]
    assert choice.message.content == says[1]
    assert choice.verdict == {"passed": True, "detail": "", "repaired": True}
    choice = serve(says[:1]).client().chat.completions.create(**asked).choices[0]
    assert choice.message.content == says[0]
    assert "verdict" not in choice.model_extra


def test_models_health_and_metrics(serve: Serve) -> None:
    server = serve()
    client = server.client()
    assert sorted(model.id for model in client.models.list()) == ["base", "fc", "slot", "sql"]
    assert client.models.retrieve("sql").owned_by == "qwen_lightning"
    with pytest.raises(openai.NotFoundError, match="no model 'nope'"):
        client.models.retrieve("nope")
    client.chat.completions.create(model="sql", messages=user(SQL), max_tokens=3)
    list(client.chat.completions.create(model="sql", messages=user(SQL), max_tokens=3, stream=True))
    assert server.get("/health") == (200, '{"status":"ok"}')
    status, text = server.get("/metrics")
    assert status == 200
    assert 'qwen_lightning_requests_total{adapter="sql",status="200",task="text2sql"} 2.0' in text
    assert 'qwen_lightning_request_seconds_count{adapter="sql"} 2.0' in text
    assert 'qwen_lightning_first_piece_seconds_count{adapter="sql"} 1.0' in text
    assert "qwen_lightning_completion_tokens_total 6.0" in text
    assert "qwen_lightning_running 0.0" in text
    assert "boats" not in text


def test_the_first_answer_stands_where_there_is_no_room_for_a_second(
    serve: Serve, renderer: ChatRenderer, adapters: Path
) -> None:
    asked = {"messages": user(TRIP), "response_format": AS_SCHEMA, "max_tokens": 20}
    prompt = renderer.prompt_ids(load_planner([], str(adapters)).plan(parse_request(asked)).completion.prompt)
    client = serve(["no"], verify=True, length=len(prompt) + 24).client()
    choice = client.chat.completions.create(model="auto", **asked).choices[0]
    assert choice.message.content == "no"
    assert (choice.verdict["passed"], choice.verdict["repaired"]) == (False, False)


def test_many_clients_of_many_adapters_get_their_own_answers(serve: Serve) -> None:
    server = serve()
    asked = [
        {"model": model, "messages": user(SQL), "max_tokens": 8, "temperature": 1.0, "seed": index}
        for index in range(8)
        for model in ("sql", "fc", "slot", "base")
    ]
    client = server.client()
    alone = [client.chat.completions.create(**each).choices[0].message.content for each in asked]
    assert len(set(alone)) == len(alone)

    async def together() -> list:
        async with openai.AsyncOpenAI(base_url=str(client.base_url), api_key="none", max_retries=0) as many:
            return await asyncio.gather(*(many.chat.completions.create(**each) for each in asked))

    said = asyncio.run(together())
    assert [answer.choices[0].message.content for answer in said] == alone
    assert [answer.model for answer in said] == [each["model"] for each in asked]


def test_route_and_server_agree(serve: Serve, demo: TinyDemo, adapters: Path) -> None:
    tasks = TaskRegistry()
    items = [*tasks.reader.read(demo.file("task_regression")), *tasks.reader.read(demo.file("general_regression"))]
    requests = [asked.request for item in items for asked in ask(item.record)]
    assert len(requests) > 150
    server, planner, tasks_seen = serve(), load_planner([], str(adapters)), set()
    for request, model in zip(requests, cycle([*["auto"] * 4, "base", "sql", "fc", "slot"])):
        asked = {**request, "model": model}
        wanted = planner.plan(parse_request(asked)).decision
        status, said, headers = server.post(json.dumps({**asked, "max_tokens": 1}).encode())
        assert (status, said["routing"]) == (200, asdict(wanted))
        assert (said["model"], headers["x-task"]) == (wanted.adapter, wanted.task)
        tasks_seen.add(wanted.task)
    assert tasks_seen >= {"text2sql", "slot_json", "function_call", "intent_rewrite"}


class Trip(BaseModel):
    """What a client wants an answer parsed to."""

    city: str


def test_the_clients_own_helpers(serve: Serve) -> None:
    """`parse` and `stream` put the pieces together, and are strict about their shape."""
    client = serve(['{"city": "Rome"}', "I look. " + CALL]).client()
    parsed = client.chat.completions.parse(model="slot", messages=user(TRIP), response_format=Trip, max_tokens=50)
    assert parsed.choices[0].message.parsed == Trip(city="Rome")
    with client.chat.completions.stream(
        model="auto", messages=user("Weather?"), tools=[WEATHER], max_tokens=100, stream_options={"include_usage": True}
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"content.delta", "tool_calls.function.arguments.done"} <= kinds
    message = final.choices[0].message
    assert message.content == "I look."
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Köln"}
    assert final.usage.completion_tokens > 10
