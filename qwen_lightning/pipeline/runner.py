"""Trains the stages in order, and starts again where it stopped."""

from __future__ import annotations

import json
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import yaml
from pydantic import TypeAdapter

from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.errors import AdapterError, ConfigError, RedLineStop, SignalStop, StageError
from qwen_lightning.pipeline.config import PipelineConfig
from qwen_lightning.pipeline.fingerprint import Fingerprint, config_sha256, data_hashes, fingerprint
from qwen_lightning.pipeline.plan import StagePlan, check_chain
from qwen_lightning.pipeline.processes import Processes
from qwen_lightning.pipeline.results import RESULTS, write_results
from qwen_lightning.pipeline.state import PipelineState, StageState

_PLANS = TypeAdapter(dict[str, StagePlan])


def run_pipeline(config: PipelineConfig) -> str:
    """Train what is not trained yet.

    A stage is finished when its adapter was trained from the very configs, records, databases, base and parent adapter
    that are there now. One that is not goes on from the last checkpoint of its run, or begins.

    Returns:
        The table of all adapters.

    Raises:
        ConfigError: Stages that cannot be meant, found before the first one trains.
        RedLineStop: A red line stopped a stage; those after it do not run.
        SignalStop: A signal ended the pipeline; the same command goes on.
        StageError: A stage ended without its adapter.
    """
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"folder {config.folder}: cannot be made: {error.strerror}") from None
    with Processes(config.folder) as processes:
        return _Pipeline(config, PipelineState.read(config.folder), processes).run()


class _Pipeline:
    def __init__(self, config: PipelineConfig, state: PipelineState, processes: Processes) -> None:
        self.folder, self.state, self.processes = config.folder, state, processes
        overlays = self._write_overlays(config)
        self.configs = {name: [*configs, *overlays] for name, configs in config.stages.items()}

    def run(self) -> str:
        plans = self._plans()
        check_chain(plans)
        manifests = {name: self._stage(name, plan) for name, plan in plans.items()}
        table = write_results(self.folder, manifests)
        return f"{table}\nAlso in {self.folder / RESULTS}.md and .json."

    # ------------------------------------------------------------------ plans

    def _plans(self) -> dict[str, StagePlan]:
        """What every stage reads and writes; made anew, with torch, when a config or a record has changed."""
        hashes = {name: _config_sha256(name, configs) for name, configs in self.configs.items()}
        if hashes == self.state.configs and list(hashes) == list(self.state.plans) and self._records_are_those():
            return self.state.plans
        print(f"Checking configs and records: {', '.join(self.configs)}", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            output, errors = Path(scratch) / "plans.json", Path(scratch) / "errors"
            command = [sys.executable, "-m", "qwen_lightning.stage_plans", json.dumps(self.configs), str(output)]
            with open(errors, "wb") as handle:
                code = self.processes.run(command, handle)
            self.processes.stop_if_signalled()
            if code:
                said = errors.read_text(encoding="utf-8", errors="replace").strip()
                if code == ConfigError.exit_code:
                    raise ConfigError(said.splitlines()[-1])
                raise StageError(f"{said}\nthe stages' configs could not be checked (exit code {code})")
            plans = _PLANS.validate_json(output.read_bytes())
        self.state.configs, self.state.plans = hashes, plans
        self.state.write(self.folder)
        return plans

    def _records_are_those(self) -> bool:
        try:
            return all(data_hashes(plan.sources) == plan.data for plan in self.state.plans.values())
        except ConfigError:  # a file is gone: the check says so, with its stage
            return False

    def _write_overlays(self, config: PipelineConfig) -> list[str]:
        """The settings laid over all stages, as configs of `fit`."""
        folder = self.folder / "configs"
        folder.mkdir(exist_ok=True)
        paths = []
        for number, overlay in enumerate(config.overlays, start=1):
            path = folder / f"overlay_{number}.yaml"
            path.write_text(yaml.safe_dump(overlay, allow_unicode=True, sort_keys=False), encoding="utf-8")
            paths.append(str(path))
        return paths

    # ------------------------------------------------------------------ stages

    def _stage(self, name: str, plan: StagePlan) -> Manifest:
        """Bring a stage to its end, if it is not there, and return its adapter's manifest.

        Raises:
            RedLineStop: It ended, now or earlier, by a red line.
        """
        self.processes.stop_if_signalled()
        parent = None if plan.adapter is None else Manifest.read(plan.adapter).sha256
        wanted = fingerprint(plan, parent)
        run = Path(plan.runs) / wanted.run
        manifest, missing = _written_by(run, plan)
        if manifest is None:
            print(f"\n== {name}: {self._why(name, wanted, run, missing)}", flush=True)
            manifest = self._train(name, plan, wanted, run)
        else:
            print(f"== {name}: finished already, {plan.writes} ({manifest.steps} steps)", flush=True)
        self._note(name, wanted, run, "stopped" if manifest.stop else "finished")
        if manifest.stop:
            raise RedLineStop(
                f"stage {name}: {manifest.stop}; the stages after it do not run. To train it anew, change its config "
                "or its records"
            )
        return manifest

    def _train(self, name: str, plan: StagePlan, wanted: Fingerprint, run: Path) -> Manifest:
        self._note(name, wanted, run, "running")
        place = self.folder / "configs" / f"run_{name}.yaml"
        place.write_text(
            "# Where the run lies, so that the pipeline finds its checkpoints again.\n"
            + yaml.safe_dump({"trainer": {"logger": {"init_args": {"version": run.name}}}}),
            encoding="utf-8",
        )
        configs = [part for path in [*plan.configs, str(place)] for part in ("-c", path)]
        resumed = last_checkpoint(run)
        resume = [] if resumed is None else ["--ckpt_path", str(resumed)]
        started = time.monotonic()
        code = self.processes.run([sys.executable, "-m", "qwen_lightning", "fit", *configs, *resume])
        self.state.stages[name].seconds += time.monotonic() - started
        manifest, missing = _written_by(run, plan)
        if manifest is not None and code in (0, RedLineStop.exit_code):
            return manifest
        self.state.write(self.folder)
        again = last_checkpoint(run)
        rest = f"the same command goes on from {again or 'its beginning'}"
        if self.processes.received or code == SignalStop.exit_code:
            what = self.processes.received.name if self.processes.received else "a signal to the stage"
            raise SignalStop(f"{what}: stopped in stage {name}; {rest}")
        if code < 0:
            raise StageError(f"stage {name} was killed by signal {-code}; {rest}")
        raise StageError(
            f"stage {name} ({plan.place}): fit ended with exit code {code}"
            + (f" ({missing})" if code == 0 else ", and says why above")
            + f"; {rest}"
            + (f"; remove {run} to train it from its beginning" if again else "")
        )

    def _why(self, name: str, wanted: Fingerprint, run: Path, missing: str) -> str:
        """Why a stage runs, in words."""
        known, resumed = self.state.stages.get(name), last_checkpoint(run)
        if resumed is not None:
            return f"goes on from {resumed}"
        if known is None or (known.status == "running" and known.fingerprint == wanted):
            return "begins"
        return f"trains anew: {wanted.difference(known.fingerprint) or missing}"

    def _note(self, name: str, wanted: Fingerprint, run: Path, status: str) -> None:
        known = self.state.stages.get(name)
        seconds = known.seconds if known is not None and known.fingerprint == wanted else 0.0
        entry = StageState.model_validate(
            {"status": status, "fingerprint": wanted, "run": str(run), "seconds": seconds}
        )
        if entry != known:
            self.state.stages[name] = entry
            self.state.write(self.folder)


def last_checkpoint(run: Path) -> Path | None:
    """The latest whole checkpoint in a run's folder."""
    found = [path for path in run.rglob("*.ckpt") if zipfile.is_zipfile(path)]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def _written_by(run: Path, plan: StagePlan) -> tuple[Manifest | None, str]:
    """The manifest of a stage's adapter where this run wrote it, or else why it counts for nothing."""
    try:
        manifest = Manifest.read(plan.writes)
    except AdapterError as error:
        return None, str(error)
    if manifest.run is None or Path(manifest.run).resolve() != run.resolve():
        return None, f"{plan.writes} is of another run"
    return manifest, ""


def _config_sha256(name: str, configs: list[str]) -> str:
    try:
        return config_sha256(configs)
    except ConfigError as error:
        raise ConfigError(f"stage {name}: {error}") from None
