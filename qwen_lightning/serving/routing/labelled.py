"""What a user's message marks as the text that a task reads: behind a label, within tags, or in quotation marks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from qwen_lightning.serving.routing.boilerplate import unquoted

_NAMES = (
    r"(?:(?:the|my|this|actual|user(?:'s)?|natural[- ]language|current|new|customer|input)\s+){0,3}"
    r"(?:question|request|text|utterance|sentence|message|input|passage|paragraph|query|document|e-?mail|article|review"
    r"|receipt|invoice|resume|contract|report|transcript|posting|listing|q|user|用户问题|用户提问|用户|问题|问|提问"
    r"|文本|句子"
    r"|输入|用户输入|原文|话语|内容|文章|邮件|简历|病历|合同|合同内容|票据|发票|公告|新闻|要求|需求)(?:\s+is)?"
)
_LABEL = re.compile(
    rf"^[ \t]{{0,20}}(?:[#*_>【\[<-]{{1,8}}[ \t]?)?{_NAMES}(?:[】\]>*_]{{0,4}}[ \t]?[:：][*_]{{0,3}}"
    rf"|[】\]>])[ \t]*\n?|^#{{1,6}}[ \t]?{_NAMES}[ \t]*\n",
    re.IGNORECASE | re.MULTILINE,
)
#: What follows the question as a prompt for the answer: `SQLQuery:`, `Output:`, `## Cypher`, an opened fence.
_ANSWER_LABEL = re.compile(
    r"\n\s{0,20}(?:[#*_\s\[<【]{0,8}(?:sql ?query|sql|cypher(?: (?:query|output|statement))?|output|json|answer"
    r"|response|result|query"
    r"|输出|结果|答案|回答)(?: json)?[*_\]>】]{0,8}\s?[:：]?[*_]{0,3}\s{0,20})?(?:```\w{0,12})?\Z",
    re.IGNORECASE,
)
#: The answer of a worked example; labels before it are the examples'.
_ANSWERED = re.compile(
    r"^(?:output|answer|result|json|sql|cypher|输出|答案|结果)[ \t]?[:：][ \t]*\S", re.IGNORECASE | re.MULTILINE
)
_OPENED = re.compile(
    r"(?P<open>[<\[])(?P<tag>question|query|text|document|input|user_input|utterance|sentence|message|passage"
    r"|email)(?P<close>[>\]])",
    re.IGNORECASE,
)
_MOST_TAGS = 8


def labelled(text: str, after: int = 0) -> tuple[str, str] | None:
    """What stands outside of the text that the task reads, and that text; None where nothing marks it.

    Args:
        text: The message, what was found in it cut out or not.
        after: A label counts from here on: what stands before, such as worked examples, has labels of its own.
    """
    tagged = list(islice(_tagged(text), _MOST_TAGS))
    if tagged:
        said = {text[inner[0] : inner[1]].strip() for _, inner, _ in tagged}
        (start, _, end), body = tagged[0], said.pop()
        return None if said or not body else ((text[:start] + text[end:]).strip(), body)
    text = text.rstrip()
    body = text[: stop.start()] if (stop := _ANSWER_LABEL.search(text)) and stop.start() > after else text
    if examples := list(_ANSWERED.finditer(body)):
        after = max(after, examples[-1].end())
    labels = [label for label in _LABEL.finditer(body) if label.start() >= after]
    if len(labels) == 1 and (said_after := body[labels[0].end() :].strip()):
        return body[: labels[0].start()].strip(), unquoted(said_after)
    if labels:
        return None
    return _quoted_end(body, after)


def _quoted_end(text: str, after: int) -> tuple[str, str] | None:
    """The last line, or what stands behind its colon, where it is quoted as a whole."""
    start = max(text.rstrip().rfind("\n") + 1, after)
    if colon := re.search(r"[:：]\s*(?=[\"“「])", text[start:]):
        start += colon.end()
    last = text[start:].strip()
    return (text[:start].strip(), unquoted(last)) if start and unquoted(last) != last else None


def _tagged(text: str) -> Iterator[tuple[int, tuple[int, int], int]]:
    """Pieces between a tag that names a text and its end tag: where each starts, what is inside, where it ends."""
    for opened in islice(_OPENED.finditer(text), _MOST_TAGS):
        closing = f"{opened['open']}/{opened['tag']}{opened['close']}"
        end = text.find(closing, opened.end())
        if end >= 0:
            yield opened.start(), (opened.end(), end), end + len(closing)
