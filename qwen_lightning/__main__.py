"""`python -m qwen_lightning`: one table of verbs."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from qwen_lightning.errors import QwenLightningError

#: Verbs of LightningCLI: they load torch.
TRAINER_VERBS = {
    "fit": "train a stage: Base-SFT, PERSONA, or one of the GRPO stages",
    "validate": "score an adapter on the regression records",
    "test": "score an adapter on test records",
    "predict": "write completions for records",
}
#: Verbs with a module of their own in `commands`; it is imported when its verb is called.
COMMANDS = {
    "check": "validate record files",
    "score": "judge completions as training does",
    "regress": "run a regression suite on an adapter",
    "serve": "answer chat requests over HTTP, each with its adapter, as OpenAI does",
    "route": "say which adapter answers a chat request, and why",
    "pipeline": "train all stages in order, and start again where it stopped",
    "export": "write an adapter folder, or merged weights, for serving",
    "report": "write one HTML page of a run: curves, brakes, before and after, samples",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb and return its exit code: 0, 2 (usage or data), 3 (red line), 4 (signal), 5 (model lost)."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        if args and args[0] in TRAINER_VERBS and args[1:] not in (["-h"], ["--help"]):
            return _run_trainer(args)
        parser = argparse.ArgumentParser(
            prog="python -m qwen_lightning", description="Train LoRA adapters of one backbone, with brakes."
        )
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        for verb, text in TRAINER_VERBS.items():
            _describe(verbs.add_parser(verb, help=text, description=text[0].upper() + text[1:] + "."), verb)
        for verb, text in COMMANDS.items():
            command = verbs.add_parser(verb, help=text, description=text[0].upper() + text[1:] + ".")
            if args and args[0] == verb:
                importlib.import_module(f"qwen_lightning.commands.{verb}").add_arguments(command)
        namespace = parser.parse_args(args)
        return importlib.import_module(f"qwen_lightning.commands.{namespace.verb}").run(namespace)
    except QwenLightningError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 2 if error.code else 0


def _describe(parser: argparse.ArgumentParser, verb: str) -> None:
    """Help of a trainer verb, without the seconds that it takes to load torch and read every signature."""
    parser.add_argument("-c", "--config", action="append", help="YAML; several compose, the later wins")
    parser.add_argument("--ckpt_path", metavar="CKPT", help="checkpoint to resume from")
    parser.add_argument("--print_config", action="store_true", help="print every setting with its value, and end")
    parser.add_argument("--KEY", metavar="VALUE", help="any setting, such as --model.learning_rate 1e-6")
    parser.add_argument(
        "--model.help", metavar="CLASS", help="what a class takes, such as GRPOModule; also --data.help"
    )
    parser.epilog = f"example: python -m qwen_lightning {verb} -c configs/grpo_sql.yaml -c configs/demo/grpo_sql.yaml"


def _run_trainer(args: list[str]) -> int:
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    from qwen_lightning import cli
    from qwen_lightning.errors import SignalStop

    try:
        cli.run(args)
    except (SIGTERMException, KeyboardInterrupt) as error:
        raise SignalStop("a signal ended the run before its first step; nothing was trained") from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
