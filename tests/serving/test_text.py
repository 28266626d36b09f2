"""Text piece by piece is the whole text, up to the first stop string."""

from __future__ import annotations

from random import Random

import pytest

from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.serving.text import TextStream, token_bytes

TEXT = "SELECT 名字, 'naïve — 🙂👩‍💻' FROM 客户;\n\n<tool_call>{\"a\": 1}</tool_call> end"


def pieces(renderer: ChatRenderer, ids: list[int], stop: tuple[str, ...] = ()) -> tuple[list[str], TextStream]:
    stream = TextStream(renderer, stop)
    return [*(stream.add(token) for token in ids), stream.end()], stream


@pytest.fixture(scope="session")
def ids(renderer: ChatRenderer) -> list[int]:
    found = renderer.tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert len(found) > len(TEXT) / 2  # many tokens are parts of characters
    return found


def test_characters_come_whole(renderer: ChatRenderer, ids: list[int]) -> None:
    found, stream = pieces(renderer, ids)
    assert "".join(found) == TEXT
    assert "\ufffd" not in "".join(found)
    assert sum(map(bool, found)) > 20
    assert stream.stopped is None


def test_bytes_of_tokens_are_the_texts(renderer: ChatRenderer, ids: list[int]) -> None:
    found = [token_bytes(renderer, token) for token in ids]
    assert b"".join(found).decode() == TEXT
    broken = [part for part in found if "\ufffd" in part.decode("utf-8", "replace")]
    assert len(broken) > 10


def test_any_ids_are_the_renderers_text(renderer: ChatRenderer) -> None:
    random = Random(0)
    for _ in range(300):
        own = [random.randrange(len(renderer.tokenizer)) for _ in range(random.randint(0, 30))]
        assert "".join(pieces(renderer, own)[0]) == renderer.decode(own)


def test_nothing_follows_the_end_of_turn(renderer: ChatRenderer, ids: list[int]) -> None:
    found, _ = pieces(renderer, [*ids[:10], renderer.end_of_turn, *ids[10:]])
    assert "".join(found) == renderer.decode(ids[:10])


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ((";",), "SELECT 名字, 'naïve — 🙂👩‍💻' FROM 客户"),
        ((";\n\n", "户;", "zzz"), "SELECT 名字, 'naïve — 🙂👩‍💻' FROM 客"),
        (("<tool_call>",), TEXT.partition("<tool_call>")[0]),
        (("SELECT",), ""),
        (("endless", " end of"), TEXT),  # held back, and given in the end
        (("",), TEXT),
        (("🙂👩",), "SELECT 名字, 'naïve — "),
    ],
)
def test_stop_strings(renderer: ChatRenderer, ids: list[int], stop: tuple[str, ...], text: str) -> None:
    found, stream = pieces(renderer, ids, stop)
    assert "".join(found) == text
    assert (stream.stopped in stop and text != TEXT) or (stream.stopped is None and text == TEXT)
    for end in range(len(ids)):  # nothing was sent that a stop string would have taken back
        assert text.startswith("".join(found[:end]))
