"""`serve`: an OpenAI-compatible server that routes each request to its adapter."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from qwen_lightning.commands.workbench import add_config_argument, load_planner
from qwen_lightning.errors import AdapterError, ConfigError
from qwen_lightning.serving.limits import Limits
from qwen_lightning.serving.router import BASE

if TYPE_CHECKING:
    from qwen_lightning.serving.adapters import AdapterLibrary
    from qwen_lightning.serving.api import HTTPSettings
    from qwen_lightning.serving.service import ChatService, RequestLimits


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
    parser.add_argument("--quantization", choices=("nf4", "none"), help="the manifests' unless given")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), help="bfloat16 on a GPU and float32 without, unless given"
    )
    numbers = (
        ("--default-tokens", 512, "longest completion where a request names no limit"),
        ("--max-tokens", None, "longest completion that a request may ask for"),
        ("--running", 64, "completions decoded at once"),
        ("--waiting", 256, "completions that wait; more get 429"),
        ("--length", None, "tokens of a prompt and its completion; the model's unless given"),
        ("--cache-tokens", None, "tokens whose keys and values are held; planned from free memory unless given"),
        ("--loaded-adapters", 8, "adapters on the backbone at once"),
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
    add_config_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes.

    Raises:
        AdapterError: An adapter's folder is corrupt, or does not fit the others.
        ConfigError: A setting cannot be meant, or the port cannot be had.
    """
    # What can be wrong is found before the model is loaded.
    limits = Limits(args.running, args.waiting, args.length, args.cache_tokens, adapters=args.loaded_adapters)
    if args.grace < 0:
        raise ConfigError(f"--grace is {args.grace}; it must be at least 0")
    keys = _keys(args.api_key_env)

    from qwen_lightning.serving.api import HTTPSettings, create_app
    from qwen_lightning.serving.server import Server
    from qwen_lightning.serving.service import RequestLimits

    settings = HTTPSettings(keys, args.body_bytes)
    asked = RequestLimits(args.default_tokens, args.max_tokens)
    bound = Server.listen(args.host, args.port)
    try:
        service = load_service(args, limits, asked)
        try:
            host, port = bound.getsockname()[:2]
            _announce(service, settings, f"http://{f'[{host}]' if ':' in host else host}:{port}")
            Server(create_app(service, settings), service.engine, args.host, port, args.grace).run_until_signal(bound)
        finally:
            service.engine.close()
            service.close()
    finally:
        bound.close()
    return 0


def load_service(args: argparse.Namespace, limits: Limits, asked: RequestLimits) -> ChatService:
    """Load router, adapters and backbone."""
    import torch

    from qwen_lightning.models.backbone import DType, Quantization, load_backbone
    from qwen_lightning.models.chat import ChatRenderer
    from qwen_lightning.serving.adapters import AdapterLibrary
    from qwen_lightning.serving.checking import AnswerChecker
    from qwen_lightning.serving.engine import Engine
    from qwen_lightning.serving.service import ChatService

    library = AdapterLibrary.open(args.adapters)
    _check_names(library)
    planner = load_planner(args.config, args.adapters)
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


def _announce(service: ChatService, settings: HTTPSettings, address: str) -> None:
    guarded = "with" if settings.api_keys else "without"
    names = ", ".join(service.engine.library)
    print(f"Serving {names} on {address}/v1 {guarded} an API key, and a page to try it on {address}/", flush=True)


def _check_names(library: AdapterLibrary) -> None:
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
