"""How often `match` agrees with BFCL's own judge: `python tools/compare_bfcl.py --input FOLDER [--examples N]`.

Judges every gold of the folder that tools/prepare_bfcl.py converts, and golds changed in many ways, with both. The
judge is `ast_checker` of `bfcl-eval`, without what that package depends on: `pip install --no-deps bfcl-eval`.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prepare_bfcl import read_source

from qwen_lightning.errors import ConfigError, QwenLightningError
from qwen_lightning.records import FunctionCallRecord
from qwen_lightning.tables import render_table
from qwen_lightning.tasks.function_call import NO_TOOL_FITS, FunctionCall

Calls = list[dict[str, Any]]
Mutation = Callable[[Calls, FunctionCallRecord, random.Random], Calls | None]


def load_judge() -> Callable[[list[Any], Calls, list[Any], str], tuple[bool, str]]:
    """BFCL's judge: (functions, calls, possible answers, category) to whether they are right, and why not.

    Raises:
        ConfigError: It is not installed.
    """
    # Its table of models imports every vendor's client; the judge asks it only whether dots in names were replaced.
    table = types.ModuleType("bfcl_eval.constants.model_config")
    table.MODEL_CONFIG_MAPPING = defaultdict(lambda: SimpleNamespace(underscore_to_dot=False))  # type: ignore[attr-defined]
    sys.modules[table.__name__] = table
    try:
        from bfcl_eval.constants.enums import Language
        from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker
    except ImportError as error:
        raise ConfigError(f"BFCL's judge is missing ({error}); pip install --no-deps bfcl-eval") from None

    def judge(functions: list[Any], calls: Calls, answers: list[Any], category: str) -> tuple[bool, str]:
        output = [{call["name"]: call["arguments"]} for call in calls]
        try:
            result = ast_checker(functions, output, answers, Language.PYTHON, category, "model")
        except Exception as error:  # its judge stumbles over values it does not foresee; that is an answer too
            return False, f"raises {type(error).__name__}"
        return result["valid"], result.get("error_type", "")

    return judge


def places(calls: Calls, kind: type | tuple[type, ...], top: bool = True) -> Iterator[tuple[Any, Any]]:
    """`(container, key)` of every argument of a type; with `top` false those within lists and objects."""

    def inside(value: Any) -> Iterator[tuple[Any, Any]]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in list(items):
            if type(item) in (kind if isinstance(kind, tuple) else (kind,)):
                yield value, key
            yield from inside(item)

    for call in calls:
        for name, value in call["arguments"].items():
            if not top:
                yield from inside(value)
            elif type(value) in (kind if isinstance(kind, tuple) else (kind,)):
                yield call["arguments"], name


def changed(kind: type | tuple[type, ...], change: Callable[[Any], Any], top: bool = True) -> Mutation:
    """One value of a type, changed; none where there is no such value or the change leaves it as it is."""

    def mutate(calls: Calls, record: FunctionCallRecord, chance: random.Random) -> Calls | None:
        found = [(at, key) for at, key in places(calls, kind, top) if repr(change(at[key])) != repr(at[key])]
        if not found:
            return None
        at, key = chance.choice(found)
        at[key] = change(at[key])
        return calls

    return mutate


def schema_of(record: FunctionCallRecord, call: dict[str, Any]) -> dict[str, Any]:
    """The parameters of the tool that is called."""
    return next(tool.function.parameters for tool in record.tools if tool.function.name == call["name"])


def drop_argument(required: bool) -> Mutation:
    """An argument less."""

    def mutate(calls: Calls, record: FunctionCallRecord, chance: random.Random) -> Calls | None:
        found = [
            (call, name)
            for call in calls
            for name in call["arguments"]
            if (name in schema_of(record, call).get("required", ())) == required
        ]
        if not found:
            return None
        call, name = chance.choice(found)
        del call["arguments"][name]
        return calls

    return mutate


def give_optional(accepted: bool) -> Mutation:
    """A declared argument more: at an accepted value, or at one of its type that nobody asked for."""
    strange = {"string": "anything", "integer": 7_654, "number": 76.54, "boolean": True, "array": ["anything"]}

    def mutate(calls: Calls, record: FunctionCallRecord, chance: random.Random) -> Calls | None:
        found: list[tuple[dict[str, Any], str, Any]] = []
        for call, lists in zip(calls, record.accept or [], strict=True):
            for name, schema in schema_of(record, call).get("properties", {}).items():
                if name in call["arguments"]:
                    continue
                values = [value for value in lists.get(name, []) if value != "" and not isinstance(value, dict)]
                if accepted and values:
                    found.append((call, name, values[0]))
                elif not accepted and str(schema.get("type")) in strange:
                    found.append((call, name, strange[schema["type"]]))
        if not found:
            return None
        call, name, value = chance.choice(found)
        call["arguments"][name] = value
        return calls

    return mutate


def other_accepted(calls: Calls, record: FunctionCallRecord, chance: random.Random) -> Calls | None:
    """An argument at another of its accepted values."""
    found = [
        (call, name, value)
        for call, lists in zip(calls, record.accept or [], strict=True)
        for name in call["arguments"]
        for value in lists.get(name, [])
        if value not in ("", call["arguments"][name]) and isinstance(value, str | int | float)
    ]
    if not found:
        return None
    call, name, value = chance.choice(found)
    call["arguments"][name] = value
    return calls


def extra_argument(calls: Calls, record: FunctionCallRecord, chance: random.Random) -> Calls | None:
    """An argument that the tool does not declare."""
    if calls:
        chance.choice(calls)["arguments"]["undeclared_option"] = 1
    return calls or None


def other_function(calls: Calls, record: FunctionCallRecord, chance: random.Random) -> Calls | None:
    """A call of another tool with the same arguments."""
    if not calls:
        return None
    call = chance.choice(calls)
    names = [tool.function.name for tool in record.tools if tool.function.name != call["name"]]
    call["name"] = chance.choice(names) if names else call["name"] + "_v2"
    return calls


def call_something(calls: Calls, record: FunctionCallRecord, chance: random.Random) -> Calls | None:
    """A call where gold has none."""
    return None if calls else [{"name": record.tools[0].function.name, "arguments": {}}]


def exchanged_arguments(calls: Calls, record: FunctionCallRecord, chance: random.Random) -> Calls | None:
    """Two calls that have each other's arguments."""
    if len(calls) < 2 or calls[0]["arguments"] == calls[1]["arguments"]:
        return None
    calls[0]["arguments"], calls[1]["arguments"] = calls[1]["arguments"], calls[0]["arguments"]
    return calls


NUMBER = (int, float)
MUTATIONS: dict[str, Mutation] = {
    "gold": lambda calls, record, chance: calls,
    "required argument left out": drop_argument(required=True),
    "optional argument left out": drop_argument(required=False),
    "optional argument given, accepted": give_optional(accepted=True),
    "optional argument given, invented": give_optional(accepted=False),
    "undeclared argument": extra_argument,
    "other accepted value": other_accepted,
    "number as string": changed(NUMBER, str),
    "string as number": changed(str, lambda _: 12345),
    "string as list": changed(str, lambda value: [value]),
    "boolean as string": changed(bool, str),
    "null": changed((str, int, float, bool, list), lambda _: None),
    "wrong string": changed(str, lambda value: f"not {value}x"),
    "empty string": changed(str, lambda _: ""),
    "wrong number": changed(NUMBER, lambda value: value * 2 + 1),
    "negative number": changed(NUMBER, lambda value: -value),
    "boolean turned": changed(bool, lambda value: not value),
    "other case": changed(str, str.swapcase),
    "other spaces and punctuation": changed(str, lambda value: value.replace(" ", "_").replace(",", " ,") + "."),
    "quotes around": changed(str, lambda value: f"'{value}'"),
    "integer as float": changed(int, float),
    "float as integer": changed(float, int),
    "list reversed": changed(list, lambda value: value[::-1]),
    "list shortened": changed(list, lambda value: value[:-1]),
    "list lengthened": changed(list, lambda value: [*value, *value[-1:]]),
    "list emptied": changed(list, lambda _: []),
    "string within, wrong": changed(str, lambda value: f"not {value}x", top=False),
    "string within, other case": changed(str, str.swapcase, top=False),
    "number within, wrong": changed(NUMBER, lambda value: value * 2 + 1, top=False),
    "integer within as float": changed(int, float, top=False),
    "float within as integer": changed(float, int, top=False),
    "object with a key more": changed(dict, lambda value: value | {"undeclared_key": 1}),
    "object with a key less": changed(dict, lambda value: dict(list(value.items())[1:])),
    "other function": other_function,
    "calls reversed": lambda calls, record, chance: calls[::-1] if len(calls) > 1 else None,
    "arguments exchanged": exchanged_arguments,
    "call dropped": lambda calls, record, chance: calls[:-1] if len(calls) > 1 else None,
    "call repeated": lambda calls, record, chance: [*calls, calls[-1]] if calls else None,
    "all calls dropped": lambda calls, record, chance: [] if calls else None,
    "a call where none fits": call_something,
}


def said(calls: Calls) -> str:
    """Calls as a completion."""
    blocks = [f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>" for call in calls]
    return "\n".join(blocks) or NO_TOOL_FITS


def compare(source: Path, seed: int, examples: int) -> str:
    """A table of agreement by mutation, and the causes of disagreement."""
    judge, task, chance = load_judge(), FunctionCall(), random.Random(seed)
    table: dict[str, Counter[str]] = {name: Counter() for name in MUTATIONS}
    causes: dict[str, list[str]] = defaultdict(list)
    for question in read_source(source):
        if question.fault or question.record.get("gold") is None:
            continue
        record = FunctionCallRecord.model_validate(question.record)
        gold, category = question.record["gold"], question.record["meta"]["set"]
        for name, mutation in MUTATIONS.items():
            calls = mutation(copy.deepcopy(gold), record, chance)
            if calls is None:
                continue
            verdict = task.verify(record, said(calls))
            ours = verdict.checks["match"] == 1
            theirs, reason = not calls, "a call"
            if question.answers is not None:
                theirs, reason = judge(question.row["function"], calls, question.answers, category)
            outcome = ("both right" if ours else "both wrong") if ours == theirs else "ours" if ours else "theirs"
            table[name][outcome] += 1
            if ours != theirs:
                why = f"right to us, wrong to BFCL ({reason})" if ours else "wrong to us, right to BFCL"
                causes[f"{name}: {why}"].append(f"{record.id}: {verdict.detail or said(calls)}")
    rows = [
        [name, *(str(count[key]) for key in ("both right", "both wrong", "ours", "theirs"))]
        for name, count in table.items()
    ]
    total = sum((count for count in table.values()), Counter())
    agreed, judged = total["both right"] + total["both wrong"], sum(total.values())
    lines = [render_table(["change", "both right", "both wrong", "right to us", "right to BFCL"], rows)]
    lines.append(f"agreement: {agreed} of {judged} ({agreed / judged:.2%})")
    for cause, found in sorted(causes.items(), key=lambda item: -len(item[1])):
        lines.append(f"{len(found):5d}  {cause}")
        lines += [f"         {' '.join(example.split())[:300]}" for example in found[:examples]]
    return "\n".join(lines)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="folder with BFCL as it was published")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=2, help="examples of each kind of disagreement")
    arguments = parser.parse_args()
    try:
        print(compare(arguments.input, arguments.seed, arguments.examples))
    except QwenLightningError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
