"""A conversation written into one message, a turn a line: `User: …`, `Assistant: …`, `用户：…`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qwen_lightning.records import Turn

_USER = r"user|human|customer|q|speaker\s*a|用户|客户|顾客|问|我"
_ASSISTANT = r"assistant|ai|bot|agent|system|a|answer|speaker\s*b|助手|客服|机器人|系统|答"
_LAST = (
    r"(?:follow[- ]?up|last|current|final|new)\s+(?:input|question|query|utterance|message"
    r"|user (?:message|question))|(?:当前|最后|后续)(?:的)?(?:问题|一句|一句话|提问)|追问"
)
_TURN = re.compile(
    rf"^[ \t]*(?:[-*#>]+[ \t]*)?\**(?:(?P<user>{_USER})|(?P<assistant>{_ASSISTANT})"
    rf"|(?P<last>{_LAST}))\**\s*[:：]\**[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWER_LABEL = re.compile(
    r"\n[ \t]*(?:#+\s*)?\**(?:(?:stand-?alone|rewritten|rephrased|reformulated)\s+\w+|rewrite"
    r"|answer|output|改写(?:后|结果)?(?:的\w*)?|答案|输出|独立问题)\**\s*[:：]\**\s*\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a message says before a conversation, and the conversation; its last turn is the user's."""

    preface: str
    turns: list[Turn]
    after: str = ""


def read_transcript(text: str) -> Transcript | None:
    """The conversation that a message holds; None where it holds none of two turns or more that a user's ends."""
    body = _ANSWER_LABEL.sub("", text)
    marks = list(_TURN.finditer(body))
    if len(marks) < 2:
        return None
    turns: list[Turn] = []
    after = ""
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        said = body[mark.end() : following.start() if following else len(body)].strip()
        if following is None:  # what comes below a blank line is said of the conversation, not in it
            said, _, after = said.partition("\n\n")
        if said:
            turns.append(Turn(role="assistant" if mark["assistant"] else "user", content=said.strip()))
    if len(turns) < 2 or turns[-1].role != "user":
        return None
    return Transcript(body[: marks[0].start()].strip(), turns, after.strip())
