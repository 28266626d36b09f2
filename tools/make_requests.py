"""Turn records into the chat requests that users of an OpenAI client would send: `records.jsonl` to `requests.jsonl`.

Each record is asked in several layouts, none with our task tag: schema and question in one message in this order or
that, fenced or bare, the schema in a system message, tools and response_format where OpenAI has them, wording in
English and Chinese, with earlier turns where the record has some. A line holds `id`, `layout`, `task`, `exact` (whether
the prompt must be the one that training made of the record) and `request`.

    python -m tools.make_requests --records R.jsonl… --output requests.jsonl [--limit 500] [--route]

With --route every request is routed too, and a table says how many went to their task.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from qwen_lightning.records import RecordBase
from qwen_lightning.serving.requests import parse_request
from qwen_lightning.serving.routing.planning import Planner
from qwen_lightning.tables import render_table
from qwen_lightning.tasks.base import Prompt
from qwen_lightning.tasks.registry import TaskRegistry

Messages = list[dict[str, Any]]
Layout = Callable[[Any], dict[str, Any]]


@dataclass(frozen=True)
class Asked:
    """A request made of a record; `exact`: nothing in it keeps it from meeting the prompt of training."""

    record: RecordBase
    layout: str
    request: dict[str, Any]
    exact: bool

    def as_line(self) -> dict[str, Any]:
        """The line of the output file."""
        return {
            "id": self.record.id,
            "layout": self.layout,
            "task": self.record.task,
            "exact": self.exact,
            "request": self.request,
        }


def _turns(record: RecordBase, first: str = "", last: str | None = None) -> Messages:
    """A system message, the record's turns, and what the user says last."""
    system = "\n".join([*([first] if first else []), *(t.content for t in record.history if t.role == "system")])
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": turn.role, "content": turn.content} for turn in record.history if turn.role != "system"]
    return [*messages, {"role": "user", "content": record.input if last is None else last}]


def _query_layouts(language: str) -> dict[str, Layout]:
    """Layouts of schema and question; the placeholders are filled by the record."""
    kind = "SQL" if language == "sql" else "Cypher"
    store = "PostgreSQL database" if language == "sql" else "Neo4j graph database"
    store_zh = "PostgreSQL 数据库" if language == "sql" else "Neo4j 图数据库"
    plain = {
        "schema, question": "{s}\n\n{q}",
        "question, schema": "{q}\n\n{s}",
        "labels": "Schema:\n{s}\n\nQuestion: {q}\n" + kind + ":",
        "fence": "Here is my database schema:\n```"
        + language
        + "\n{s}\n```\nWrite a "
        + kind
        + " query to answer this question: {q}",
        "fence after": "{q}\n\nUse this schema:\n\n```\n{s}\n```\n\nReturn only the " + kind + ", no explanation.",
        "headings": "### Task\nGenerate a "
        + kind
        + " query to answer the question below.\n\n### Database Schema\n{s}\n\n### Question\n{q}\n\n### "
        + kind
        + "\n",
        "tags": "You are given a "
        + store
        + " schema.\n<schema>\n{s}\n</schema>\n<question>\n{q}\n</question>\nOutput a single "
        + kind
        + " statement.",
        "convert": "Convert the following question into a "
        + kind
        + " query for the schema below.\nQuestion: {q}\nSchema:\n{s}",
        "zh labels": "数据库表结构如下：\n{s}\n\n问题：{q}\n请写出对应的 " + kind + " 查询语句。",
        "zh fence": "根据下面的"
        + store_zh
        + "结构，写一条 "
        + kind
        + " 查询来回答问题，只返回 "
        + kind
        + "，不要解释。\n```\n{s}\n```\n{q}",
    }

    def user(text: str) -> Layout:
        return lambda r: {"messages": _turns(r, "", text.format(s="\0", q=r.input).replace("\0", r.schema_text))}

    def system(text: str, last: str = "{q}") -> Layout:
        return lambda r: {
            "messages": _turns(r, text.replace("{s}", r.schema_text), last.replace("{q}", r.input)),
            "temperature": 0,
        }

    return {name: user(text) for name, text in plain.items()} | {
        "system": system(
            f"You are an expert {kind} assistant. Given the schema below, answer the user's question "
            f"with one {kind} query. Return only the query.\n\n{{s}}"
        ),
        "system bare": system("{s}"),
        "system zh": system(f"你是一名 {kind} 专家，请根据以下结构把用户的问题转换为 {kind}，只输出语句。\n{{s}}"),
        "system rules": system(f"You translate questions into {kind}.", "Question: {q}\n\n" + "Schema:\n\0"),
    }


def _with_schema(layout: Layout) -> Layout:
    def filled(record: Any) -> dict[str, Any]:
        request = layout(record)
        for message in request["messages"]:
            message["content"] = message["content"].replace("\0", record.schema_text)
        return request

    return filled


def _slot_layouts() -> dict[str, Layout]:
    def with_format(system: str = "", text: str = "{q}") -> Layout:
        return lambda r: {
            "messages": _turns(r, system, text.replace("{q}", r.input)),
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "slots", "schema": r.slots, "strict": False},
            },
        }

    def text(first: str, last: str, indent: int | None = None) -> Layout:
        def make(record: Any) -> dict[str, Any]:
            schema = json.dumps(record.slots, ensure_ascii=False, indent=indent)
            return {
                "messages": _turns(
                    record, first.replace("{s}", schema), last.replace("{q}", record.input).replace("{s}", schema)
                )
            }

        return make

    def fields(first: str, last: str, bullets: bool) -> Layout:
        def make(record: Any) -> dict[str, Any]:
            names = list(record.slots["properties"])
            listed = "\n".join(f"- {name}" for name in names) if bullets else ", ".join(names)
            fill = lambda part: part.replace("{f}", listed).replace("{q}", record.input)  # noqa: E731
            return {"messages": _turns(record, fill(first), fill(last))}

        return make

    return {
        "response_format": with_format(),
        "response_format, system": with_format("Extract the slots from the user's message."),
        "response_format, zh": with_format("请从用户的话中提取槽位。"),
        "response_format, text": with_format("", "Extract the fields from this sentence: {q}"),
        "schema in user": text(
            "", "Extract the slots from the text as JSON that matches this schema:\n{s}\n\nText: {q}"
        ),
        "schema in fence": text(
            "",
            "Fill in this JSON schema from the sentence below.\n```json\n{s}\n```\nSentence: "
            "{q}\nReturn only the JSON object.",
            2,
        ),
        "schema in system": text(
            "You extract slots. Reply with one JSON object that satisfies this JSON Schema and nothing else:\n{s}",
            "{q}",
        ),
        "schema, zh": text("", "请按照下面的 JSON Schema 从文本中提取信息，只返回 JSON：\n{s}\n文本：{q}"),
        "schema in system, zh": text("请根据以下 JSON Schema 从用户输入中抽取槽位，只输出 JSON 对象。\n{s}", "{q}", 2),
        "~fields": fields("", "Extract the following fields from the text: {f}\n\nText: {q}", False),
        "~fields, bullets": fields("", "Extract the following fields as JSON:\n{f}\n\nText: {q}", True),
        "~fields, system": fields("Extract these slots from what the user says and answer in JSON: {f}", "{q}", False),
        "~fields, zh": fields("", "请从下面的句子中提取以下字段：{f}\n句子：{q}", False),
        "~fields, zh bullets": fields("从用户的话里提取这些槽位，以 JSON 返回：\n{f}", "{q}", True),
    }


def _rewrite_layouts() -> dict[str, Layout]:
    def transcript(text: str, user: str, assistant: str) -> Layout:
        def make(record: Any) -> dict[str, Any]:
            who = {"user": user, "assistant": assistant}
            said = "\n".join(f"{who[turn.role]}{turn.content}" for turn in record.history if turn.role != "system")
            last = text.replace("{h}", said).replace("{q}", record.input)
            system = [turn.content for turn in record.history if turn.role == "system"]
            first = [{"role": "system", "content": "\n".join(system)}] if system else []
            return {"messages": [*first, {"role": "user", "content": last}]}

        return make

    def system(text: str, last: str = "{q}") -> Layout:
        return lambda r: {"messages": _turns(r, text, last.replace("{q}", r.input))}

    return {
        "system": system("Rewrite the user's last message so that it stands alone, without the conversation."),
        "system, query": system(
            "Rewrite the last question as a standalone question that can be understood without the "
            "chat history. Return only the rewritten question."
        ),
        "system zh": system("请把用户最后一句话改写成不依赖上下文的完整句子，只输出改写后的句子。"),
        "last turn": system("", "Rewrite this question so that it is self-contained: {q}"),
        "transcript": transcript(
            "Given the conversation below, rewrite the last user message so that it can be "
            "understood without the context.\n\n{h}\nUser: {q}",
            "User: ",
            "Assistant: ",
        ),
        "condense": transcript(
            "Given the following conversation and a follow up question, rephrase the follow up "
            "question to be a standalone question.\n\nChat History:\n{h}\nFollow Up Input: "
            "{q}\nStandalone question:",
            "Human: ",
            "Assistant: ",
        ),
        "transcript zh": transcript(
            "请根据对话历史，把最后一句话改写成独立完整的问题。\n\n{h}\n用户：{q}", "用户：", "助手："
        ),
    }


def _call_layouts() -> dict[str, Layout]:
    def with_tools(system: str = "", **more: Any) -> Layout:
        return lambda r: {"messages": _turns(r, system), "tools": [tool.model_dump() for tool in r.tools], **more}

    return {
        "tools": with_tools(),
        "tools, auto": with_tools("", tool_choice="auto", parallel_tool_calls=True),
        "~tools, system": with_tools("You are a helpful assistant. The customer is in a hurry."),
        "tools, required": with_tools("", tool_choice="required"),
    }


def _chat_layouts() -> dict[str, Layout]:
    return {
        "plain": lambda r: {"messages": _turns(r)},
        "~system": lambda r: {"messages": _turns(r, "You are a helpful assistant.")},
    }


LAYOUTS: dict[str, dict[str, Layout]] = {
    "text2sql": {name: _with_schema(layout) for name, layout in _query_layouts("sql").items()},
    "text2cypher": {name: _with_schema(layout) for name, layout in _query_layouts("cypher").items()},
    "slot_json": _slot_layouts(),
    "function_call": _call_layouts(),
    "intent_rewrite": _rewrite_layouts(),
    "general": _chat_layouts(),
    "persona": _chat_layouts(),
}
#: Layouts that cannot meet the prompt of training: they add something that it has not, or leave types out.
_FREE = "~"


def ask(record: RecordBase, layouts: Sequence[str] | None = None) -> Iterator[Asked]:
    """The requests of one record, a layout each. A rewrite without earlier turns bears no signal, and is left out."""
    if record.task == "intent_rewrite" and not any(turn.role != "system" for turn in record.history):
        return
    for name, layout in LAYOUTS[record.task].items():
        if layouts is None or name in layouts:
            request = {"model": "auto", **layout(record)}
            yield Asked(record, name.removeprefix(_FREE), request, not name.startswith(_FREE))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", nargs="+", required=True, type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--limit", type=int, help="records a file, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--route", action="store_true", help="route them, and print how many went right")
    parser.add_argument("--wrong", type=int, default=0, help="how many requests that went wrong to print a layout")
    args = parser.parse_args()
    tasks = TaskRegistry()
    planner, rows, lines = Planner(tasks), [], []
    for path in args.records:
        records = [item.record for item in tasks.reader.read(path)]
        if args.limit and len(records) > args.limit:
            records = Random(args.seed).sample(records, args.limit)
        asked = [request for record in records for request in ask(record)]
        lines += [json.dumps(request.as_line(), ensure_ascii=False) for request in asked]
        if args.route:
            rows += _route(planner, path, asked, args.wrong)
    if args.output:
        args.output.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    if rows:
        print(render_table(("file", "layout", "requests", "right", "exact", "of"), rows))


def _route(planner: Planner, path: Path, asked: list[Asked], show: int) -> list[tuple[str, ...]]:
    """A row a layout: how many went to their task, and how many prompts are those of training."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in asked:
        plan = planner.plan(parse_request(one.request))
        count = counts[one.layout]
        count["requests"] += 1
        wanted = ("general", "persona") if one.record.task in ("general", "persona") else (one.record.task,)
        right = plan.decision.task in wanted
        count["right"] += right
        count["of"] += one.exact
        exact = (
            one.exact
            and right
            and same_prompt(plan.completion.prompt, planner.tasks[one.record.task].prompt(one.record))
        )
        count["exact"] += exact
        if not right or (one.exact and not exact):
            count["shown"] += 1
            if count["shown"] <= show:
                print(f"{path} {one.record.id} [{one.layout}] {plan.decision}")
                if right:
                    print(
                        "   got ",
                        plan.completion.prompt.messages,
                        "\n   want",
                        planner.tasks[one.record.task].prompt(one.record).messages,
                    )
    names = ("requests", "right", "exact", "of")
    total = Counter({name: sum(count[name] for count in counts.values()) for name in names})
    every = [*counts.items(), ("all", total)]
    return [
        (path.parent.name + "/" + path.stem, layout, *(str(count[name]) for name in names)) for layout, count in every
    ]


def same_prompt(one: Prompt, other: Prompt) -> bool:
    """Whether two prompts say the same but for white space at the ends of messages."""

    def told(prompt: Prompt) -> Any:
        return [(message["role"], message["content"].strip()) for message in prompt.messages], prompt.tools

    return told(one) == told(other)


if __name__ == "__main__":
    main()
