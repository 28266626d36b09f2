"""A server that speaks vLLM's API over a tiny transformers model, adapters loaded by peft from the folders it is told.

Paths, fields, defaults and words of the errors are those of vLLM 0.32, and so is what it does silently: it cuts
`max_tokens` to the context that is left, and gives log-probs before the temperature unless told otherwise.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from qwen_lightning.models.backbone import Quantization, load_backbone


class Refused(Exception):
    """An error as the server words it."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": None, "code": status}}


class VLLMLike(ThreadingHTTPServer):
    """The server; its public attributes are its command line, and what tests ask of it.

    Args:
        base: The backbone's folder.
        quantization: How it is loaded.
        like: Another server, whose models and adapters it has too.
    """

    daemon_threads = True

    def __init__(self, base: Path, quantization: Quantization = "none", like: VLLMLike | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name, self.root = str(base), str(base)
        self.base = load_backbone(str(base), quantization, "float32") if like is None else like.base
        self.logprobs_mode = "processed_logprobs"
        self.enable_lora, self.runtime_updating, self.max_lora_rank, self.max_model_len = True, True, 16, 1024
        self.key: str | None = None
        self.adapters: dict[str, tuple[str, PeftModel]] = {} if like is None else dict(like.adapters)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.busy, self.busy_status = 0, 503  # requests that are answered so before the rest
        self.replies: list[Any] = []  # sent as they are in place of the next completions
        self.bare = False  # a fault: adapters are loaded, and not used
        self.dead = False
        self.going = Event()  # streams wait before each token while it is not set
        self.going.set()
        self.begun = self.aborted = 0  # streams, and those whose client went before their end
        self.break_after: int | None = None  # tokens after which a stream's connection breaks
        self.fail_after: int | None = None  # tokens after which a stream says that the engine failed
        self.stop_after: int | None = None  # tokens after which a stream ends as if it were whole
        self.lock = Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """What was asked of one path."""
        return [body for asked, body in self.asked if asked == f"/v1/{path}"]

    def die(self) -> None:
        """End as a process does: connections that are kept alive end too."""
        self.dead = True
        self.shutdown()
        self.server_close()

    def restart(self) -> None:
        """Lose all adapters."""
        self.adapters.clear()

    # ------------------------------------------------------------------ answers

    def models(self) -> dict[str, Any]:
        cards = [{"id": self.name, "root": self.root, "parent": None, "max_model_len": self.max_model_len}]
        cards += [{"id": name, "root": path, "parent": self.name} for name, (path, _) in self.adapters.items()]
        return {"object": "list", "data": cards}

    def load(self, body: dict[str, Any]) -> str:
        name, path = body["lora_name"], Path(body["lora_path"])
        if name in self.adapters:
            raise Refused(
                400,
                "InvalidUserInput",
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set "
                "'load_inplace' to True.",
            )
        failed = "Call to add_lora method failed: Worker failed with error '{}', please check the stack trace above"
        if not self.enable_lora:
            said = failed.format("LoRA is not enabled. Use --enable-lora to enable LoRA.")
            raise Refused(500, "InternalServerError", said)
        if not (path / "adapter_config.json").is_file():
            raise Refused(404, "NotFoundError", f"Loading lora {name} failed: No adapter found for {path}")
        rank = PeftConfig.from_pretrained(str(path)).r
        if rank > self.max_lora_rank:
            said = f"LoRA rank {rank} is greater than max_lora_rank {self.max_lora_rank}."
            raise Refused(500, "InternalServerError", failed.format(said))
        with torch.random.fork_rng(devices=[]):  # it shares a process with the client, but not its generator
            model = PeftModel.from_pretrained(copy.deepcopy(self.base), str(path)).eval()
        self.adapters[name] = str(path), model
        return f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, body: dict[str, Any]) -> str:
        name = body["lora_name"]
        if name not in self.adapters:
            raise Refused(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
        del self.adapters[name]
        return f"Success: LoRA adapter '{name}' removed successfully."

    def complete(self, body: dict[str, Any]) -> Any:
        if self.replies:
            return self.replies.pop(0)
        model, most = self.checked(body)
        choices = []
        for index, (ids, steps) in enumerate(self.sample(model, body, most)):
            finish_reason = "stop" if ids[-1] in self.stops(body) else "length"
            choices.append({"index": index, **self.choice(body, ids, steps, finish_reason)})
        return {"object": "text_completion", "model": body["model"], "choices": choices}

    def chunks(self, body: dict[str, Any]) -> Iterator[Any]:
        """A stream's events, a token each; one choice."""
        if self.replies:
            yield from self.replies.pop(0)
            return
        model, most = self.checked(body)
        steps = self.steps(model, body, most)
        yield None  # it has begun
        for count in range(most):
            self.going.wait(30)
            if self.break_after == count:
                raise ConnectionAbortedError
            if self.stop_after == count:
                return
            if self.fail_after == count:
                yield Refused(500, "InternalServerError", "EngineCore encountered an issue.").body
                return
            with self.lock:
                [(token, step)] = next(steps)
            stopped = token in self.stops(body)
            finish_reason = "stop" if stopped else "length" if count == most - 1 else None
            choice = {"index": 0, **self.choice(body, [token], [step], finish_reason)}
            yield {"object": "text_completion", "model": body["model"], "choices": [choice]}
            if stopped:
                return

    def checked(self, body: dict[str, Any]) -> tuple[PreTrainedModel | PeftModel, int]:
        """The model, and the most tokens that it is to generate."""
        prompt, n, temperature = body["prompt"], body.get("n", 1), body.get("temperature", 1.0)
        if len(prompt) > self.max_model_len:
            said = (
                f"This model's maximum context length is {self.max_model_len} tokens. However, your prompt contains "
                f"{len(prompt)} input tokens, which exceeds this limit even without any output tokens."
            )
            raise Refused(400, "BadRequestError", said)
        if temperature == 0 and n > 1:
            raise Refused(400, "BadRequestError", f"n must be 1 when using greedy sampling, got {n}.")
        if not 0 <= temperature <= 2:
            raise Refused(400, "BadRequestError", f"temperature must be in [0, 2], got {temperature}.")
        if not 0 <= body.get("logprobs", 0) <= 20:
            raise Refused(400, "BadRequestError", "Requested sample logprobs is greater than max allowed: 20")
        return self.model(body["model"]), min(body["max_tokens"], self.max_model_len - len(prompt))

    def choice(
        self, body: dict[str, Any], ids: list[int], steps: list[dict[int, float]], finish_reason: str | None
    ) -> dict[str, Any]:
        by_id = body.get("return_tokens_as_token_ids")
        top = [
            {(f"token_id:{token}" if by_id else f"<{token}>"): score for token, score in step.items()} for step in steps
        ]
        logprobs = {"token_logprobs": [step[token] for token, step in zip(ids, steps, strict=True)]}
        return {
            "text": "",
            "logprobs": {**logprobs, "top_logprobs": top},
            "finish_reason": finish_reason,
            "token_ids": ids if body.get("return_token_ids") else None,
        }

    def stops(self, body: dict[str, Any]) -> set[int]:
        own = set() if body.get("ignore_eos") else {self.base.config.eos_token_id}
        return own | set(body.get("stop_token_ids", ()))

    def model(self, name: str) -> PreTrainedModel | PeftModel:
        if name != self.name and name not in self.adapters:
            said = f"The model `{name}` does not exist. Valid aliases: {self.name}"
            raise Refused(404, "NotFoundError", said)
        return self.base if self.bare or name == self.name else self.adapters[name][1]

    def sample(
        self, model: PreTrainedModel | PeftModel, body: dict[str, Any], max_tokens: int
    ) -> list[tuple[list[int], list[dict[int, float]]]]:
        """The ids of each sample, and for each of its steps the log-probs of the top and of the sampled token."""
        n = body.get("n", 1)
        found: list[tuple[list[int], list[dict[int, float]]]] = [([], []) for _ in range(n)]
        done = [False] * n
        for step in self.steps(model, body, max_tokens):
            for index, (token, scores) in enumerate(step):
                if not done[index]:
                    found[index][0].append(token)
                    found[index][1].append(scores)
                    done[index] = token in self.stops(body)
            if all(done):
                break
        return found

    @torch.no_grad()
    def steps(
        self, model: PreTrainedModel | PeftModel, body: dict[str, Any], max_tokens: int
    ) -> Iterator[list[tuple[int, dict[int, float]]]]:
        """Each step's tokens, one a sample, and the log-probs of the top and of the sampled one."""
        n, count, temperature = body.get("n", 1), body.get("logprobs", 0), body.get("temperature", 1.0)
        # As vLLM does: one generator a sample, seeded in a row.
        generators = [torch.Generator() for _ in range(n)]
        for index, generator in enumerate(generators):
            generator.manual_seed(body["seed"] + index) if body.get("seed") is not None else generator.seed()
        ids, cache = torch.tensor([body["prompt"]] * n), None
        for _ in range(max_tokens):
            output = model(input_ids=ids, past_key_values=cache, use_cache=True)
            raw, cache = output.logits[:, -1].float(), output.past_key_values
            scores = raw / (temperature or 1.0)
            chosen = [self._draw(row, temperature, generators[index]) for index, row in enumerate(scores)]
            given = (scores if self.logprobs_mode.startswith("processed") else raw).clone()
            if self.logprobs_mode.endswith("logprobs"):
                given = given.log_softmax(dim=-1)
            tops = [[token, *row.topk(count).indices.tolist()] for token, row in zip(chosen, given, strict=True)]
            yield [
                (token, {each: row[each].item() for each in top})
                for token, top, row in zip(chosen, tops, given, strict=True)
            ]
            ids = torch.tensor(chosen)[:, None]

    @staticmethod
    def _draw(scores: Tensor, temperature: float, generator: torch.Generator) -> int:
        if temperature == 0:
            return int(scores.argmax())
        return int(torch.multinomial(scores.softmax(dim=-1), 1, generator=generator))


class Handler(BaseHTTPRequestHandler):
    server: VLLMLike
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer({})

    def do_POST(self) -> None:
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def answer(self, body: dict[str, Any]) -> None:
        server = self.server
        if server.dead:
            self.close_connection = True
            return
        server.asked.append((self.path, body))
        if body.get("stream"):
            self.stream(body)
            return
        with server.lock:
            try:
                reply, status = self.reply(body), 200
            except Refused as refusal:
                reply, status = refusal.body, refusal.status
        data = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
        with suppress(ConnectionError):  # the client may have given up
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(reply, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def stream(self, body: dict[str, Any]) -> None:
        """Server-sent events; a client that goes ends them."""
        try:
            with self.server.lock:
                events = self.reply(body)
                first = next(events)
        except Refused as refusal:
            self.send_error_body(refusal)
            return
        self.server.begun += 1
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for event in chain([first], events, ["[DONE]"]):
                if event is not None:
                    data = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")
        except ConnectionAbortedError:
            self.close_connection = True
        except ConnectionError:
            self.server.aborted += 1
            self.close_connection = True

    def send_error_body(self, refusal: Refused) -> None:
        data = json.dumps(refusal.body).encode()
        self.send_response(refusal.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def reply(self, body: dict[str, Any]) -> Any:
        server = self.server
        if server.busy:
            server.busy -= 1
            raise Refused(server.busy_status, "ServiceUnavailable", "busy")
        if server.key is not None and self.headers.get("Authorization") != f"Bearer {server.key}":
            raise Refused(401, "Unauthorized", "Unauthorized")
        paths = {"/v1/models": lambda _: server.models(), "/v1/completions": server.complete}
        if server.runtime_updating:
            paths |= {"/v1/load_lora_adapter": server.load, "/v1/unload_lora_adapter": server.unload}
        if self.path not in paths:
            refusal = Refused(404, "", "")
            refusal.body = {"detail": "Not Found"}  # the framework's own
            raise refusal
        return server.chunks(body) if body.get("stream") else paths[self.path](body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(base: Path, quantization: Quantization = "none", like: VLLMLike | None = None) -> Iterator[VLLMLike]:
    """A running server."""
    server = VLLMLike(base, quantization, like)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
