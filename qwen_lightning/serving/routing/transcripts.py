"""A conversation written into one message: `User: …`, `<Follow Up Message>`, `用户：…`, a list of chat messages."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from qwen_lightning.records import Turn
from qwen_lightning.serving.routing.found import is_text
from qwen_lightning.serving.routing.wording import PATTERNS, compiled, wordings

_USER = r"user|human|customer|q|question|speaker\s*1|用户|客户|顾客|人类|问题?|我"
_ASSISTANT = r"assistant|ai|bot|agent|system|chatbot|answer|speaker\s*2|助手|客服|机器人|系统|人工智能|答"
#: Two speakers without a part: the one who speaks last is the user. `A:` alone answers `Q:`.
_LETTER = r"(?:speaker\s*)?[ab]|甲|乙"
_LAST = (
    r"follow[- ]?up(?:\s+(?:input|question|query|message|utterance))?"
    r"|(?:last|current|final|new|latest|user)\s+(?:input|question|query|utterance|message|turn|user (?:message"
    r"|question))"
    r"|(?:用户)?(?:当前|最后|后续|最新|新)(?:的)?(?:用户)?(?:问题|一句|一句话|一轮|提问|消息|追问)"
    r"|用户(?:最新)?(?:问题|提问"
    r"|追问)|追问"
)
_OPEN, _CLOSE = r"(?:[-*#>]{1,6}[ \t]*)?\*{0,2}[<\[【(]?", r"(?:\*{0,2}\s?[:：]\*{0,2}|[>\]】)][ \t]?[:：]?)"
_TURN = re.compile(
    rf"^[ \t]*{_OPEN}(?:(?P<letter>{_LETTER})|(?P<user>{_USER})|(?P<assistant>{_ASSISTANT})|(?P<last>{_LAST}))"
    rf"{_CLOSE}[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWER_LABEL = re.compile(
    r"\n[ \t]*(?:#{1,6}\s?)?\*{0,2}[<\[【]?(?:(?:stand-?alone|rewritten|rephrased|reformulated|search)\s+\w+|rewrite"
    rf"|answer|output|改写(?:后|结果)?(?:的\w*)?|答案|输出|独立(?:的)?问题){_CLOSE}\s*\Z",
    re.IGNORECASE,
)
#: LangChain's printed messages.
_PRINTED = re.compile(
    r"(?:\[|,[ \t]?)?(?P<who>Human"
    r"|AI)Message\(content=(?P<quote>['\"])(?P<said>[^\n]{0,2000}?)(?P=quote)[^()\n]{0,400}\)\]?"
)
_ITEMS = re.compile(
    r"(?:dialogue|conversation|history|chat|对话|历史"
    r"|聊天记录)[^\n:：]{0,12}[:：][ \t]*\n(?P<items>(?:[ \t]*[-*•][^\n]+(?:\n|\Z)){2,})",
    re.IGNORECASE,
)
_REWRITE = compiled({"asks_rewrite": PATTERNS["asks_rewrite"]})


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a message says before a conversation, and the conversation; its last turn is the user's."""

    preface: str
    turns: list[Turn]
    after: str = ""


def read_transcript(text: str) -> Transcript | None:
    """The conversation that a message holds; None where it holds none of two turns or more that a user's ends."""
    return _listed_messages(text) or _labelled(text) or _items(text)


def _labelled(text: str) -> Transcript | None:
    body = _ANSWER_LABEL.sub("", _PRINTED.sub(r"\n\g<who>: \g<said>\n", text))
    marks = list(_TURN.finditer(body))
    if len(marks) < 2:
        return None
    users = _users(marks)
    turns: list[Turn] = []
    after = ""
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        said = body[mark.end() : following.start() if following else len(body)].strip()
        by_user = mark["user"] or mark["last"] or (mark["letter"] or "").lower() in users
        if following is None:  # what comes below a blank line is said of the conversation, not in it
            said, _, after = said.partition("\n\n")
            said, instruction = _without_instruction(said)
            after = after or instruction
        said = re.sub(r"\s*</\w[\w ]{0,40}>\s*\Z", "", said)
        if said:
            turns.append(Turn(role="user" if by_user else "assistant", content=said.strip()))
    if turns and turns[-1].role != "user":
        # "make this self-contained: how much is it" below the last answer
        after, question = _instruction_and_question(after)
        turns += [Turn(role="user", content=question)] if question else []
    if len(turns) < 2 or turns[-1].role != "user":
        return None
    return Transcript(body[: marks[0].start()].strip(), turns, after.strip())


def _users(marks: list[re.Match[str]]) -> tuple[str, ...]:
    """The letters that stand for the user."""
    letters = [mark["letter"].lower() for mark in marks if mark["letter"]]
    return (letters[-1],) if len(set(letters)) > 1 else ()


def _asks_rewrite(text: str) -> bool:
    return bool(wordings(text, _REWRITE))


def _without_instruction(said: str) -> tuple[str, str]:
    """A turn, and the lines below its first that say what to do with the conversation."""
    lines = said.split("\n")
    for at in range(1, len(lines)):
        if _asks_rewrite(lines[at]):
            return "\n".join(lines[:at]), "\n".join(lines[at:])
    return said, ""


def _instruction_and_question(text: str) -> tuple[str, str]:
    colon = max(text.rfind(":"), text.rfind("："))
    if colon < 0 or not _asks_rewrite(text[:colon]):
        return text, ""
    return text[: colon + 1].strip(), text[colon + 1 :].strip()


def _listed_messages(text: str) -> Transcript | None:
    """A JSON list of `{"role": …, "content": …}`."""
    start = re.search(r"\[\s*\{\s*\"(?:role|content)\"", text)
    if start is None:
        return None
    try:
        messages, end = json.JSONDecoder().raw_decode(text, start.start())
    except (ValueError, RecursionError):
        return None
    turns = [_turn(message) for message in messages] if is_text(messages) else []
    if len(turns) < 2 or any(turn is None for turn in turns) or turns[-1].role != "user":  # type: ignore[union-attr]
        return None
    return Transcript(text[: start.start()].strip(), [turn for turn in turns if turn], text[end:].strip())


def _turn(message: Any) -> Turn | None:
    if not isinstance(message, dict) or not isinstance(message.get("content"), str):
        return None
    role = message.get("role")
    return Turn(role=role, content=message["content"]) if role in ("user", "assistant") else None


def _items(text: str) -> Transcript | None:
    """Turns as a bulleted list below a heading; the last is the user's."""
    match = _ITEMS.search(text)
    if match is None:
        return None
    said = [line.strip().lstrip("-*•").strip() for line in match["items"].strip().split("\n")]
    turns = [
        Turn(role="user" if (len(said) - at) % 2 else "assistant", content=content) for at, content in enumerate(said)
    ]
    return Transcript(text[: match.start("items")].strip(), turns, text[match.end() :].strip())
