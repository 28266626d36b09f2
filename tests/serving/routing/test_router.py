import pytest

from qwen_lightning.errors import ConfigError, RequestError
from qwen_lightning.serving.requests import parse_request
from qwen_lightning.serving.routing.router import FAMILY, RULES, Classifier, Rule, RuleRouter
from qwen_lightning.tasks.registry import TaskRegistry

TASKS = tuple(TaskRegistry())
DDL = "CREATE TABLE boats (id INT, name TEXT);"


def decide(router, *contents, **more):
    messages = [{"role": "user", "content": content} for content in contents]
    request = parse_request({"messages": messages, **more})
    return router.route(request, router.signals(request), TASKS)


def test_the_reason_names_what_the_request_bears():
    decision = decide(RuleRouter(), f"{DDL}\nWrite a SQL query: how many boats?")
    assert (decision.adapter, decision.task) == ("sql", "text2sql")
    assert decision.reason.startswith("the request bears ddl (DDL), asks_sql (SQL)")
    assert "\n" not in decision.reason


def test_an_adapter_named_in_model_wins():
    router = RuleRouter()
    assert decide(router, "Hello", model="cypher").task == "text2cypher"
    chat = decide(router, "Hello", model="base-sft")
    assert (chat.adapter, chat.task) == ("base-sft", "general")
    # base-sft answers several tasks, and the request says which.
    rules = decide(router, f"{DDL}\nHow many boats?", model="base-sft")
    assert (rules.adapter, rules.task) == ("base-sft", "text2sql")
    assert rules.reason.startswith("model names the adapter base-sft; the request bears ddl")
    assert decide(router, f"{DDL}\nHow many boats?", model="base").adapter == "base"


@pytest.mark.parametrize("model", [None, "", "auto", "Qwen/Qwen3-8B", "qwen-lightning"])
def test_these_models_leave_the_choice_to_the_router(model):
    assert decide(RuleRouter(), f"{DDL}\nHow many boats?", model=model).adapter == "sql"


def test_a_model_that_is_not_there_is_refused():
    for router, model in ((RuleRouter(), "gpt-4o"), (RuleRouter(["base-sft"]), "sql"), (RuleRouter(models=[]), "auto")):
        with pytest.raises(RequestError, match=f"model: unknown model '{model}'; name an adapter") as error:
            decide(router, "Hello", model=model)
        assert error.value.field == "model"


def test_a_task_tag_wins_over_the_rules():
    decision = decide(RuleRouter(), f"[TASK=SLOT_JSON]\n{DDL}\nHow many boats?")
    assert (decision.adapter, decision.task) == ("slot", "slot_json")
    assert decide(RuleRouter(), "[TASK=TEXT2SQL]\nHi", model="base-sft").adapter == "base-sft"
    with pytest.raises(RequestError, match="unknown task tag 'DANCE'; tasks are intent_rewrite"):
        decide(RuleRouter(), "[TASK=DANCE]\nHow many boats?")


def test_a_missing_adapter_falls_back_along_its_line_and_says_so():
    question = f"{DDL}\nHow many boats?"
    decision = decide(RuleRouter(["base-sft", "fc"]), question)
    assert decision.adapter == "base-sft"
    assert decision.reason.endswith("; the adapter sql is not there, base-sft stands in")
    assert decide(RuleRouter([]), question).adapter == "base"
    assert decide(RuleRouter(["fc", "base-sft"], fallback={"sql": ["cypher", "fc"]}), question).adapter == "fc"
    assert decide(RuleRouter(["sql"]), "Hello").task == "general"
    assert decide(RuleRouter(["persona"]), "Hello").adapter == "persona"
    assert decide(RuleRouter(["base-sft"]), "Hello").adapter == "base-sft"


def test_rules_and_wording_of_ones_own_come_first():
    router = RuleRouter(
        rules=[Rule("intent_rewrite", ["pirate"], ["ddl"])],
        wording={"pirate": [r"\bahoy\b"]},
        adapters={"text2sql": "boats"},
        available=["boats", *FAMILY],
    )
    assert decide(router, "AHOY there").reason.startswith("the request bears pirate (AHOY)")
    assert decide(router, f"{DDL} Ahoy, how many?").adapter == "boats"
    # Wording adds to a built-in signal.
    more = RuleRouter(wording={"asks_extraction": ["haul up"]})
    assert decide(more, "Haul up the following fields: name, port\nAnn sails to Vik").task == "slot_json"
    assert decide(RuleRouter(), "Haul up the following fields: name, port\nAnn sails to Vik").task == "persona"


def test_rules_that_cannot_be_meant():
    with pytest.raises(ConfigError, match="unknown signal 'dll'"):
        RuleRouter(rules=[Rule("text2sql", ["dll"])])
    with pytest.raises(ConfigError, match="when is empty"):
        RuleRouter(rules=[Rule("text2sql", [])])
    with pytest.raises(ConfigError, match=r"'\(' is no regular expression"):
        RuleRouter(wording={"pirate": ["("]})


def test_without_built_in_rules_only_ones_own_hold():
    assert decide(RuleRouter(builtin_rules=False), f"{DDL}\nHow many boats?").task == "persona"
    assert decide(RuleRouter(rules=list(RULES), builtin_rules=False), f"{DDL}\nHow many boats?").task == "text2sql"


class BoatClassifier(Classifier):
    """Boats are a matter of SQL."""

    def classify(self, request, signals):
        return ("text2sql", "it speaks of boats") if "boat" in request.messages[-1].content else None


def test_the_classifier_is_asked_where_no_rule_holds():
    router = RuleRouter(classifier=BoatClassifier())
    decision = decide(router, "What about my boat?")
    assert (decision.adapter, decision.reason) == ("sql", "the classifier says so: it speaks of boats")
    assert decide(router, "What about my hat?").task == "persona"
    assert decide(router, "Extract these fields: name, boat\nText: Ann's boat").task == "slot_json"
