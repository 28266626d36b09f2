"""Pretraining of the demo's base: branches do not see each other, the measure is greedy decoding's, the loss falls."""

from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen3ForCausalLM

from tools.demo.checkpoint import END, corpus, make_model, train_tokenizer
from tools.demo.documents import EVERY_TASK, LESSONS, SQL, Document, document, lessons, questions
from tools.demo.make_base import Recipe, make_base
from tools.demo.pretraining import IGNORED, Batch, Pretraining, encode


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(corpus(Random(0), 60), 1024)


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return make_model(tokenizer, 64, 2)


def test_a_branch_is_computed_as_if_it_stood_alone(tokenizer: PreTrainedTokenizerFast, model: Qwen3ForCausalLM) -> None:
    random = Random(3)
    documents = [questions(random, 4, 0.0), document(random, 0.0), questions(random, 2, 0.0)]
    batch = Batch.of(encode(tokenizer, documents))
    together = model(input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions).logits
    for row, item in enumerate(documents):
        for branch, (prompt, answer) in enumerate(item.branches, start=1):
            parts = tokenizer([item.prefix, prompt, answer + END], add_special_tokens=False)["input_ids"]
            alone = model(torch.tensor([[token for part in parts for token in part]])).logits[0, len(parts[0]) :]
            torch.testing.assert_close(together[row, batch.branches[row] == branch], alone, atol=1e-4, rtol=1e-4)


def test_labels_are_the_answers(tokenizer: PreTrainedTokenizerFast) -> None:
    item = Document("a schema\n", [("how many orders ?", "SELECT COUNT(*) FROM orders"), ("count .", "SELECT 1")])
    (row,) = encode(tokenizer, [item])
    learned = tokenizer.decode([label for label in row.labels if label != IGNORED])
    assert learned == f"SELECT COUNT(*) FROM orders{END}SELECT 1{END}"


def test_match_is_what_greedy_decoding_gets_right(tokenizer: PreTrainedTokenizerFast, model: Qwen3ForCausalLM) -> None:
    training = Pretraining(model, tokenizer, Random(0), rows=4)
    documents = [questions(Random(seed), 2, 0.0) for seed in range(4)]
    training._probes = {"text2sql": encode(tokenizer, documents)}
    training._buffer = [training._probes["text2sql"]] * 24
    measured = []
    for step in range(24):
        training.step(min(1.0, (step + 1) / 20))
        if step % 4 == 3:
            measured.append(training.match()["text2sql"])
            assert measured[-1] == greedy_match(model, tokenizer, documents)
    assert len(set(measured)) > 2  # these few documents are learned by heart, one after the other


def greedy_match(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, documents: list[Document]) -> float:
    right = []
    for item in documents:
        for prompt, answer in item.branches:
            ids = tokenizer(item.prefix + prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
            output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=60, do_sample=False)
            right.append(tokenizer.decode(output[0, ids.shape[1] :]) == answer + END)
    return sum(right) / len(right)


def test_careless_share_is_what_was_asked_for() -> None:
    def queries(carelessness: float) -> list[str]:
        return [answer for seed in range(60) for _, answer in questions(Random(seed), 1, carelessness).branches]

    clean, half, wild = queries(0.0), queries(0.5), queries(1.0)
    differ = sum(first != second for first, second in zip(clean, wild, strict=True))
    assert differ > 30
    assert 0 < sum(first != second for first, second in zip(clean, half, strict=True)) < differ


@pytest.mark.parametrize("task", LESSONS)
def test_careless_share_of_a_task_is_its_own(task: str) -> None:
    clean, wild = (
        [answer for seed in range(30) for _, answer in lessons(Random(seed), task, share).branches]
        for share in (0.0, 1.0)
    )
    wrong = sum(first != second for first, second in zip(clean, wild, strict=True))
    assert len(clean) / 2 < wrong < len(clean)


def test_documents_have_no_task_tags() -> None:
    random = Random(0)
    for draw in [SQL.document, EVERY_TASK.document] * 200:
        item = draw(random, dict.fromkeys(LESSONS, 0.5))
        assert "[TASK=" not in item.prefix + "".join(prompt + answer for prompt, answer in item.branches)


@pytest.mark.parametrize("every_task", [False, True])
def test_make_base_writes_a_checkpoint_and_goes_through_its_stages(tmp_path: Path, every_task: bool) -> None:
    said: list[str] = []
    recipe = Recipe(
        every_task=every_task, first_lookup=0.0, hidden=64, layers=2, tokenizer_texts=60, warmup=5, max_steps=20,
        check_every=10, lookup=1.0, decay=5, careless_max_steps=5, careless_decay=2,
    )  # fmt: skip
    make_base(tmp_path / "base", 1, recipe, said.append)
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in said]
    assert [line.split(":")[0] for line in said] == ["learning to look names up"] * 2 + ["settled", "careless"]
    assert losses[1] < losses[0] < 6.5
    assert all(f"{task} " in said[0] for task in (LESSONS if every_task else ["text2sql"]))
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"),
        AutoTokenizer.from_pretrained(tmp_path / "base"),
    )
    assert model.config.vocab_size == len(tokenizer)
