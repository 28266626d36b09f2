"""What a message says of how to answer, and nothing of what is asked: words that a task's own rule replaces.

A segment (a sentence, a line, or what stands before a colon) is boilerplate where every word of it is in a
closed list
and one of them names what the task is about. Words that ask for something (who, how many, show, list) are in no
list,
so that a question is never taken for boilerplate.
"""

from __future__ import annotations

import re

_COMMON = """
hey hi hello pls thanks input produce parse asks looks look
a an the this that these those it its and or as of to for in on into with from by at be is are was am do does
not no don't never
without any other anything else only just exactly one single valid correct proper you your i my me we our us
have has had there
here below above following given provided attached next before after please kindly must should shall can could
will would need
needs want wants like based using use used according consider considering about write writes writing generate
generates
generating give gives produce produces create creates return returns returning output outputs print provide
respond responds
reply replies answer answers answering convert converts translate translates turn transform task instruction
instructions
rule rules note context assistant helpful expert professional specialist analyst engineer developer agent ai
model system good skilled
experienced user user's users question questions request requests natural language english chinese text plain
raw code markdown
fence fences fenced block blocks backticks explanation explanations explain explaining comment comments
commentary prose
preamble introduction formatting format formatted result response out all so which who job role data science
scientist
very world class senior let's now when then step be sure make ensure them strictly directly work works working
help helps
between inside wrapped wrap nothing more alone itself also both
"""
_QUERIES = """
sql cypher postgres postgresql psql mysql sqlite mariadb neo4j text2sql text2cypher text-to-sql text-to-cypher
nl2sql query queries statement statements
schema schemas ddl database databases db graph table tables structure structures definition definitions relation
relations relational
dialect syntax executable runs run executed execute property properties node nodes relationship relationships
labels types type
knowledge v5 5 14 15 16 17 version select read-only compatible admin administrator dba create
"""
_SLOTS = """
extract extracts extracting extraction fill fills filling fill-in identify parse json object objects dictionary
schema schemas
slot slots slot-filling field fields key keys value values attribute attributes entity entities information
parameters properties
sentence sentences utterance utterances message messages input passage paragraph query document conversation
dialogue mentioned mention mentions
match matches matching satisfies satisfy satisfying conform conforms conforming fits fit null omit leave left
missing
absent present unknown if where template structure structured list listed said says say found find stated state
capture last latest does
"""
_REWRITES = """
rewrite rewrites rewriting rewritten rephrase rephrases rephrased reformulate reformulates reformulated restate
restated resolve
resolves resolving resolved contextualize contextualise message messages turn turns utterance utterances query
follow up follow-up followup
last latest final current previous earlier conversation dialogue dialog chat history context stand stands
standing standalone stand-alone
alone self-contained context-independent independent own its understood understand clear complete full fully
explicit explicitly pronouns pronoun
references reference coreferences coreference ellipsis ellipses meaning keep keeping same original include
including included
necessary relevant missing rewriter input intent being version sentence seeing
"""
_CHINESE = """
请 你 您 我 的 是 一个 一名 一位 一条 一句 专家 助手 工程师 分析师 数据 数据库 图数据库 图谱 图 知识图谱 表
表结构 建表语句 结构 模式 架构 定义
根据 基于 按照 按 依据 利用 使用 用 以下 下面 下列 下方 上面 上述 以上 如下 给定 给出 这是 这个 这些 该 此 现有
已有 有 写 写出 编写 生成
输出 返回 查询 查询语句 语句 来 以 去 回答 解答 问题 用户 提问 只 仅 只需 只要 不要 不用 无需 不需要 任何 其他
其它 多余 内容 解释 说明 文字
代码 代码块 标记 把 将 转换 转化 翻译 转 成 为 成为 自然语言 并 且 和 与 或 及 即可 就行 帮 帮我 帮忙 能够 可以
需要 要求 要 任务 指令 中 里 从
对应 相应 可执行 正确 有效 一段 下 面 它 能 在 对 给 做 出 了 最后 也 应 必须 一 个 条 符合 满足
"""
_CHINESE_SLOTS = """
提取 抽取 提取出 抽取出 填充 填写 识别 识别出 槽位 槽 字段 信息 实体 属性 参数 键 值 对象 句子 句 话 这句话 文本
话语 语句 消息 对话 输入 原文 提到 出现
没有 没 未 提及 省略 留空 则 如果 若 缺失 不 填 那么 最后一句 最后一条 当前 所有 各个 每个 键值 两个 三个 四个
五个 几个 这几个 这些 等 JSON
"""
_CHINESE_REWRITES = """
改写 重写 补全 还原 重述 改 独立 完整 独立完整 上下文 历史 对话 对话历史 聊天记录 脱离 无关 自足 单独 理解 明确
省略 指代 指代消解 消解 代词 最后 最后一句 最后一句话
最后一个 最后一条 最后一轮 当前 当前问题 句子 话 句 轮 消息 话语 保持 后 之后 原意 不变 意思 使 使其 让 令 能
看懂 能够 语境 结合 信息 无需 自包含 用户 后续 追问 不 依赖 改成 被 也 能懂 就
"""
#: Task to: its own words, the words of which a segment must have one, and the same for Chinese.
_WORDS: dict[str, tuple[str, str, str]] = {
    "text2sql": (_QUERIES, _CHINESE, "sql 语句 查询 数据库 表 表结构 结构 模式 建表语句 问题"),
    "text2cypher": (_QUERIES, _CHINESE, "cypher 语句 查询 图数据库 图谱 图 结构 模式 知识图谱 问题"),
    "slot_json": (
        _SLOTS,
        _CHINESE + _CHINESE_SLOTS,
        "json 提取 抽取 填充 填写 槽位 字段 对象 文本 句子 输入 对话 话语 消息 信息 模式",
    ),
    "intent_rewrite": (
        _REWRITES,
        _CHINESE + _CHINESE_REWRITES,
        "改写 重写 补全 还原 改成 对话 对话历史 历史 上下文 最后一句话 最后一句 问题 追问 独立 完整 当前问题 聊天记录",
    ),
}
_ANCHORS = """
response output result input produce parse
sql cypher postgres postgresql query queries statement schema schemas ddl database tables table graph question
questions request
extract extracts extraction fill slot slots field fields json object text input sentence utterance message
passage conversation dialogue
history chat rewrite rewrites rewriting rephrase reformulate restate standalone stand-alone follow-up follow
explanation markdown instruction
instructions task context nodes relationships assistant expert answer resolve turn turns self-contained
"""
_WORD = re.compile(r"[\w'’+-]+")
_HAN_RUN = re.compile(r"[\u4e00-\u9fff]+")
_SENTENCES = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[。！？：])|(?<=:)\s+|\n+")
_MARKS = "#*`_>-=•~|\"'“”<>/()[]（）【】 \t"
#: A label before what the task reads; what follows it is never boilerplate.
_INPUT_LABEL = re.compile(
    r"^[#*_>\-\s【\[]*(?:(?:user(?:'s)?|natural[- ]language|current|new|follow[- ]?up|last|my"
    r"|the|input|customer)\s+)*"
    r"(?:question|request|text|utterance|sentence|message|input|passage|paragraph|query"
    r"|user input|用户问题|用户提问|问题|提问|文本|句子|输入|用户输入|原文|话语|"
    r"对话|用户话语|待处理文本|当前问题|追问|最后一句)(?:\s+(?:is|to rewrite|to convert"
    r"|to translate))?[】\]]?[*_]*\s*[:：][*_]*[ \t]*\n?",
    re.IGNORECASE | re.MULTILINE,
)


def _compile(task: str) -> tuple[frozenset[str], frozenset[str], re.Pattern[str]]:
    own, chinese, anchors = _WORDS[task]
    latin = frozenset((_COMMON + own).split())
    return latin, frozenset((*chinese.split(), *anchors.split())), re.compile("|".join(anchors.split()))


def _made_of(run: str, phrases: frozenset[str]) -> bool:
    """Whether a run of Chinese characters is a row of these phrases."""
    longest = max(map(len, phrases))
    reached = [True] + [False] * len(run)
    for end in range(1, len(run) + 1):
        reached[end] = any(reached[start] and run[start:end] in phrases for start in range(max(0, end - longest), end))
    return reached[-1]


_LISTS = {task: _compile(task) for task in _WORDS}
_ANCHOR_WORDS = frozenset(_ANCHORS.split())
#: What a database's shell prints beside its answers: prompts, rows, timings.
_SHELL = re.compile(
    r"\s*(?:(?:mysql|sqlite|postgres|psql|neo4j)\S{0,12}>[^\n]*|\*{5,}[^\n]*|\d+ rows? in set[^\n]*|GO"
    r"|Create Table:|Table: \w+)\s*",
    re.IGNORECASE,
)
_SHELLED = ("text2sql", "text2cypher")
_ROLE = re.compile(r"\s*(?:you are\b|act as\b|你是)", re.IGNORECASE)


def is_boilerplate(segment: str, task: str) -> bool:
    """Whether a segment says nothing but how to answer a task's requests."""
    lists = _LISTS.get(task)
    if lists is None:
        return False
    latin, han, anchored = lists
    bare = segment.strip(_MARKS)
    words = [word.strip("'’-").lower().replace("’", "'") for word in _WORD.findall(re.sub(_HAN_RUN, " ", bare))]
    runs = _HAN_RUN.findall(bare)
    if not words and not runs:
        return True  # rules of a layout: ---, ###, ```
    if not all(word in latin or not word for word in words) or not all(_made_of(run, han) for run in runs):
        return False
    return (
        any(word in _ANCHOR_WORDS for word in words)
        or any(anchored.search(run) for run in runs)
        or bool(_ROLE.match(bare))
    )


def trim_instruction(text: str, task: str) -> str:
    """A system message without its sentences that are boilerplate before and after the others; may be empty.

    A title of a word or two is kept, though its words be in the list.
    """
    sentences = [sentence for sentence in _SENTENCES.split(text) if sentence.strip()]
    kept = [not (is_boilerplate(sentence, task) and _says_enough(sentence)) for sentence in sentences]
    if not any(kept):
        return ""
    if all((kept[0], kept[-1])):
        return text
    first, last = kept.index(True), len(kept) - 1 - kept[::-1].index(True)
    start = _end_of(text, sentences[:first])
    end = _end_of(text, sentences[: last + 1])
    return text[start:end].strip()


def _says_enough(sentence: str) -> bool:
    """Whether it is a sentence, a label or a heading, and no mere title."""
    words = len(_WORD.findall(sentence)) + sum(len(run) for run in _HAN_RUN.findall(sentence))
    return words > 2 or sentence.strip()[-1:] in ":：" or sentence.strip()[:1] in "#*<" or not words


def _end_of(text: str, sentences: list[str]) -> int:
    """Where the last of the sentences ends in the text."""
    at = 0
    for sentence in sentences:
        at = text.index(sentence, at) + len(sentence)
    return at


def trim(text: str, task: str) -> str:
    """The text without boilerplate before and after what it says; the whole text where nothing else would be left.

    What stands between is kept to the letter. Behind a label such as `Question:` only lines below are trimmed.
    """
    if task in _SHELLED:
        text = _without_shell(text)
    label = next(iter(_INPUT_LABEL.finditer(text)), None)
    if label is not None and is_only_boilerplate(text[: label.start()], task):
        body = text[label.end() :].strip()
        kept = _trim_end(body, task, lines=True)
        return unquoted(kept) or text.strip()
    kept = _trim_end(_trim_start(text.strip(), task), task, lines=False)
    return unquoted(kept) if kept != text.strip() else kept


def _without_shell(text: str) -> str:
    """The text without the lines at its beginning that a database's shell printed."""
    lines = text.split("\n")
    first = next((at for at, line in enumerate(lines) if line.strip() and not _SHELL.fullmatch(line)), 0)
    return "\n".join(lines[first:])


def is_only_boilerplate(text: str, task: str) -> bool:
    """Whether every segment of a text is boilerplate."""
    return all(is_boilerplate(segment, task) for segment in _ENDS.split(text) if segment.strip())


def _trim_start(text: str, task: str) -> str:
    at = 0
    for end in _ENDS.finditer(text):
        if not is_boilerplate(text[at : end.start()], task):
            return text[at:].lstrip()
        at = end.end()
    return "" if is_boilerplate(text[at:], task) else text[at:].lstrip()


def _trim_end(text: str, task: str, lines: bool) -> str:
    found = re.finditer(r"\n+", text) if lines else _SENTENCES.finditer(text)
    stop = len(text)
    for end in reversed([end for end in found if end.end() < len(text)]):
        if not is_boilerplate(text[end.end() : stop], task):
            return text[:stop].rstrip()
        stop = end.start()
    return text[:stop].rstrip() if lines or not is_boilerplate(text[:stop], task) else ""


_QUOTES = (('"""', '"""'), ("'''", "'''"), ("```", "```"), ("“", "”"), ("「", "」"), ('"', '"'))


def unquoted(text: str) -> str:
    """A text that is quoted as a whole, without its quotation marks."""
    for opening, closing in _QUOTES:
        inner = text[len(opening) : -len(closing)]
        quoted = len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing)
        if quoted and opening not in inner and closing not in inner:
            return inner.strip()
    wrapped = re.fullmatch(r"<(\w+)>\s*([\s\S]*?)\s*</\1>", text)
    return wrapped[2] if wrapped else text
