import pytest

from qwen_lightning.commands.workbench import load_workbench
from qwen_lightning.errors import ConfigError
from qwen_lightning.execution.cypher.executors import Neo4jExecutor


def test_weights_and_executors_come_from_configs_the_later_wins(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(
        "trainer: {max_steps: 1}\n"
        "tasks: {sql: {class_path: DuckDBExecutor, init_args: {databases: elsewhere, workers: 3}}}\n"
        "rewards: {weights: {text2sql: {strong: {match: 4}}}}\n",
        encoding="utf-8",
    )
    second.write_text("rewards: {weights: {text2sql: {strong: {match: 5}}}}\n", encoding="utf-8")
    registry, rewards = load_workbench([first, second], tmp_path)
    assert rewards.weights["text2sql"]["strong"]["match"] == 5
    assert type(registry["text2sql"].executor).__name__ == "DuckDBExecutor"
    assert str(registry["text2sql"].executor.databases) == str(tmp_path)
    first.write_text("tasks: {sql: {class_path: DuckDBExecutor, init_args: {workers: 0}}}", encoding="utf-8")
    with pytest.raises(ConfigError, match="workers and variants are at least 1"):  # kept beside the folder
        load_workbench([first, second], tmp_path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("rewards: {weights: {text2sql: {strong: {match: 0.1, executes: 1, dialect: 3}}}}", "wrong answer could score"),
        ("tasks: {sqll: 3}", "sqll"),
        ("tasks: {sql: {class_path: NoSuchExecutor}}", "NoSuchExecutor"),
        ("- tasks", "a config is a mapping"),
        ("tasks: {", "no YAML"),
    ],
)
def test_a_config_that_cannot_be_meant(tmp_path, text, fault):
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=fault) as error:
        load_workbench([path])
    assert "\n" not in str(error.value)


class OwnNeo4j(Neo4jExecutor):
    """Someone's own."""


@pytest.mark.parametrize("kind", ["Neo4jExecutor", f"{__name__}.OwnNeo4j"])
def test_a_folder_of_databases_is_for_both_languages_and_a_server_keeps_its_own(tmp_path, capsys, kind):
    registry, _ = load_workbench([], tmp_path)
    kinds = [type(registry[task].executor).__name__ for task in ("text2sql", "text2cypher")]
    assert kinds == ["DuckDBExecutor", "ArcadeDBExecutor"]
    assert registry["text2cypher"].executor.databases == tmp_path
    config = tmp_path / "neo4j.yaml"
    assert capsys.readouterr() == ("", "")
    settings = f"{{class_path: {kind}, init_args: {{url: bolt://127.0.0.1, graph: movies}}}}"
    config.write_text(f"tasks: {{cypher: {settings}}}", encoding="utf-8")
    executor = load_workbench([config], tmp_path)[0]["text2cypher"].executor
    assert executor.databases is None
    assert executor.has_database("movies")
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"--databases {tmp_path} is not used for Cypher" in err


def test_without_a_config_queries_are_checked_statically():
    registry, rewards = load_workbench()
    assert registry["text2sql"].executor is None
    assert registry["text2cypher"].executor is None
    assert rewards.weights["text2sql"]["weak"]


@pytest.mark.parametrize("name", ["sft.yaml", "grpo_sql.yaml"])
def test_a_training_config_serves(in_repository, name, tmp_path):
    registry, _ = load_workbench([f"configs/{name}"], tmp_path)
    assert registry["text2sql"].executor.databases == tmp_path
