"""Persona: plain chat in a voice of its own, trained by SFT alone."""

from qwen_lightning.records import PersonaRecord
from qwen_lightning.tasks.base import Task


class Persona(Task[PersonaRecord]):
    """Chat without a tag; the persona's description comes as the history's system turn."""

    name = "persona"
    record_type = PersonaRecord

    def tag(self, record: PersonaRecord) -> None:
        return None

    def system(self, record: PersonaRecord) -> str:
        return ""
