"""What users say when they ask for a task, in English and Chinese: signals by their wording."""

from __future__ import annotations

import re

_PATTERNS: dict[str, tuple[str, ...]] = {
    "asks_sql": (
        r"\b(?:postgre(?:s|sql)?|my|sqlite|t-?|pl/?)?sql\b(?!\s*injection)",
        r"\b(?:postgres|mariadb|sqlite3?|duckdb|big ?query|clickhouse|redshift)\b",
        r"\bselect statement\b",
    ),
    "asks_cypher": (r"\bcypher\b", r"\bneo4j\b", r"\bgraph (?:database|db|query)\b", r"图数据库|图查询"),
    "asks_query": (
        r"\b(?:writ(?:e|es|ing)|generat(?:e|es|ing)|gives?|produces?|creates?|returns?|outputs?"
        r"|provides?|answers?|reply|respond|convert|"
        r"translate|turn|need|only|into|parse)\b[^.?\n]{0,60}\b(?:\w*sql|cypher|(?:database|graph) quer(?:y|ies))\b",
        r"(?a:\bquery\s?[:：])|\ba query (?:to|that|for|which)\b",
        r"\b(?:\w*sql|cypher)(?: (?:query|statement|code))?\s*[:：]|\btext[- ]?(?:to|2)[- ]?(?:sql|cypher)\b",
        r"(?:写|生成|给|输出|返回|编写|转换|翻译|回答|转[成为]|用)[^。？\n]{0,30}(?:sql|cypher|查询)",
        r"\b(?:what|which)\s+(?:\w+\s)?(?:\w*sql|cypher)\b(?:\s(?:query|statement))?\s+(?:would|will|gives?|returns?"
        r"|finds?|gets?|shows?|do i)",
        r"\b(?:sql|cypher)\s+(?:pls|plz|please|that|which|for|to|returns?|finds?)\b"
        r"|(?m:^\W{0,12}(?:\w{0,12}sql|cypher)(?: query)?\W{0,12}$)",
        r"\b(?:as|in|using|via|the)\s+(?:\w+\s)?(?:\w*sql|cypher)\b(?!\s+(?:table|schema|server|database)s?\b)",
    ),
    "asks_extraction": (
        r"\b(?:extra?c?t(?:s|ing)?|(?:information|entity|data) extraction|pull\b[^.\n]{0,20}\bout|parse out"
        r"|fill(?: in| out)?"
        r"|identify and return|capture)\b",
        r"\bslots?\b.{0,20}\bfill|\bslot[- ]filling\b|(?m:^\W{0,12}slots?\s?[:：])|\bdialogue state\b",
        r"\b(?:named[- ])?entit(?:y|ies) (?:recognition|types?)\b",
        r"\b(?:answer|reply|respond|return|output|give|giv|write|produce|format\w*)\b[^.\n]{0,30}\bjson\b",
        r"\b(?:answer|reply|respond|return|output|give|write|produce)\b[^.\n]{0,60}\b(?:json|object)\b[^.\n]{0,60}"
        r"\b(?:schema|fields?|slots?|keys?)\b",
        r"\bjson\b[^.\n]{0,30}\b(?:schema|fields?|slots?|keys?|template)\b",
        r"\b(?:produce|make|build|emit)\b[^.\n]{0,80}\bjson\b"
        r"|\b(?:parse|convert|turn|map|represent|put)\b[^.\n]{0,80}\b(?:to|into|as|in)\b[^.\n]{0,60}\bjson\b"
        r"|\b(?:as|in|into|to)\s+(?:an?\s+|valid\s+)?json\b",
        r"提取|抽取|解析|填充|填写|识别|找出|槽位",
        r"(?:整理|转换|转|变|归纳|填|返回|输出|给出|以|用|表示)[^。\n]{0,10}json|json[^。\n]{0,6}(?:格式|形式|输出"
        r"|返回|表示)",
        r"(?:按照?|根据|符合|使用)[^。\n]{0,20}(?:json|schema|模式|格式|字段)",
    ),
    "asks_rewrite": (
        r"\b(?:rewrit\w*|re-?phras\w*|reformulat\w*|re-?stat\w*|contextuali[sz]\w*|de-?contextuali[sz]\w*|turn|convert|"
        r"make|resolve|transform)\b[^.\n]{0,160}\b(?:stand[- ]?alone"
        r"|stands?\s+(?:\w+\s+){0,4}alone|self[- ]contained|context[- ]independent|"
        r"decontextuali[sz]ed|without\s+(?:(?:the|any|its|needing|seeing|knowing|reading"
        r"|of)\s+)*(?:context|history|conversation|"
        r"dialogue|earlier|previous|chat)|understood on its own|by itself|on its own|explicit)",
        r"\b(?:stand[- ]?alone|self[- ]contained|context[- ]independent|decontextuali[sz]ed)\s+"
        r"(?:question|query|utterance|message|version|form)\b",
        r"\b(?:rewrite|rephrase|reformulate)\b[^.\n]{0,40}\b(?:last|final|latest|current|follow-?up)\b[^.\n]{0,20}"
        r"\b(?:question|query|utterance|message|turn|user turn|input)\b",
        r"\b(?:rewrite|rephrase|reformulate)\b[^.\n]{0,60}\b(?:question|query|message|utterance)\b[^\n]{0,400}"
        r"\b(?:conversation|chat|dialogue)(?: history)?\b",
        r"\b(?:rewrite|rephrase)\b[^.\n]{0,40}\blast\b[^.\n]{0,40}\bwithout\b",
        r"\bde-?contextuali[sz]e\b[^.\n]{0,40}\b(?:question|query|utterance|message|turn)\b",
        r"\b(?:query|question|utterance|intent)[ -]rewrit(?:e|ing)\b"
        r"|\bresolve\b[^.\n]{0,30}\b(?:coreferences?|pronouns|ellips[ie]s)\b",
        r"(?:改写|重写|补全|还原|重述|转写|改成|补充)[^\n]{0,60}(?:独立|完整|上下文|脱离|自足|省略"
        r"|指代|单独|最后一[句轮个条]|当前|最新)",
        r"(?:最后一[句轮个条]|最后的|当前)[^\n]{0,40}(?:改写|重写|补全|还原|改成)|指代消解"
        r"|(?:生成|给出|写出)[^\n]{0,20}独立[^\n]{0,30}(?:问题|问句|查询)|省略补全|意图改写|(?:问题|查询|query)改写",
    ),
    # The query or the table that is there is itself the matter: why it is slow, how it looks in another dialect.
    "asks_about": (
        r"\bwhy\b[^.?\n]{0,60}\b(?:slow\w*|ignored|fail\w*|errors?|wrong|not (?:used|working?|using))\b",
        r"\b(?:is|are|runs?|too|so|very) slow\b|\b(?:run|make|made|speed)\b[^.?\n]{0,20}\b(?:faster|it up|query up)\b",
        r"\b(?:optimi[sz]e|debug|fix)\b[^.?\n]{0,40}\b(?:quer(?:y|ies)|sql|cypher|indexe?s?|errors?)\b",
        r"\b(?:convert|translate|port|migrate|rewrite|change|turn)\s+(?:this|these|the|my|our|following|it)\b"
        r"(?:\s+(?:above|below|following))?\s+(?:[\w-]+\s+)?(?:tables?|ddl|schemas?|dump|create table|(?:sql|cypher"
        r"|select)"
        r" (?:quer(?:y|ies)|statements?|script)|models?)\b[^.?\n]{0,20}\b(?:to|into)\b",
        r"\b(?:what(?:'s| is) wrong|does(?:n't| not) work|not working|get(?:ting)? (?:an?|this|the) error)\b|\berror:",
        r"\b(?:is|are) (?:this|these|it)\b[^.?\n]{0,30}\b(?:normali[sz]ed|correct|valid|right|ok(?:ay)?|good"
        r"|efficient|normal form)\b",
        r"\bbe indexed\b|\b(?:add|create|drop|need|missing|use|using|my)\s+(?:an? |the )?index(?:es)?\b",
        r"\b(?:add|drop|rename|remove|alter|modify)\b[^.?\n]{0,40}\b(?:columns?|constraints?|(?:to|from) (?:this|the"
        r"|my) table)\b",
        r"为什么[^。？\n]{0,20}(?:慢|报错|没有?生效|不生效|失效|不对|出错)|(?:怎么|如何|帮我)优化|有什么问题"
        r"|报错|哪里(?:错|不对)|范式|(?:加|建|用)[^。？\n]{0,6}索引|(?:增加|添加|新增|加|删除|删"
        r"|修改)[^。？\n]{0,8}(?:字段|列|约束)",
    ),
    # Code that does it is asked for, not what the code would give.
    "asks_code": (
        r"\bhow (?:do|can|could|should|would|to)\b[^.?\n]{0,40}\b(?:extract|parse|get|pull|convert|detect|fill"
        r"|serial|read)",
        r"\b(?:write|implement|create|build|develop|generate|design|give me|show me|need"
        r"|want)\b[^.?\n]{0,60}\b(?:function|script"
        r"|regex(?:es|p)?|regular expression|program|code|parser|method|snippet|one-?liner|command|endpoint|server"
        r"|component|bot|api|app|prompt|tool"
        r"|service|library|tests?)\b",
        r"(?:写|实现|编写|开发|设计)[^。？\n]{0,20}(?:函数|脚本|程序|正则|代码|方法|接口|工具)|(?:如何|怎么"
        r"|怎样)[^。？\n]{0,10}(?:提取|抽取|解析)",
    ),
    "asks_other": (
        r"(?<!not )(?<!n't )(?<!no )\b(?:explain|understand)\b[^.?\n]{0,40}\b(?:quer(?:y|ies)|sql|cypher|indexe?s?"
        r"|errors?)\b",
        r"\b(?:interview|exam|quiz|practice) questions?\b|\b(?:exercises|tutorial|pros and cons)\b",
        r"\bwhat (?:does|do)\b[^.?\n]{0,90}\b(?:do|mean)\s*\?|\bnormal form\b",
        r"\b(?:should i|is it better|better to|best (?:way|practices?))\b[^.?\n]{0,60}\b(?:model|design|use|store"
        r"|structure|represent)",
        r"\b(?:review|critique|improve|normali[sz]e|refactor|redesign|document)\b[^.?\n]{0,30}\btables?\b",
        r"\b(?:explain|describe|review|critique|improve|normali[sz]e|document|refactor|migrate"
        r"|redesign|discuss|evaluate|"
        r"assess|compare|summari[sz]e|visuali[sz]e|comment on|understand)\b[^.?\n]{0,40}\b(?:this"
        r"|these|the|my|our|above|following|"
        r"below|given)\b[^.?\n]{0,30}\b(?:schemas?|ddl|data ?models?|database design"
        r"|table (?:definitions?|designs?|structures?)|"
        r"create table|graph model|json schema|design|quer(?:y|ies)|statements?)\b",
        r"\b(?:what|how)\b[^.?\n]{0,20}\b(?:does|do|is|are|would|could)\b[^.?\n]{0,20}\b(?:this"
        r"|these|the (?:above|following|below))\b"
        r"[^.?\n]{0,20}\b(?:schema|ddl|quer(?:y|ies)|statements?|design)\b[^.?\n]{0,20}\b(?:do"
        r"|mean|about|for|improved?|wrong|normali[sz]ed)\b",
        r"\b(?:write|create|generate|give|draw|produce|make|build|design|implement|draft|convert"
        r"|turn|translate|map|port)\b"
        r"[^.?\n]{0,60}\b(?:python|java(?:script)?|typescript|c#|golang|rust|php|ruby|kotlin|orm|sqlalchemy|django|"
        r"prisma|hibernate|pydantic|dataclass(?:es)?|graphql|rest api|crud|er[- ]?diagram|erd|uml|mermaid|diagram|"
        r"structs?|entity class(?:es)?|dto|"
        r"documentation|readme|data dictionary|insert statements?|(?:test|sample|fake|dummy|seed"
        r"|mock) data|migrations?|"
        r"triggers?|stored procedures?|essay|story|poem|blog|article|tutorial|unit tests?)\b",
        r"\b(?:generate|create|make up|invent|produce|give me|write)\b[^.?\n]{0,30}\b(?:fake|dummy|mock|random"
        r"|synthetic|placeholder)\b",
        r"\btranslate\b[^.\n]{0,60}\b(?:in)?to (?:chinese|english|german|french|spanish|japanese|italian|russian)\b"
        r"|(?:翻译|翻|译)成[中英法德日俄韩][文语]",
        r"(?:解释|说明|讲解|评审|审查|优化|改进|规范化|重构|介绍|分析"
        r"|评价)(?:一下)?[^。？\n]{0,12}(?:表结构|建表|schema|模式|数据库设计|设计|ddl|语句"
        r"|数据模型)",
        r"(?:写|生成|画|创建|设计|转换?[成为])[^。？\n]{0,20}(?:python|java|代码|er图|文档"
        r"|测试数据|示例数据|实体类|接口|索引|触发器|存储过程|文章|故事|诗)",
    ),
    "asks_prose": (
        r"\A\W*(?:please\s+|can you\s+|could you\s+|i want you to\s+)?(?:write|compose|draft|explain|translate|"
        r"summari[sz]e|solve|calculate|compute|brainstorm|invent|imagine|generate|"
        r"create (?:a|an|the) (?:\w+ )?(?:story|poem|plan|recipe|essay|list|character|quiz|article|outline|schedule)|"
        r"design|act as|pretend)\b",
        r"\A\W*(?:请|请你|帮我)?(?:写|创作|编写|翻译|总结|解释|计算)",
    ),
}

#: Signal to patterns, any of which is enough; read without regard to case, over all that a request's user says. Their
#: `\b` and `\w` know ASCII alone, so that Latin words between Chinese ones are words too.
PATTERNS: dict[str, tuple[str, ...]] = {
    name: texts if name == "asks_prose" else tuple(f"(?a:{text})" for text in texts)
    for name, texts in _PATTERNS.items()
}

#: SQL dialect to what names it.
DIALECTS: dict[str, str] = {
    "postgres": r"\bpostgre(?:s|sql)?\b|\bpsql\b",
    "mysql": r"\bmy ?sql\b|\bmariadb\b",
    "sqlite": r"\bsqlite\d?\b",
    "tsql": r"\bt-?sql\b|\b(?:ms|microsoft) ?sql(?: server)?\b|\bsql server\b",
    "oracle": r"\boracle\b(?=.{0,20}\b(?:sql|database|db|quer))|\bpl/?sql\b",
    "bigquery": r"\bbig ?query\b",
    "snowflake": r"\bsnowflake\b(?=.{0,20}\b(?:sql|database|quer|dialect))",
    "duckdb": r"\bduckdb\b",
}


def wordings(text: str, patterns: dict[str, tuple[re.Pattern[str], ...]]) -> dict[str, str]:
    """The signals whose wording a text holds, each with the words that show it."""
    found = {}
    for signal, alternatives in patterns.items():
        for pattern in alternatives:
            if match := pattern.search(text):
                found[signal] = " ".join(match.group().split())[:60]
                break
    return found


def compiled(patterns: dict[str, tuple[str, ...]]) -> dict[str, tuple[re.Pattern[str], ...]]:
    """The patterns, ready to search; they ignore case.

    Raises:
        re.error: One is no regular expression.
    """
    return {name: tuple(re.compile(text, re.IGNORECASE) for text in texts) for name, texts in patterns.items()}


_COMPILED_DIALECTS = {name: re.compile(f"(?a:{pattern})", re.IGNORECASE) for name, pattern in DIALECTS.items()}


def named_dialects(text: str) -> list[str]:
    """The SQL dialects that a text names."""
    return [name for name, pattern in _COMPILED_DIALECTS.items() if pattern.search(text)]
