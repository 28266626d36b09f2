"""Rollout through a server that speaks vLLM's API: its samples are the policy's, and so are its log-probs."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from peft import PeftModel

from qwen_lightning.__main__ import main
from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.adapters.store import save_adapter
from qwen_lightning.errors import ConfigError, ExecutionError
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import LoRASettings, PolicyModel
from qwen_lightning.rollout.base import Completion
from qwen_lightning.rollout.generate import GenerateRollout
from qwen_lightning.rollout.packs import TokenSequence, build_packs, completion_logprobs
from qwen_lightning.rollout.vllm.engine import VLLMRollout
from tests.conftest import Stage
from tests.rollout.vllm_server import Refused, VLLMLike, serving
from tools.demo.tiny import TinyDemo

Prompts = list[list[int]]

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # peft in the server asks by the old name


@pytest.fixture(scope="module")
def running(demo: TinyDemo) -> Iterator[VLLMLike]:
    with serving(demo.base) as server:
        yield server


@pytest.fixture(scope="module")
def running_nf4(demo: TinyDemo) -> Iterator[VLLMLike]:
    with serving(demo.base, "nf4") as server:
        yield server


@pytest.fixture
def server(running: VLLMLike) -> VLLMLike:
    return started_anew(running)


@pytest.fixture
def nf4_server(running_nf4: VLLMLike) -> VLLMLike:
    """With the base model quantised as in training."""
    return started_anew(running_nf4)


def started_anew(server: VLLMLike) -> VLLMLike:
    """As by its command line, without adapters."""
    server.restart()
    server.__dict__.update(
        name=server.root, logprobs_mode="processed_logprobs", enable_lora=True, runtime_updating=True, max_lora_rank=16
    )
    server.__dict__.update(max_model_len=1024, key=None, asked=[], busy=0, replies=[], bare=False)
    return server


@pytest.fixture(scope="module")
def connected(running: VLLMLike) -> Iterator[VLLMRollout]:
    engine = VLLMRollout(running.url, retries=0, timeout_s=60)
    yield engine
    started_anew(running)
    engine.close()


@pytest.fixture
def engine(server: VLLMLike, connected: VLLMRollout) -> VLLMRollout:
    """One for all tests, as a run has it: connections take long to prepare."""
    return connected


@pytest.fixture
def changing(policy: PolicyModel) -> Iterator[PolicyModel]:
    """The policy, whose weights are put back."""
    state = {name: tensor.clone() for name, tensor in policy.adapter_state().items()}
    yield policy
    policy.load_adapter(state)


def trainer_logprobs(
    policy: PolicyModel, prompt: list[int], completion: Completion, temperature: float
) -> torch.Tensor:
    with policy.evaluating():
        (pack,) = build_packs([TokenSequence(prompt, completion.ids)], [0], 10**6, policy.device)
        return completion_logprobs(policy, pack, temperature)[0][0]


def assert_policys(
    policy: PolicyModel, prompts: Prompts, groups: list[list[Completion]], temperature: float = 1.0
) -> None:
    """The log-probs are the ones that the trainer computes under the adapter in use."""
    for prompt, group in zip(prompts, groups, strict=True):
        for completion in group:
            own = trainer_logprobs(policy, prompt, completion, temperature)
            torch.testing.assert_close(completion.logprobs, own, rtol=0, atol=1e-4)


def greedy(engine: VLLMRollout, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts) -> list[list[int]]:
    return [group[0].ids for group in engine.generate(policy, renderer, prompts, 1, 6, temperature=0.0)]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_logprobs_are_the_trainers(
    engine: VLLMRollout, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, temperature: float
) -> None:
    torch.manual_seed(1)
    groups = engine.generate(policy, renderer, prompts, 2, 6, temperature)
    assert [len(group) for group in groups] == [2] * len(prompts)
    assert_policys(policy, prompts, groups, temperature)
    drawn = [tuple(completion.ids) for group in groups for completion in group]
    assert len(set(drawn)) == len(drawn)  # samples of a prompt differ, and so do prompts


def test_prompts_have_counts_of_their_own(
    engine: VLLMRollout, server: VLLMLike, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    groups = engine.sample(policy, renderer, prompts[:3], [4, 1, 2], 5)
    assert [len(group) for group in groups] == [4, 1, 2]
    assert_policys(policy, prompts[:3], groups)
    assert len(server.bodies("completions")) == 3


def test_greedy_equals_generate(
    engine: VLLMRollout, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    before = torch.get_rng_state()
    groups = engine.generate(policy, renderer, prompts, 2, 12, temperature=0.0)
    assert torch.equal(before, torch.get_rng_state())
    expected = GenerateRollout().generate(policy, renderer, prompts, 1, 12, temperature=0.0)
    for group, (completion,) in zip(groups, expected, strict=True):
        for own in group:
            assert (own.ids, own.truncated) == (completion.ids, completion.truncated)
            torch.testing.assert_close(own.logprobs, completion.logprobs, rtol=0, atol=1e-4)


def test_seeds_come_from_torchs_generator(
    engine: VLLMRollout, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        groups = engine.generate(policy, renderer, [*prompts[:2], prompts[0]], 3, 6)
        drawn.append([[completion.ids for completion in group] for group in groups])
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0] != drawn[0][2]  # one prompt given twice has samples of its own


def test_a_completion_ends_with_its_end_of_turn_or_is_truncated(
    engine: VLLMRollout, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    torch.manual_seed(2)
    groups = engine.generate(policy, renderer, prompts[:2], 32, 24, temperature=2.0)
    completions = [completion for group in groups for completion in group]
    assert 0 < sum(completion.truncated for completion in completions) < len(completions)
    for completion in completions:
        assert len(completion.ids) == len(completion.logprobs)
        assert all(token not in renderer.eos_ids for token in completion.ids[:-1])
        assert completion.truncated == (completion.ids[-1] not in renderer.eos_ids)
        assert len(completion.ids) == 24 or not completion.truncated


def test_the_whole_distribution_is_asked_for(
    engine: VLLMRollout, server: VLLMLike, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    engine.generate(policy, renderer, prompts[:1], 2, 3)
    (body,) = server.bodies("completions")
    assert body["prompt"] == prompts[0]
    assert (body["top_p"], body["top_k"], body["min_p"], body["temperature"]) == (1, 0, 0, 1)
    assert (body["repetition_penalty"], body["presence_penalty"], body["frequency_penalty"]) == (1, 0, 0)
    assert (body["ignore_eos"], body["stop_token_ids"]) == (True, renderer.eos_ids)


# ---------------------------------------------------------------------- the adapter in use


def test_the_newest_adapter_answers(
    engine: VLLMRollout, server: VLLMLike, changing: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    optimizer = torch.optim.AdamW(changing.trainable(), lr=0.1)
    names, answers = [], []
    for _ in range(3):
        groups = engine.generate(changing, renderer, prompts[:3], 1, 6, temperature=0.0)
        assert_policys(changing, prompts[:3], groups)
        answers.append([group[0].ids for group in groups])
        names += server.adapters
        optimizer.zero_grad()
        changing.backbone(input_ids=torch.tensor([prompts[0]])).logits.logsumexp(-1).sum().backward()
        optimizer.step()
    assert len(set(names)) == len(names) == 3  # a name of its own for each, and the old one unloaded
    assert answers[0] != answers[1]
    loaded = server.bodies("load_lora_adapter")
    assert [Path(body["lora_path"]).exists() for body in loaded] == [False, False, True]


def test_an_unchanged_adapter_is_loaded_once(
    engine: VLLMRollout, server: VLLMLike, changing: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    for _ in range(3):
        engine.generate(changing, renderer, prompts[:1], 1, 2)
    assert len(server.bodies("load_lora_adapter")) == 1
    with torch.no_grad():
        changing.trainable()[-1].data.view(-1)[0] += 1e-6  # past autograd's count of versions
    engine.generate(changing, renderer, prompts[:1], 1, 2)
    assert len(server.bodies("load_lora_adapter")) == 2


def test_reference_and_bare_backbone_answer_when_in_use(
    engine: VLLMRollout, server: VLLMLike, changing: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    for parameter in changing.trainable():
        torch.nn.init.normal_(parameter, std=0.3)
    policy = greedy(engine, changing, renderer, prompts)
    with changing.reference():
        reference = engine.generate(changing, renderer, prompts, 1, 6, temperature=0.0)
        assert_policys(changing, prompts, reference)
    with changing.bare():
        bare = engine.generate(changing, renderer, prompts, 1, 6, temperature=0.0)
        assert_policys(changing, prompts, bare)
    assert greedy(engine, changing, renderer, prompts) == policy
    assert (
        len({json.dumps(ids) for ids in (policy, *([g[0].ids for g in groups] for groups in (reference, bare)))}) == 3
    )
    assert [name.partition("-")[0] for name in server.adapters] == ["policy", "reference"]
    assert len(server.bodies("load_lora_adapter")) == 2


def test_an_adapter_that_the_server_lost_is_loaded_anew(
    engine: VLLMRollout, server: VLLMLike, changing: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    before = greedy(engine, changing, renderer, prompts[:2])
    server.restart()
    assert greedy(engine, changing, renderer, prompts[:2]) == before
    assert len(server.adapters) == 1


def test_two_engines_share_a_server_and_leave_it_clean(
    server: VLLMLike, tmp_path: Path, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    engines = [VLLMRollout(server.url, adapter_dir=str(tmp_path)) for _ in range(2)]
    first, second = (greedy(engine, policy, renderer, prompts[:2]) for engine in engines)
    assert first == second
    assert len(server.adapters) == 2
    for folder in tmp_path.iterdir():  # what lies there is what peft reads
        base = load_backbone(str(server.root), "none", "float32")
        model = PeftModel.from_pretrained(base, str(folder)).eval()
        with torch.no_grad(), policy.evaluating():
            theirs = model(input_ids=torch.tensor([prompts[0]])).logits
            torch.testing.assert_close(theirs, policy.backbone(input_ids=torch.tensor([prompts[0]])).logits)
    for engine in engines:
        engine.close()
    assert not server.adapters
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- faults


def refused(engine: VLLMRollout, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, **options: Any) -> str:
    """What is said of a rollout that must fail."""
    with pytest.raises((ExecutionError, ConfigError)) as caught:
        engine.generate(policy, renderer, prompts, **{"samples": 2, "max_new_tokens": 4, **options})
    assert engine.url in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"enable_lora": False}, "--enable-lora"),
        ({"runtime_updating": False}, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"),
        ({"max_lora_rank": 8}, "LoRA rank 16 is greater than max_lora_rank 8.*--max-lora-rank"),
        ({"max_model_len": 20}, "--max-model-len"),
        ({"name": "other", "root": "Qwen/Qwen3-8B"}, r"other \(Qwen/Qwen3-8B\), not .*rollout.model"),
        ({"key": "secret"}, "Unauthorized.*api_key_env"),
        ({"logprobs_mode": "raw_logits"}, "--logprobs-mode processed_logprobs"),
        ({"busy": 1}, "503"),
        ({"replies": [{"choices": []}]}, "0 completions, not 2"),
        ({"replies": ["<html>"]}, "no completion of this rollout"),
        ({"replies": [{"choices": [{"index": 0, "finish_reason": "abort"}]}]}, "logprobs: Field required"),
    ],
)
def test_a_server_that_cannot_serve_is_one_clear_error(
    server: VLLMLike,
    engine: VLLMRollout,
    policy: PolicyModel,
    renderer: ChatRenderer,
    prompts: Prompts,
    changed: dict[str, Any],
    expected: str,
) -> None:
    root = server.root
    server.__dict__.update(changed)
    try:
        message = refused(engine, policy, renderer, prompts[:1])
    finally:
        server.root = root
    assert "\n" not in message
    assert re.search(expected, message), message


def choice(**changed: Any) -> dict[str, Any]:
    logprobs = {"token_logprobs": [-1.0, -2.0], "top_logprobs": []}
    return {"index": 0, "finish_reason": "length", "token_ids": [40, 41], "logprobs": logprobs, **changed}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, None),
        ({"token_ids": None}, "0.10.2"),
        ({"token_ids": []}, "0 ids with 2 log-probs"),
        ({"token_ids": [40]}, "1 ids with 2 log-probs"),
        ({"token_ids": [2, 40]}, "behind the end of turn"),
        ({"finish_reason": "abort"}, "finish_reason abort"),
        ({"finish_reason": "stop"}, "finish_reason stop behind token 41"),
        ({"logprobs": {"token_logprobs": [-1.0, None], "top_logprobs": []}}, "token_logprobs.1"),
        ({"logprobs": {"token_logprobs": [-1.0, 7.5], "top_logprobs": []}}, "7.500.*--logprobs-mode"),
        ({"logprobs": None}, "logprobs"),
    ],
)
def test_no_reply_is_taken_for_a_completion_that_it_is_not(
    server: VLLMLike,
    engine: VLLMRollout,
    policy: PolicyModel,
    renderer: ChatRenderer,
    changed: dict[str, Any],
    expected: str | None,
) -> None:
    assert 2 in renderer.eos_ids
    server.replies = [{"choices": [choice(**changed)]}]
    options = {"samples": 1, "max_new_tokens": 2}
    with policy.bare():
        if expected is None:
            (group,) = engine.generate(policy, renderer, [[5, 6]], **options)
            assert group[0].ids == [40, 41]
        else:
            message = refused(engine, policy, renderer, [[5, 6]], **options)
            assert re.search(expected, message), message


def test_a_completion_that_the_context_cut_is_refused(
    server: VLLMLike, engine: VLLMRollout, policy: PolicyModel, renderer: ChatRenderer
) -> None:
    server.replies = [{"choices": [choice()]}]
    with policy.bare():
        assert "2 tokens for a limit of 9" in refused(engine, policy, renderer, [[5, 6]], samples=1, max_new_tokens=9)


def test_no_server_says_how_to_start_one(policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        engine = VLLMRollout(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", retries=0)
        message = refused(engine, policy, renderer, prompts[:1])
    assert "vllm serve" in message
    assert "--max-loras N" in message


def test_a_busy_server_is_asked_again(
    server: VLLMLike, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    server.busy = 1
    with policy.bare():
        assert VLLMRollout(server.url, retries=1).generate(policy, renderer, prompts[:1], 1, 2)


def test_what_took_too_long_is_not_asked_again(
    server: VLLMLike, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = Event()
    monkeypatch.setattr(server, "complete", lambda body: given_up.wait(60))
    engine = VLLMRollout(server.url, retries=2, timeout_s=1)
    with policy.bare():
        message = refused(engine, policy, renderer, prompts[:1])
    given_up.set()
    assert "/completions within 1 s; raise rollout.timeout_s" in message
    assert len(server.bodies("completions")) == 1


def losing(server: VLLMLike, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy loses the reply to a load that was done."""
    load = server.load

    def lost(body: dict[str, Any]) -> str:
        load(body)
        raise Refused(status, "Gateway", "a proxy gave up")

    monkeypatch.setattr(server, "load", lost)


def test_a_load_whose_reply_was_lost_counts(
    server: VLLMLike, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing(server, 502, monkeypatch)
    groups = VLLMRollout(server.url, retries=1).generate(policy, renderer, prompts[:1], 1, 3)
    assert_policys(policy, prompts[:1], groups)
    assert len({body["lora_name"] for body in server.bodies("load_lora_adapter")}) == 1


def test_a_load_that_failed_here_and_not_there_does_not_stand_for_later_weights(
    engine: VLLMRollout,
    server: VLLMLike,
    changing: PolicyModel,
    renderer: ChatRenderer,
    prompts: Prompts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        losing(server, 504, patched)
        assert "a proxy gave up" in refused(engine, changing, renderer, prompts[:1])
    assert len(server.adapters) == 1
    for parameter in changing.trainable():
        torch.nn.init.normal_(parameter, std=0.3)
    assert_policys(changing, prompts[:1], engine.generate(changing, renderer, prompts[:1], 1, 3))


def test_folders_that_somebody_cleaned_are_no_fault(
    server: VLLMLike, tmp_path: Path, changing: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    folder = tmp_path / "adapters"
    engine = VLLMRollout(server.url, adapter_dir=str(folder), retries=0)
    for _ in range(2):
        engine.generate(changing, renderer, prompts[:1], 1, 2)
        shutil.rmtree(folder)
        with torch.no_grad():
            changing.trainable()[-1].add_(0.1)
    assert len(server.adapters) == 1
    engine.close()
    assert not server.adapters


def test_a_run_that_is_over_does_not_fail_at_its_servers(
    server: VLLMLike, tmp_path: Path, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    engine = VLLMRollout(server.url, adapter_dir=str(tmp_path), retries=0)
    engine.generate(policy, renderer, prompts[:1], 1, 2)
    server.runtime_updating = False
    with pytest.warns(UserWarning, match="adapters may stay loaded: vLLM at .* refuses /unload_lora_adapter"):
        engine.close()
    assert not list(tmp_path.iterdir())


def test_an_adapter_folder_that_the_server_cannot_see(
    server: VLLMLike, engine: VLLMRollout, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, monkeypatch
) -> None:
    load = server.load
    monkeypatch.setattr(server, "load", lambda body: load({**body, "lora_path": "/elsewhere" + body["lora_path"]}))
    assert "rollout.adapter_dir" in refused(engine, policy, renderer, prompts[:1])


def test_an_adapter_that_is_refused_leaves_no_folder(
    server: VLLMLike, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, tmp_path: Path
) -> None:
    server.max_lora_rank = 8
    refused(VLLMRollout(server.url, adapter_dir=str(tmp_path), retries=0), policy, renderer, prompts[:1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_logprobs_that_leave_out_the_temperature_are_refused(
    server: VLLMLike,
    policy: PolicyModel,
    renderer: ChatRenderer,
    prompts: Prompts,
    temperature: float,
) -> None:
    engine = VLLMRollout(server.url, retries=0)  # one that has not seen the temperature
    server.logprobs_mode = "raw_logprobs"
    message = refused(engine, policy, renderer, prompts[:1], temperature=temperature)
    server.logprobs_mode = "processed_logits"
    assert "gives no log-probs" in refused(engine, policy, renderer, prompts[:1], temperature=temperature)
    server.logprobs_mode = "raw_logprobs"
    assert f"leave out the temperature {temperature}" in message
    assert_policys(policy, prompts[:2], engine.generate(policy, renderer, prompts[:2], 1, 3))  # at 1 they are the same


def test_another_name_of_the_base_model_and_a_key_can_be_given(
    server: VLLMLike, policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.name, server.key, root = "served", "secret", server.root
    server.root = "/models/elsewhere"
    monkeypatch.setenv("VLLM_KEY", "secret")
    try:
        engine = VLLMRollout(server.url, model="served", api_key_env="VLLM_KEY", retries=0)
        with policy.bare():
            groups = engine.generate(policy, renderer, prompts[:2], 1, 3)
            assert_policys(policy, prompts[:2], groups)
    finally:
        server.root = root
    assert {body["model"] for body in server.bodies("completions")} == {"served"}


def test_settings_that_cannot_be_meant() -> None:
    for options in ({"url": "127.0.0.1:8000"}, {"concurrency": 0}, {"timeout_s": 0}, {"retries": -1}):
        with pytest.raises(ConfigError):
            VLLMRollout(**options)


# ---------------------------------------------------------------------- in training


@pytest.fixture
def fit(stage: Stage, policy: PolicyModel, nf4_server: VLLMLike):
    """Fit GRPO from an adapter that does something, with completions from the server, and return the exit code."""
    manifest = Manifest(name="base-sft", stage="sft", base_model=str(stage.demo.base), quantization="nf4")
    save_adapter(stage.folder / "adapters" / "base-sft", policy.adapter_state(), LoRASettings(), manifest)

    def run(steps: int, run: str, **model: Any) -> int:
        changes = stage.changes("grpo", steps, run)
        rollout = {"class_path": "VLLMRollout", "init_args": {"url": nf4_server.url, "retries": 0}}
        changes["model"]["init_args"] |= {"rollout": rollout, "probe_tolerance": 1e-4, **model}
        changes["trainer"]["callbacks"] = []
        return main(["fit", "-c", "configs/grpo_sql.yaml", "-c", stage.overlay(run, changes)])

    return run


def test_grpo_trains_on_its_own_samples(fit, nf4_server: VLLMLike, stage: Stage, scalars) -> None:
    assert fit(2, "vllm", temperature=0.8) == 0
    values = scalars(stage.log_dir("vllm"))
    assert len(values["train/reward"]) == 2
    assert values["train/kl"][0] == pytest.approx(0, abs=1e-6)
    assert values["train/kl"][-1] > 0
    assert len(nf4_server.bodies("load_lora_adapter")) == 2  # one a step
    assert not nf4_server.adapters  # given back at the end
    assert values["train/mismatch"] == pytest.approx([1.0] * 2, abs=1e-4)
    assert max(values["train/mismatch_kl"]) < 1e-6


def test_the_probe_catches_a_server_that_answers_without_the_adapter(
    fit, nf4_server: VLLMLike, capsys: pytest.CaptureFixture[str]
) -> None:
    nf4_server.bare = True
    assert fit(1, "bare") == 2
    assert "does not sample from the policy that is trained" in capsys.readouterr().err


def test_raw_logprobs_stop_training_before_it_begins(
    fit, nf4_server: VLLMLike, capsys: pytest.CaptureFixture[str]
) -> None:
    nf4_server.logprobs_mode = "raw_logprobs"
    assert fit(1, "raw", temperature=0.7) == 2
    assert "--logprobs-mode processed_logprobs" in capsys.readouterr().err
