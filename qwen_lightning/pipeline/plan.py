"""What a stage reads, starts from and writes, as its configs say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from qwen_lightning.adapters.manifest import MANIFEST_FILE, Manifest
from qwen_lightning.errors import AdapterError, ConfigError

#: A run of the pipeline is named so, before the fingerprint of what it read.
RUN_PREFIX = "pipeline-"


class StagePlan(BaseModel):
    """One stage.

    Args:
        configs: What `fit -c` is given.
        stage: `sft` or `grpo`.
        base_model: Hub id or folder of the backbone.
        quantization: How the backbone is quantised.
        adapter: Adapter folder that it starts from; None starts at the bare backbone.
        writes: Adapter folder that it writes.
        name: The adapter's name.
        tasks: Tasks that it trains, general aside.
        sources: Setting of the data module to the paths that it is given.
        data: File to SHA-256, for all that these settings name.
        databases: Databases folders of its executors.
        runs: Folder that its runs lie in.
    """

    model_config = ConfigDict(extra="forbid")

    configs: list[str]
    stage: str
    base_model: str
    quantization: str
    adapter: str | None
    writes: str
    name: str
    tasks: list[str]
    sources: dict[str, list[str]]
    data: dict[str, str]
    databases: list[str]
    runs: str

    @property
    def place(self) -> str:
        """The configs, for a message."""
        return ", ".join(self.configs)


def check_chain(plans: Mapping[str, StagePlan]) -> None:
    """Refuse stages that do not hang together.

    Raises:
        ConfigError: A stage starts from what is not there by then, from another base, or from the persona with GRPO;
            two stages write one folder; or an adapter that no pipeline trained would be overwritten.
        AdapterError: The adapter that a stage starts from is damaged.
    """
    written: dict[Path, str] = {}
    persona: dict[str, bool] = {}
    for name, plan in plans.items():
        target = Path(plan.writes).resolve()
        if target in written:
            raise ConfigError(
                f"stage {name} ({plan.place}): AdapterCheckpoint.dirpath: {plan.writes} is what stage "
                f"{written[target]} writes; give each its own"
            )
        parent = _parent(name, plan, plans, written)
        inherits = parent.is_persona if isinstance(parent, Manifest) else persona.get(parent or "", False)
        if inherits and plan.stage == "grpo":
            raise ConfigError(
                f"stage {name} ({plan.place}): model.adapter: {plan.adapter} has the persona in it; persona never "
                "meets GRPO: start from base-sft"
            )
        base = _base(parent, plans)
        if base is not None and base != (plan.base_model, plan.quantization):
            raise ConfigError(
                f"stage {name} ({plan.place}): model.name_or_path: {plan.base_model} ({plan.quantization}) is not what "
                f"{plan.adapter} is trained on, {base[0]} ({base[1]}); give the same base"
            )
        _refuse_foreign(name, plan)
        persona[name] = inherits or "persona" in (plan.name, *plan.tasks)
        written[target] = name


def _parent(
    name: str, plan: StagePlan, plans: Mapping[str, StagePlan], written: Mapping[Path, str]
) -> str | Manifest | None:
    """The earlier stage that writes what this one starts from, or that adapter's manifest where none does."""
    if plan.adapter is None:
        return None
    start = Path(plan.adapter).resolve()
    if start in written:
        return written[start]
    later = [other for other, its in plans.items() if Path(its.writes).resolve() == start]
    if later:
        why = "is its own" if later == [name] else f"is written by stage {later[0]}, which comes after it"
        raise ConfigError(f"stage {name} ({plan.place}): model.adapter: {plan.adapter} {why}; put that stage before it")
    if not start.is_dir():
        raise ConfigError(
            f"stage {name} ({plan.place}): model.adapter: {plan.adapter} is no adapter folder, and no earlier stage "
            "writes it"
        )
    return Manifest.read(plan.adapter)


def _base(parent: str | Manifest | None, plans: Mapping[str, StagePlan]) -> tuple[str, str] | None:
    if parent is None:
        return None
    source = plans[parent] if isinstance(parent, str) else parent
    return source.base_model, source.quantization


def _refuse_foreign(name: str, plan: StagePlan) -> None:
    """Refuse to overwrite an adapter that took somebody hours."""
    folder = Path(plan.writes)
    if not (folder / MANIFEST_FILE).exists():
        return
    try:
        run = Manifest.read(folder).run
    except AdapterError as error:
        raise ConfigError(
            f"stage {name} ({plan.place}): AdapterCheckpoint.dirpath: {folder} holds what cannot be read as an adapter "
            f"of a pipeline ({error}); move it away"
        ) from None
    if run is None or not Path(run).name.startswith(RUN_PREFIX):
        raise ConfigError(
            f"stage {name} ({plan.place}): AdapterCheckpoint.dirpath: {folder} holds an adapter that no pipeline "
            "trained; move it away, or take the stage out to start the others from it"
        )
