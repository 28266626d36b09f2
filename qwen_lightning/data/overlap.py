"""Overlap: examples that stand both in what is trained on and in what measures forgetting."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from qwen_lightning.errors import DataError
from qwen_lightning.records import Located, RecordBase

# All else that a record holds is part of the question: schema, tools, slots, and the fields of a task of one's own.
_NOT_THE_QUESTION = frozenset({"id", "gold", "accept", "meta", "checks", "ability", "dialect", "database"})
_SHOWN = 10

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_BY_CJK = re.compile(f"(?<=[{_CJK}]) | (?=[{_CJK}])")


def fold(text: str) -> str:
    """Fold what does not change a question: Unicode form (NFKC), case, punctuation and white space.

    >>> fold("How many  Singers, born in 1990?") == fold("how many singers born in 1990")
    True
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    bare = _BY_CJK.sub("", " ".join(text.translate(_punctuation()).split()))
    return bare or text


@lru_cache(maxsize=1)
def _punctuation() -> dict[int, str]:
    """Every punctuation mark of the basic plane, to a space; symbols such as < and + carry meaning and stay."""
    return {code: " " for code in range(0x10000) if unicodedata.category(chr(code))[0] == "P"}


@lru_cache(maxsize=4096)
def _fold_schema(text: str) -> str:
    """A schema, whatever the order of its statements."""
    return "\n".join(sorted(filter(None, (fold(statement) for statement in text.split(";") if statement.strip()))))


def identity(record: RecordBase) -> bytes:
    """What makes two records the same question: task, history, input, and schema, tools or slots; never the answer."""
    parts: list[Any] = [record.task, [[turn.role, fold(turn.content)] for turn in record.history], fold(record.input)]
    for name in sorted(type(record).model_fields.keys() - _NOT_THE_QUESTION - {"task", "history", "input"}):
        value = getattr(record, name)
        if isinstance(value, str):
            parts.append([name, _fold_schema(value)])
        elif isinstance(value, list):
            # The order of the tools says nothing.
            parts.append([name, sorted(_canonical(entry) for entry in value)])
        else:
            parts.append([name, _canonical(value)])
    return hashlib.blake2b(json.dumps(parts, ensure_ascii=False).encode(), digest_size=16).digest()


def _canonical(value: Any) -> str:
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, default=str)


def refuse_overlap(trained: Iterable[Located], held_out: Iterable[Located]) -> None:
    """Refuse a held-out record that is trained on, too.

    Args:
        trained: Records of the buckets A, B and C.
        held_out: Records of the buckets D and E.

    Raises:
        DataError: There are such pairs; the message names the first ten as `file:line` and says how many there are.
    """
    measured: dict[bytes, list[Located]] = {}
    for item in held_out:
        measured.setdefault(identity(item.record), []).append(item)
    pairs = [(item, other) for item in trained if measured for other in measured.get(identity(item.record), ())]
    if not pairs:
        return
    named = "; ".join(f"{a.file}:{a.line} = {b.file}:{b.line}" for a, b in pairs[:_SHOWN])
    more = f"; and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    raise DataError(
        f"training and regression data overlap in {len(pairs)} pair{'s' if len(pairs) > 1 else ''} of records: "
        f"{named}{more}; remove them from one side, or the regression figures mean nothing"
    )
