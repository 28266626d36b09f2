"""`serve`: an OpenAI-compatible server that routes each request to its adapter."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from qwen_lightning.commands.workbench import add_workbench_arguments, load_planner
from qwen_lightning.errors import AdapterError, ConfigError
from qwen_lightning.serving.limits import Limits
from qwen_lightning.serving.routing.router import BASE

if TYPE_CHECKING:
    from qwen_lightning.serving.http.api import HTTPSettings
    from qwen_lightning.serving.library import ServedAdapter
    from qwen_lightning.serving.service import ChatService, RequestLimits

#: Settings of the model in this process, and how vLLM is told the like.
_NOT_VLLM = {
    "quantization": "--quantization",
    "dtype": "--dtype",
    "cache_tokens": "--gpu-memory-utilization",
    "loaded_adapters": "--max-loras",
}
_LONGEST_GRACE = 86400
_VLLM_ALONE = ("url", "url_key_env", "url_timeout", "served_model")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--adapters", required=True, metavar="DIR", help="folder of adapters of one backbone")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 takes a free one")
    parser.add_argument(
        "--api-key-env", metavar="NAME", help="environment variable with the keys that clients may use, a comma between"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="check answers as their task does in training, as far as that needs no gold, and ask once more on a fault",
    )
    parser.add_argument("--model", metavar="M", help="backbone, hub id or folder; the manifests' unless given")
    parser.add_argument(
        "--backend",
        choices=("engine", "vllm"),
        default="engine",
        help="what completes prompts: this process, or the vLLM server at --url, which has the same adapters (engine)",
    )
    parser.add_argument("--url", metavar="URL", help="address of the vLLM server, such as http://gpu:8000")
    parser.add_argument("--url-key-env", metavar="NAME", help="environment variable with the vLLM server's key")
    parser.add_argument(
        "--url-timeout", type=float, metavar="S", help="seconds of vLLM's silence that end a completion (120)"
    )
    parser.add_argument(
        "--served-model", metavar="NAME", help="the backbone's name at vLLM, where it has another there"
    )
    parser.add_argument("--quantization", choices=("nf4", "none"), help="the manifests' unless given")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), help="bfloat16 on a GPU and float32 without, unless given"
    )
    numbers = (
        ("--default-tokens", 512, "longest completion where a request names no limit"),
        ("--max-tokens", None, "longest completion that a request may ask for"),
        ("--running", None, "completions decoded at once (64; 256 at vLLM)"),
        ("--waiting", 256, "completions that wait; more get 429"),
        ("--length", None, "tokens of a prompt and its completion; the model's unless given"),
        ("--cache-tokens", None, "tokens whose keys and values are held; planned from free memory unless given"),
        ("--loaded-adapters", None, "adapters on the backbone at once (8)"),
        ("--body-bytes", 1 << 20, "longest body of a request"),
    )
    for flag, default, text in numbers:
        told = text if default is None else f"{text} ({default})"
        parser.add_argument(flag, type=int, default=default, metavar="N", help=told)
    parser.add_argument(
        "--grace",
        type=float,
        default=30.0,
        metavar="S",
        help="seconds for requests under way when the server ends (30)",
    )
    add_workbench_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes.

    Raises:
        AdapterError: An adapter's folder is corrupt, or does not fit the others.
        ConfigError: A setting cannot be meant, the port cannot be had, or vLLM does not serve the adapters.
        EngineFailedError: The model was lost.
    """
    # What can be wrong is found before the model is loaded.
    limits = limits_of(args)
    if not 0 <= args.grace <= _LONGEST_GRACE:
        raise ConfigError(f"--grace is {args.grace}; it must be at least 0, and at most {_LONGEST_GRACE}")
    keys = _keys(args.api_key_env)

    from qwen_lightning.serving.http.api import HTTPSettings, create_app
    from qwen_lightning.serving.http.server import Server
    from qwen_lightning.serving.http.sites import is_loopback
    from qwen_lightning.serving.service import RequestLimits

    settings = HTTPSettings(keys, args.body_bytes)
    asked = RequestLimits(args.default_tokens, args.max_tokens)
    bound = Server.listen(args.host, args.port)
    try:
        settings = replace(settings, loopback=args.host if is_loopback(bound.getsockname()[0]) else None)
        service = load_service(args, limits, asked)
        try:
            host, port = bound.getsockname()[:2]
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            app, announce = create_app(service, settings), partial(_announce, service, settings, address)
            Server(app, service.engine, args.host, port, args.grace, announce).run_until_signal(bound)
        finally:
            service.engine.close()
            service.close()
    finally:
        bound.close()
    return 0


def load_service(args: argparse.Namespace, limits: Limits, asked: RequestLimits) -> ChatService:
    """Load router and adapters, and the backbone or what vLLM says of it."""
    if args.backend == "vllm":
        return _through_vllm(args, limits, asked)
    import torch

    from qwen_lightning.models.backbone import DType, Quantization, load_backbone
    from qwen_lightning.models.chat import ChatRenderer
    from qwen_lightning.serving.checking import AnswerChecker
    from qwen_lightning.serving.engine.adapters import AdapterLibrary
    from qwen_lightning.serving.engine.engine import Engine
    from qwen_lightning.serving.service import ChatService

    library = AdapterLibrary.open(args.adapters)
    _check_names(library)
    planner = load_planner(args.config, args.adapters, args.databases)
    manifest = library.manifest
    assert manifest is not None  # a library that was opened has an adapter
    name = args.model or manifest.base_model
    revision = manifest.base_revision if name == manifest.base_model else None
    cuda = torch.cuda.is_available()
    dtype: DType = args.dtype or ("bfloat16" if cuda else "float32")
    quantization = cast(Quantization, args.quantization or manifest.quantization)
    try:
        renderer = ChatRenderer.from_pretrained(name, revision)
        backbone = load_backbone(name, quantization, dtype, "cuda" if cuda else "cpu", revision)
        engine = Engine(backbone, library, renderer.eos_ids, limits)
    except BaseException:
        planner.tasks.close()
        raise
    return ChatService(engine, planner, renderer, AnswerChecker(planner.tasks, args.verify), asked)


def _through_vllm(args: argparse.Namespace, limits: Limits, asked: RequestLimits) -> ChatService:
    """Load router, manifests and tokenizer; the weights are at vLLM.

    Raises:
        ConfigError: vLLM cannot be reached, or has not what is to be served.
    """
    from qwen_lightning.models.chat import ChatRenderer
    from qwen_lightning.serving.checking import AnswerChecker
    from qwen_lightning.serving.service import ChatService
    from qwen_lightning.serving.vllm.client import VLLMSettings
    from qwen_lightning.serving.vllm.engine import VLLMEngine
    from qwen_lightning.serving.vllm.survey import ManifestLibrary

    key = None
    if args.url_key_env is not None and not (key := os.environ.get(args.url_key_env, "").strip()):
        raise ConfigError(f"--url-key-env {args.url_key_env}: the variable is not set, or holds no key")
    settings = VLLMSettings(args.url, key, 120.0 if args.url_timeout is None else args.url_timeout)
    library = ManifestLibrary.open(args.adapters)
    _check_names(library)
    manifest = library.manifest
    assert manifest is not None  # a library that was opened has an adapter
    name = args.model or manifest.base_model
    renderer = ChatRenderer.from_pretrained(name, manifest.base_revision if name == manifest.base_model else None)
    planner = load_planner(args.config, args.adapters, args.databases)
    try:
        engine = VLLMEngine(settings, library, name, renderer.eos_ids, limits, args.served_model)
    except BaseException:
        planner.tasks.close()
        raise
    return ChatService(engine, planner, renderer, AnswerChecker(planner.tasks, args.verify), asked)


def limits_of(args: argparse.Namespace) -> Limits:
    """What the backend takes on.

    Raises:
        ConfigError: A limit cannot be meant, or a setting is not one of this backend's.
    """
    vllm = args.backend == "vllm"
    for name in _NOT_VLLM if vllm else _VLLM_ALONE:
        if getattr(args, name) is not None:
            other = f"engine; vLLM is started with its own {_NOT_VLLM[name]}" if vllm else "vllm"
            raise ConfigError(f"--{name.replace('_', '-')} goes with --backend {other}")
    if vllm and args.url is None:
        raise ConfigError("--backend vllm needs --url, such as http://gpu:8000")
    running = args.running if args.running is not None else 256 if vllm else 64
    adapters = 8 if args.loaded_adapters is None else args.loaded_adapters
    return Limits(running, args.waiting, args.length, args.cache_tokens, adapters=adapters)


def _announce(service: ChatService, settings: HTTPSettings, address: str) -> None:
    guarded = "with" if settings.api_keys else "without"
    names = ", ".join(service.engine.library)
    print(f"Serving {names} on {address}/v1 {guarded} an API key, and a page to try it on {address}/", flush=True)


def _check_names(library: Mapping[str, ServedAdapter]) -> None:
    """`route` knows adapters by their folders: both must name the same."""
    for name, folder in library.items():
        if name == BASE:
            raise AdapterError(f"{folder.path}: {BASE!r} is the bare backbone's name; give the adapter another")
        if name != Path(folder.path).name:
            raise AdapterError(f"{folder.path} holds the adapter {name!r}; give the folder its name")


def _keys(variable: str | None) -> tuple[str, ...]:
    """The keys in an environment variable.

    Raises:
        ConfigError: It is not set, holds none, or one that no header can carry.
    """
    if variable is None:
        return ()
    keys = tuple(key.strip() for key in os.environ.get(variable, "").split(",") if key.strip())
    if not keys:
        raise ConfigError(f"--api-key-env {variable}: the variable is not set, or holds no key")
    if not all(key.isascii() for key in keys):
        raise ConfigError(f"--api-key-env {variable}: a key must be ASCII to be sent in a header")
    return keys
