"""`route`: which adapter answers a chat request, and why."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from qwen_lightning.commands.workbench import add_workbench_arguments, load_planner
from qwen_lightning.errors import RequestError
from qwen_lightning.serving.requests import read_request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--request", required=True, metavar="REQUEST.json", help="an OpenAI chat request")
    parser.add_argument(
        "--adapters", metavar="DIR", help="folder of adapters that are there; without one those that the config names"
    )
    add_workbench_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the decision as JSON.

    Raises:
        RequestError: The file holds no chat request, or one that names what there is not.
        ConfigError: The config or the adapters' folder cannot be used.
    """
    planner = load_planner(args.config, args.adapters, args.databases)
    request = read_request(args.request)
    try:
        decision = planner.plan(request).decision
    except RequestError as error:
        raise RequestError(error.field, error.fault, args.request) from None
    finally:
        planner.tasks.close()
    print(json.dumps(asdict(decision), ensure_ascii=False))
    return 0
