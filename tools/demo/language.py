"""The demo's language: concepts with several names, databases that name them at random, and questions about them.

A concept (say, what an order costs) has two English names and a Chinese one. A database calls it by one of the
English names, a question by any of the three; to answer, a model must look up the name that the schema uses.
Chinese is written in words, so that a tokenizer of a few hundred tokens has one for each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

Language = Literal["en", "zh"]
ROWS = 24


@dataclass(frozen=True)
class Concept:
    """Something a schema can name. `values` are what a text column of it holds; empty for tables and numbers."""

    names: tuple[str, str]
    chinese: str
    values: tuple[str, ...] = ()

    def word(self, language: Language, random: Random) -> str:
        """A word for the concept as a question has it."""
        return self.chinese if language == "zh" else random.choice(self.names)


def concepts(*lines: str) -> tuple[Concept, ...]:
    """Concepts from lines of two names, the Chinese word, and values."""
    words = (line.split() for line in lines)
    return tuple(Concept((first, second), chinese, tuple(values)) for first, second, chinese, *values in words)


TABLES = concepts(
    "orders purchases 订单",
    "customers clients 客户",
    "products items 商品",
    "employees staff 员工",
    "students pupils 学生",
    "movies films 电影",
    "cars vehicles 车辆",
    "teams clubs 球队",
)
TEXTS = concepts(
    "city town 城市 paris london tokyo berlin rome",
    "region area 地区 north south east west",
    "color hue 颜色 red blue green black",
    "status state 状态 open closed pending",
    "brand maker 品牌 acme zenith orion nova",
    "department division 部门 finance legal design support",
)
NUMBERS = concepts(
    "price cost 价格",
    "quantity amount 数量",
    "age years 年龄",
    "score points 分数",
    "salary wage 工资",
    "budget funds 预算",
)
CONCEPTS = TABLES + TEXTS + NUMBERS
AGGREGATES: dict[str, tuple[tuple[str, str], str]] = {
    "AVG": (("average", "mean"), "平均"),
    "SUM": (("total", "combined"), "总"),
    "MAX": (("highest", "largest"), "最高"),
    "MIN": (("lowest", "smallest"), "最低"),
}
LANGUAGES: tuple[Language, ...] = ("en", "en", "zh")
KINDS = ("count", "count_where", "list_where", "aggregate", "aggregate_where", "group", "group_count", "top", "join")


@dataclass(frozen=True)
class Column:
    """A column: its concept and the name that the schema gives it."""

    concept: Concept
    name: str

    @property
    def is_text(self) -> bool:
        return bool(self.concept.values)


@dataclass(frozen=True)
class Table:
    """A table of four columns beside its `id`."""

    concept: Concept
    name: str
    columns: tuple[Column, ...]

    def texts(self, *without: Column) -> list[Column]:
        return [column for column in self.columns if column.is_text and column not in without]

    def numbers(self, *without: Column) -> list[Column]:
        return [column for column in self.columns if not column.is_text and column not in without]


@dataclass(frozen=True)
class Database:
    """Two tables; the second refers to the first."""

    name: str
    tables: tuple[Table, Table]

    @property
    def foreign_key(self) -> str:
        return f"{self.tables[0].name}_id"

    @property
    def ddl(self) -> str:
        """One `CREATE TABLE` a line."""
        lines = []
        for table in self.tables:
            columns = ["id INTEGER"] + ([f"{self.foreign_key} INTEGER"] if table is self.tables[1] else [])
            columns += [f"{column.name} {'TEXT' if column.is_text else 'INTEGER'}" for column in table.columns]
            lines.append(f"CREATE TABLE {table.name} ({', '.join(columns)});")
        return "\n".join(lines)

    def inserts(self, random: Random) -> str:
        """Rows for both tables.

        Every value of a text column occurs, and numbers lie on both sides of every threshold that a question names,
        so no question has an empty answer; numbers differ within a column, so no ranking has a tie.
        """
        lines = []
        for table in self.tables:
            cells: list[list[str]] = [[str(row + 1) for row in range(ROWS)]]
            if table is self.tables[1]:
                cells.append([str(random.randint(1, ROWS)) for _ in range(ROWS)])
            for column in table.columns:
                if column.is_text:
                    values = list(column.concept.values)
                    drawn = [f"'{value}'" for value in values + random.choices(values, k=ROWS - len(values))]
                else:
                    numbers = random.sample(range(5, 20), 2) + random.sample(range(81, 100), 2)
                    drawn = [str(number) for number in numbers + random.sample(range(20, 81), ROWS - 4)]
                random.shuffle(drawn)
                cells.append(drawn)
            rows = ", ".join(f"({', '.join(row)})" for row in zip(*cells, strict=True))
            lines.append(f"INSERT INTO {table.name} VALUES {rows};")
        return "\n".join(lines)


@dataclass(frozen=True)
class Question:
    """A question about a database and the query that answers it."""

    kind: str
    language: Language
    text: str
    sql: str


def make_database(random: Random, name: str = "database") -> Database:
    """A database of two tables with two text and two number columns each, every name drawn at random."""
    concepts, texts, numbers = random.sample(TABLES, 2), random.sample(TEXTS, 4), random.sample(NUMBERS, 4)
    tables = []
    for index, concept in enumerate(concepts):
        half = slice(2 * index, 2 * index + 2)
        columns = [Column(member, random.choice(member.names)) for member in texts[half] + numbers[half]]
        random.shuffle(columns)
        tables.append(Table(concept, random.choice(concept.names), tuple(columns)))
    return Database(name, (tables[0], tables[1]))


def ask(database: Database, random: Random, kind: str | None = None, language: Language | None = None) -> Question:
    """A question of one of `KINDS`, in English two times out of three unless `language` says which."""
    kind = kind or random.choice(KINDS)
    spoken = random.choice(LANGUAGES) if language is None else language
    english, chinese, sql = _phrase(database, kind, spoken, random)
    return Question(kind, spoken, random.choice(english) if spoken == "en" else chinese, sql)


def careless(database: Database, question: Question) -> str:
    """The query as one writes it without reading the schema: in the question's own words, else in the usual name."""
    words = set(question.text.split())
    sql = question.sql
    for item in _named(database):
        guess = next((name for name in item.concept.names if name in words), item.concept.names[0])
        sql = re.sub(rf"\b{item.name}\b", guess, sql)
    return sql


def _named(database: Database) -> Iterator[Table | Column]:
    for table in database.tables:
        yield table
        yield from table.columns


def condition(table: Table, language: Language, random: Random) -> tuple[Column, str, str]:
    """A column, the words that filter by it, and the condition as SQL and Cypher have it, beginning with its name."""
    column = random.choice(table.columns)
    word = column.concept.word(language, random)
    if column.is_text:
        value = random.choice(column.concept.values)
        english = random.choice([f"with {word} {value}", f"whose {word} is {value}"])
        return column, english if language == "en" else f"{word} 为 {value} 的", f"{column.name} = '{value}'"
    bound, above = 5 * random.randint(4, 16), random.random() < 0.5
    if language == "en":
        more = ("above", "more") if above else ("below", "less")
        words = random.choice([f"with {word} {more[0]} {bound}", f"whose {word} is {more[1]} than {bound}"])
    else:
        words = f"{word} {'大于' if above else '小于'} {bound} 的"
    return column, words, f"{column.name} {'>' if above else '<'} {bound}"


def _phrase(database: Database, kind: str, language: Language, random: Random) -> tuple[list[str], str, str]:
    """English phrasings, the Chinese one, and the query. Only the ones in `language` read well."""
    table = random.choice(database.tables)
    name, things = table.name, table.concept.word(language, random)
    function = random.choice(tuple(AGGREGATES))
    best = random.choice(AGGREGATES[function][0]) if language == "en" else AGGREGATES[function][1]
    filtered, which, where = condition(table, language, random)

    def word(item: Column | Table) -> str:
        return item.concept.word(language, random)

    shown = random.choice([column for column in table.columns if column is not filtered])
    number = random.choice(table.numbers(filtered) if kind == "aggregate_where" else table.numbers())
    by = random.choice(table.texts())
    if kind == "count":
        english = [f"how many {things} are there ?", f"count the {things} ."]
        return english, f"有 多少 {things} ？", f"SELECT COUNT(*) FROM {name}"
    if kind == "count_where":
        english = [f"how many {things} {which} are there ?", f"count the {things} {which} ."]
        return english, f"{which} {things} 有 多少 ？", f"SELECT COUNT(*) FROM {name} WHERE {where}"
    if kind == "list_where":
        what = word(shown)
        english = [f"show the {what} of {things} {which} .", f"list {what} for {things} {which} ."]
        return english, f"列出 {which} {things} 的 {what} 。", f"SELECT {shown.name} FROM {name} WHERE {where}"
    what, key = word(number), word(by)
    if kind == "aggregate":
        english = [f"what is the {best} {what} of {things} ?"]
        return english, f"{things} 的 {best} {what} 是 多少 ？", f"SELECT {function}({number.name}) FROM {name}"
    if kind == "aggregate_where":
        english = [f"what is the {best} {what} of {things} {which} ?"]
        sql = f"SELECT {function}({number.name}) FROM {name} WHERE {where}"
        return english, f"{which} {things} 的 {best} {what} 是 多少 ？", sql
    if kind == "group":
        english = [f"{best} {what} of {things} by {key} .", f"for each {key} , the {best} {what} of {things} ."]
        sql = f"SELECT {by.name}, {function}({number.name}) FROM {name} GROUP BY {by.name}"
        return english, f"按 {key} 统计 {things} 的 {best} {what} 。", sql
    if kind == "group_count":
        english = [f"how many {things} for each {key} ?", f"number of {things} by {key} ."]
        return (
            english,
            f"按 {key} 统计 {things} 的 个数 。",
            f"SELECT {by.name}, COUNT(*) FROM {name} GROUP BY {by.name}",
        )
    if kind == "top":
        shown = random.choice([column for column in table.columns if column is not number])
        size, high = random.randint(2, 6), random.random() < 0.5
        english = [f"{word(shown)} of the {size} {things} with the {'highest' if high else 'lowest'} {what} ."]
        chinese = f"{what} {'最高' if high else '最低'} 的 {size} 个 {things} 的 {word(shown)} 。"
        return (
            english,
            chinese,
            f"SELECT {shown.name} FROM {name} ORDER BY {number.name}{' DESC' if high else ''} LIMIT {size}",
        )
    if kind == "join":
        parent, child = database.tables
        by, number = random.choice(parent.texts()), random.choice(child.numbers())
        what, key, owner, owned = word(number), word(by), word(parent), word(child)
        sql = (
            f"SELECT a.{by.name}, {function}(b.{number.name}) FROM {parent.name} AS a "
            f"JOIN {child.name} AS b ON b.{database.foreign_key} = a.id GROUP BY a.{by.name}"
        )
        return (
            [f"{best} {what} of {owned} by {key} of their {owner} ."],
            f"按 {owner} 的 {key} 统计 {owned} 的 {best} {what} 。",
            sql,
        )
    raise ValueError(f"unknown kind of question {kind!r}")
