"""Which adapter answers a request, and why. Imports no torch."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from qwen_lightning.errors import ConfigError, RequestError
from qwen_lightning.serving.requests import ChatRequest
from qwen_lightning.serving.routing.signals import Signals, read_signals, require_known_tag
from qwen_lightning.serving.routing.wording import PATTERNS, compiled

#: The bare backbone, which is always there.
BASE = "base"
FAMILY = ("base-sft", "fc", "slot", "sql", "cypher", "persona")
#: Task to the adapter that answers it.
ADAPTERS: Mapping[str, str] = {
    "function_call": "fc",
    "slot_json": "slot",
    "text2sql": "sql",
    "text2cypher": "cypher",
    "intent_rewrite": "base-sft",
    "persona": "persona",
    "general": "base-sft",
}
CHAT = ("general", "persona")
SIGNALS = frozenset(
    (
        *("tools", "tool_results", "history", "ddl", "graph_schema", "graph_pattern", "table_listing"),
        "table_output",
        *("json_schema", "fields", "response_schema", *PATTERNS),
    )
)


@dataclass(frozen=True)
class Rule:
    """A request that bears all of `when` and none of `unless` is the task's.

    Args:
        task: Name of the task.
        when: Signals, by name.
        unless: Signals that keep the rule from applying.
    """

    task: str
    when: list[str]
    unless: list[str] | None = None

    def holds(self, signals: Signals) -> bool:
        """Whether the rule applies."""
        return all(name in signals for name in self.when) and not any(name in signals for name in self.unless or ())


RULES: tuple[Rule, ...] = (
    Rule("function_call", ["tools"], ["tool_results"]),
    Rule("intent_rewrite", ["asks_rewrite", "history"], ["response_schema"]),
    Rule("text2cypher", ["graph_schema", "asks_cypher", "asks_query"], ["asks_about"]),
    Rule("text2sql", ["ddl", "asks_sql", "asks_query"], ["asks_about"]),
    Rule("text2cypher", ["graph_schema"], ["asks_other", "asks_about"]),
    Rule("text2sql", ["ddl"], ["asks_other", "asks_about"]),
    Rule("text2cypher", ["graph_pattern", "asks_cypher", "asks_query"], ["asks_other", "asks_about"]),
    Rule("text2sql", ["table_output"], ["asks_other", "asks_about", "asks_code"]),
    Rule("text2sql", ["table_listing", "asks_sql", "asks_query"], ["asks_other", "asks_about"]),
    Rule("slot_json", ["response_schema", "asks_extraction"]),
    Rule("slot_json", ["response_schema"], ["asks_prose"]),
    Rule("slot_json", ["json_schema", "asks_extraction"], ["asks_other", "asks_code"]),
    Rule("slot_json", ["fields", "asks_extraction"], ["asks_other", "asks_code"]),
)


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a request goes.

    Args:
        adapter: The adapter that answers; `base` is the bare backbone.
        task: The task whose prompt it gets.
        reason: Why, in one line.
    """

    adapter: str
    task: str
    reason: str


class Classifier(ABC):
    """A second opinion where no rule applies, of one's own by class_path under `router.init_args.classifier`."""

    @abstractmethod
    def classify(self, request: ChatRequest, signals: Signals) -> tuple[str, str] | None:
        """The task and why; None where the request is chat."""


class Router(ABC):
    """Finds the adapter of a request. One of one's own takes the place of `RuleRouter` by class_path under `router`."""

    @abstractmethod
    def route(self, request: ChatRequest, signals: Signals, tasks: Collection[str]) -> Decision:
        """Decide.

        Args:
            request: The request.
            signals: What it bears.
            tasks: The tasks that there are.

        Raises:
            RequestError: It names a model or a task that there is not.
        """

    def signals(self, request: ChatRequest) -> Signals:
        """What the request bears, as this router reads it."""
        return read_signals(request)


class RuleRouter(Router):
    """An adapter's name in `model` and a task tag win, then the first rule that holds, then the classifier, else chat.

    Args:
        available: Adapters that are there; the six of the family unless given.
        rules: Rules before the built-in ones; see `builtin_rules`.
        builtin_rules: Whether the built-in rules follow.
        adapters: Task to adapter, over the built-in ones.
        fallback: Adapter to the ones that stand in for it, in order; `"*"` stands for every other. The bare
            backbone, `base`, comes last.
        models: Names in `model` that leave the choice to the router, as shell patterns without regard to case.
        wording: Further signals, name to regular expressions; a built-in name gets them in addition.
        classifier: Asked where no rule holds.

    Raises:
        ConfigError: A rule names a signal that there is not, or a wording is no regular expression.
    """

    def __init__(
        self,
        available: list[str] | None = None,
        rules: list[Rule] | None = None,
        builtin_rules: bool = True,
        adapters: dict[str, str] | None = None,
        fallback: dict[str, list[str]] | None = None,
        models: list[str] | None = None,
        wording: dict[str, list[str]] | None = None,
        classifier: Classifier | None = None,
    ) -> None:
        self.available = tuple(FAMILY if available is None else available)
        self.rules = (*(rules or ()), *(RULES if builtin_rules else ()))
        self.adapters = {**ADAPTERS, **(adapters or {})}
        self.fallback = {"*": ["base-sft"], **(fallback or {})}
        self.models = models if models is not None else ["auto", "default", "*qwen*"]
        self.classifier = classifier
        more = wording or {}
        for rule in self.rules:
            for name in (*rule.when, *(rule.unless or ())):
                if name not in SIGNALS and name not in more:
                    raise ConfigError(
                        f"router: rule for {rule.task}: unknown signal {name!r}; there are {_names(SIGNALS)}"
                    )
            if not rule.when:
                raise ConfigError(f"router: rule for {rule.task}: when is empty; name a signal")
        try:
            self._wording = compiled({name: (*PATTERNS.get(name, ()), *texts) for name, texts in more.items()})
        except re.error as error:
            raise ConfigError(f"router: wording: {error.pattern!r} is no regular expression ({error.msg})") from None

    def signals(self, request: ChatRequest) -> Signals:
        return read_signals(request, self._wording)

    def route(self, request: ChatRequest, signals: Signals, tasks: Collection[str]) -> Decision:
        named = self._named_adapter(request.model)
        tagged = require_known_tag(signals.tag, tasks) if signals.tag is not None else None
        if tagged is not None:
            task, reason = tagged, f"the request's task tag is {signals.tag.name}"  # type: ignore[union-attr]
        elif named is not None and (own := [task for task, adapter in self.adapters.items() if adapter == named]):
            # base-sft answers several tasks: the rules choose among them.
            task, reason = (own[0], "") if len(own) == 1 else self._by_signals(request, signals, tasks)
        else:
            task, reason = self._by_signals(request, signals, tasks)
        if named is not None:
            says = f"model names the adapter {named}"
            if task == "persona" and named != "persona":
                task = "general"
            return Decision(named, task, f"{says}; {reason}" if reason else says)
        adapter, note = self._standing_in(task)
        return Decision(adapter, task, f"{reason}; {note}" if note else reason)

    def _named_adapter(self, model: str | None) -> str | None:
        """The adapter that `model` names; None where it leaves the choice open."""
        if model is None or not model:
            return None
        if model in (*self.available, BASE):
            return model
        if any(fnmatchcase(model.lower(), pattern.lower()) for pattern in self.models):
            return None
        known = ", ".join((*self.available, BASE))
        raise RequestError(
            "model",
            f"unknown model {model!r}; name an adapter ({known}), or leave the choice with {self.models[0]!r}"
            if self.models
            else f"unknown model {model!r}; name an adapter ({known})",
        )

    def _by_signals(self, request: ChatRequest, signals: Signals, tasks: Collection[str]) -> tuple[str, str]:
        for rule in self.rules:
            if rule.task in tasks and rule.holds(signals):
                return rule.task, "the request bears " + ", ".join(
                    f"{name} ({signals.evidence[name]})" for name in rule.when
                )
        if self.classifier is not None and (said := self.classifier.classify(request, signals)) is not None:
            if said[0] not in tasks:
                raise ConfigError(f"router: the classifier names the task {said[0]!r}; there are {_names(tasks)}")
            return said[0], f"the classifier says so: {said[1]}"
        chat = "persona" if self.adapters["persona"] in self.available else "general"
        borne = ", ".join(sorted(name for name in signals.evidence if name != "history"))
        return chat, "no rule applies, so it is chat" + (f" (it bears {borne})" if borne else "")

    def _standing_in(self, task: str) -> tuple[str, str]:
        """The task's adapter, or what stands in for it, with a note that says so."""
        wanted = self.adapters.get(task, "base-sft")
        line = [*self.fallback.get(wanted, self.fallback["*"]), BASE]
        if wanted in (*self.available, BASE):
            return wanted, ""
        chosen = next(name for name in line if name in (*self.available, BASE))
        return chosen, f"the adapter {wanted} is not there, {chosen} stands in"


def _names(names: Collection[str]) -> str:
    return ", ".join(sorted(names))
