"""Whether a server stands a load for minutes: `python -m tools.soak_serving --adapters DIR --records R.jsonl…`.

Starts `serve` in a process of its own (what stands after `--` goes to it; --url takes one that runs). Every question is
asked once alone. Then 64 clients ask for two minutes, streaming or not, through all adapters, and every answer must be
the one that its question got alone: its tokens, with their probabilities. (Where two tokens are as likely, rounding may
choose either; one answer in a hundred may part there, of the same adapter and prompt.) Some clients are cut off in the
middle, some send what is no request. After that each adapter by itself is measured against all of them mixed.

Exit code 1 where one of these does not hold: no answer lost, swapped or given twice; no error but 429 with Retry-After;
what is malformed gets its 4xx; the server is idle again within a second; its memory is flat; mixed adapters give at
least 70 % of one adapter's tokens a second.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import openai
import psutil

from qwen_lightning.tasks.registry import TaskRegistry
from tools.soak.answers import Said, answer, tell_apart
from tools.soak.findings import Findings
from tools.soak.load import Load, Tally
from tools.soak.questions import Question, make_questions, read_records
from tools.soak.server import Target, serving
from tools.soak.throughput import Bench

_EVERY = 0.5  # seconds between samples of the memory


def parser() -> argparse.ArgumentParser:
    """Its options."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = found.add_mutually_exclusive_group(required=True)
    where.add_argument("--adapters", metavar="DIR", help="start `serve` on them")
    where.add_argument("--url", help="a server that runs, such as http://127.0.0.1:8000")
    found.add_argument("--key", default="none", help="API key of --url")
    found.add_argument("--pid", type=int, help="process of --url, whose memory is watched")
    found.add_argument("--records", nargs="+", required=True, type=Path, metavar="R.jsonl")
    found.add_argument("--clients", type=int, default=64)
    found.add_argument("--seconds", type=float, default=120.0, help="of the load")
    found.add_argument("--answers", type=int, default=0, help="the load goes on until there are so many")
    found.add_argument("--questions", type=int, default=240)
    found.add_argument("--max-tokens", type=int, default=64, help="longest answer")
    found.add_argument("--timeout", type=float, default=60.0, help="seconds after which an answer is lost")
    found.add_argument(
        "--tolerance", type=float, default=1e-4, help="of a token's log-prob between two batches; fp32 takes 1e-5"
    )
    found.add_argument(
        "--together", type=int, default=32, metavar="N", help="requests at once for throughput; at most `--running`"
    )
    found.add_argument("--turn-seconds", type=float, default=4.0, help="of each measurement of throughput")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--output", type=Path, metavar="R.json", help="where the numbers go")
    found.add_argument(
        "serve", nargs="*", metavar="-- ARGUMENTS", help="for `serve`; --running 32 --waiting 16 unless they differ"
    )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
    args = parser().parse_args(argv)
    server: AbstractContextManager[Target]
    if args.url is None:
        # Less room than there are clients: some must be told to come again.
        server = serving(args.adapters, ["--running", "32", "--waiting", "16", *args.serve])
    else:
        process = None if args.pid is None else psutil.Process(args.pid)
        server = nullcontext(Target(args.url.rstrip("/"), args.key, process))
    with server as target:
        return asyncio.run(_soak(target, args))


async def _soak(target: Target, args: argparse.Namespace) -> int:
    tasks = TaskRegistry()
    records = read_records(tasks, args.records, args.seed)
    async with openai.AsyncOpenAI(
        base_url=f"{target.url}/v1", api_key=target.key, max_retries=5, timeout=args.timeout
    ) as client:
        models = [model.id for model in (await client.models.list()).data]
        questions = make_questions(records, models, args.questions, args.max_tokens, args.seed)
        known = await _ask_alone(client, questions, args.tolerance)
    adapters = [model for model in models if model != "base"]
    marked = [(question, said) for question, said in known if question.marker]
    bearing = sum(said.bears(question.marker) for question, said in marked)
    print(
        f"{len(known)} questions, whose answers alone tell all of them apart ({len(questions) - len(known)} more were "
        f"left out); of {len(marked)} with words of their own, {bearing} answers bear them",
        flush=True,
    )
    tally, memory = Tally(), list[float]()
    watching = asyncio.create_task(_watch(target, memory))
    began = time.monotonic()
    await Load(target, known, args.clients, args.tolerance, args.timeout, args.seed).run(
        args.seconds, args.answers, tally
    )
    seconds = time.monotonic() - began
    watching.cancel()
    idle = await _until_idle(target)
    metrics = target.metrics()
    bench = Bench(target, adapters, args.together)
    speed = await bench.run(tasks, records, 2 * len(adapters), args.turn_seconds)
    asked = frozenset(said.head[0] for _, said in known)
    found = Findings(args.clients, seconds, tally, memory, idle, metrics, speed, asked, frozenset(models))
    found.print()
    if args.output is not None:
        found.write(args.output)
    return 0 if all(condition.held for condition in found.conditions()) else 1


async def _ask_alone(
    client: openai.AsyncOpenAI, questions: Sequence[Question], tolerance: float
) -> list[tuple[Question, Said]]:
    """Each question's answer without load; a question whose answer could be taken for another's is left out."""
    known: list[tuple[Question, Said]] = []
    for question in questions:
        said = await answer(client, question, stream=False)
        if all(tell_apart(said, other, tolerance) for _, other in known):
            known.append((question, said))
    return known


async def _watch(target: Target, memory: list[float]) -> None:
    while target.process is not None:
        memory.append(target.rss())
        await asyncio.sleep(_EVERY)


async def _until_idle(target: Target) -> float:
    """Seconds until nothing is held any more; those of clients that went are part of it."""
    began = time.monotonic()
    while time.monotonic() - began < 30:
        metrics = target.metrics()
        if not any(metrics[name] for name in ("running", "waiting", "cache_taken_tokens")):
            break
        await asyncio.sleep(0.02)
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
