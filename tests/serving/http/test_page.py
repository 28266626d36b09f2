"""The page in Chromium, against a real server whose model says what a test wants to be said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from starlette.requests import Request
from starlette.responses import Response

from qwen_lightning.serving.http import api
from qwen_lightning.serving.http.api import HTTPSettings
from qwen_lightning.serving.http.database_api import DatabaseAPI
from tests.browser import Browser
from tests.conftest import REPOSITORY
from tests.serving.live import CALL, KEY, Held, Running, Serve, until, user

HOSTILE = [
    text
    for line in (REPOSITORY / "tests" / "fixtures" / "report" / "hostile.jsonl").read_text("utf-8").splitlines()
    if (text := json.loads(line).encode("utf-8", "replace").decode())
]
BOATS = """CREATE TABLE boats (id BIGINT, port TEXT, length DOUBLE PRECISION);
INSERT INTO boats VALUES (9007199254740993, 'Köln', 12.5), (2, NULL, 8.0), (3, '<b>Ghent</b>', 30.25);
"""
GRAPH = "CREATE (a:Boat {name: 'Ada', length: 12})-[:LIES_IN]->(b:Port {name: 'Köln', depth: 60})\n"
SQL = "SELECT port, COUNT(*) AS boats FROM boats GROUP BY port ORDER BY port NULLS LAST"

_WIDER = """[...document.querySelectorAll('body *')].filter(e => {
  for (let p = e; p; p = p.parentElement) if (/auto|hidden/.test(getComputedStyle(p).overflowX)) return false;
  return e.getBoundingClientRect().right > innerWidth + 1;
}).map(e => e.outerHTML.slice(0, 200))"""


class Page:
    """The page of a server, used as its user does; the newest answer is the one that is read."""

    def __init__(self, browser: Browser, server: Running, width: int = 1280, scheme: str = "light") -> None:
        self.browser, self.driver = browser, browser.driver
        self.origin = f"http://127.0.0.1:{server.port}/"
        self.driver.get("about:blank")  # the other server's page ends, and with it what it fetches
        browser.open(self.origin, width, scheme)
        self.until(lambda: self.count("#examples button") == 6)
        self.until(lambda: self.count("#examples button:enabled") == 6)  # the lists have come, or cannot

    def until(self, condition: Callable[[], object]) -> None:
        until(lambda: bool(condition()))

    def count(self, selector: str) -> int:
        return len(self.driver.find_elements("css selector", selector))

    def text(self, selector: str) -> str:
        """What stands there; empty where nothing is shown."""
        return self.driver.find_element("css selector", selector).text

    def said(self, selector: str) -> str:
        return self.text(f"article:first-of-type {selector}".strip())

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def write(self, selector: str, text: str) -> None:
        """Put a text in a field, whichever keys it would take."""
        node = self.driver.find_element("css selector", selector)
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.driver.execute_script(script, node, text)

    def example(self, name: str) -> None:
        self.driver.find_element("xpath", f"//*[@id='examples']/button[text()='{name}']").click()

    def press(self, selector: str, *keys: str) -> None:
        self.driver.find_element("css selector", selector).send_keys(*keys)

    def ask(self, text: str | None = None) -> None:
        """Ask by the keyboard, and wait for the end of the answer."""
        if text is not None:
            self.write("#question", text)
        before = self.count("article")
        self.press("#question", "\ue009", "\ue007")  # Control and Enter
        self.until(lambda: self.count("article") == before + 1 and not self.text("#stop"))

    def run(self, query: str) -> None:
        """Run another query beside the newest answer."""
        if not self.said(".edit .run"):
            self.click("article:first-of-type .edit summary")
        self.write("article:first-of-type .edit textarea", query)
        self.click("article:first-of-type .run")
        self.until(lambda: self.browser.run("!document.querySelector('article .run').disabled"))

    def table(self) -> list[list[str]]:
        script = "[...document.querySelector('article table').rows].map(r => [...r.cells].map(c => c.textContent))"
        return self.browser.run(script)

    def sent(self) -> dict:
        """The newest request."""
        return json.loads(self.browser.run("document.querySelector('article .sent pre').textContent"))


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("databases")
    (folder / "boats.sql").write_text(BOATS, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def both(databases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a graph too, which takes a Java machine to be asked."""
    folder = Path(shutil.copytree(databases, tmp_path_factory.mktemp("both") / "databases"))
    (folder / "ports.cypher").write_text(GRAPH, encoding="utf-8")
    return folder


def test_a_question_is_answered_with_its_adapter_verdict_and_result(
    serve: Serve, browser: Browser, databases: Path
) -> None:
    server = serve([SQL, "SELECT id FROM ships", SQL], verify=True, databases=databases)
    page = Page(browser, server)
    assert page.text("h1") == "Qwen Lightning"
    options = "[...document.querySelectorAll('{} option')].map(o => o.textContent)"
    assert [text.split(":")[0] for text in browser.run(options.format("#model"))] == [
        "auto",
        "fc",
        "slot",
        "sql",
        "base",
    ]
    assert browser.run(options.format("#database")) == ["none", "boats (SQL)"]
    page.example("SQL")
    assert browser.run("document.activeElement.id") == "question"
    assert browser.run("document.getElementById('question').value") == "How many boats are there for each port?"
    page.ask()
    assert (page.said(".adapter"), page.said(".task")) == ("sql", "text2sql")
    assert "DDL" in page.said(".why")
    assert page.said(".text") == SQL
    assert page.said(".verdict") == "✓ passed"
    assert "tokens read" in page.said(".figures")
    page.until(lambda: page.count("article td"))
    assert page.table() == [["port", "boats"], ["<b>Ghent</b>", "1"], ["Köln", "1"], ["NULL", "1"]]
    assert page.said(".outcome").startswith("boats: 3 rows in ")
    asked = page.sent()
    assert asked["metadata"] == {"database": "boats"}
    assert asked["messages"][0]["content"].startswith("CREATE TABLE boats (")
    assert "model" not in asked

    query = "SELECT id, length FROM boats WHERE length > 8 ORDER BY length"
    page.run(query)
    with duckdb.connect() as connection:
        rows = connection.execute(BOATS).execute(query).fetchall()
    assert page.table() == [["id", "length"], *([str(value) for value in row] for row in rows)]
    assert page.table()[1][0] == "9007199254740993"  # no JavaScript number
    page.run("""SELECT '<img src=x onerror=document.title=1>' AS "<script>", 'a' || chr(10) || 'b' AS "n" """)
    assert page.table() == [["<script>", "n"], ["<img src=x onerror=document.title=1>", "a\nb"]]
    assert page.count("img") == 0
    page.run(f"SELECT a.id FROM {', '.join(f'boats {name}' for name in 'abcdefg')}")
    assert page.said(".outcome").startswith("boats, your query: the first 1000 rows in ")
    assert len(page.table()) == 1001
    page.run("SELECT nothing FROM boats")
    assert "nothing" in page.said(".outcome")
    assert not page.said(".scroll")
    page.ask()
    assert (page.said(".text"), page.said(".verdict")) == (SQL, "✓ passed, repaired")
    failed = [line for line in browser.console() if "400 (Bad Request)" not in line]
    assert failed == []
    assert {address for address in browser.requests() if not address.startswith(page.origin)} == set()


@pytest.mark.parametrize("there", [True, False])
def test_each_example_goes_to_its_task(serve: Serve, browser: Browser, both: Path, there: bool) -> None:
    says = ["said", "MATCH (b:Boat) RETURN b.name AS name", *["said"] * 4]
    page = Page(browser, serve(says, databases=both if there else None))
    tasks = {
        "SQL": "text2sql",
        "Cypher": "text2cypher",
        "Function call": "function_call",
        "Slots": "slot_json",
        "Rewrite": "intent_rewrite",
        "Chat": "general",
    }
    for name, task in tasks.items():
        page.example(name)
        page.ask()
        assert page.said(".task") == task
        assert ("database" in page.sent().get("metadata", {})) == (there and name in ("SQL", "Cypher"))
        if name in ("SQL", "Cypher") and not there:
            assert page.said(".outcome").startswith("Choose a")
        elif name == "SQL":
            page.until(lambda: page.count("article .outcome.fault") and page.said(".outcome"))
        elif name == "Cypher":
            page.until(lambda: page.count("article td"))
            assert page.table() == [["name"], ["Ada"]]
    assert page.said(".verdict") == "– not checked"
    assert bool(page.text("#no-databases")) != there


def test_no_text_becomes_html(serve: Serve, browser: Browser) -> None:
    page = Page(browser, serve([*HOSTILE, CALL.replace("Köln", "<img src=x>")]))
    kinds = ["img", "svg", "iframe", "b", "i", "style", "script"]
    tags = f"[...document.querySelectorAll('*')].map(e => e.localName).filter(n => {kinds}.includes(n)).sort()"
    title, before = browser.run("document.title"), browser.run(tags)
    for text in HOSTILE:
        page.ask(text)
        assert page.said(".asked").split() == text.split() or "\u202e" in text or "\b" in text
    page.example("SQL")
    page.write("#tools", json.dumps([{"type": "function", "function": {"name": "weather", "parameters": {}}}]))
    page.ask()
    assert "<img src=x>" in page.said(".calls")
    assert browser.run("document.title") == title
    assert browser.run("document.querySelectorAll('article').length") == len(HOSTILE) + 1
    assert browser.run(tags) == ["b", *before]  # the called function's name
    assert "<script>document.title='owned'</script>" in browser.run("document.body.textContent")
    refused = "(() => { try { document.body.innerHTML = 'x' } catch (error) { return error.name } })()"
    assert browser.run(refused) == "TypeError"


def test_a_key_is_asked_for_and_kept_in_the_tab(serve: Serve, browser: Browser) -> None:
    page = Page(browser, serve(["Good day."], settings=HTTPSettings((KEY,))))
    page.until(lambda: page.text("#key-form"))
    assert page.text("#notice") == "This server wants an API key."
    assert browser.run("document.activeElement.id") == "key"
    page.press("#key", "no", "\ue007")
    page.until(lambda: "not know" in page.text("#notice"))
    page.press("#key", KEY, "\ue007")
    page.until(lambda: page.count("#model option") == 5)
    assert not page.text("#key-form")
    assert not page.text("#notice")
    page.ask("Hello.")
    assert page.said(".text") == "Good day."
    assert browser.run("[...Object.values(sessionStorage)]") == [KEY]
    assert browser.run("localStorage.length + document.cookie.length") == 0
    assert KEY not in browser.run("location.href + document.documentElement.outerHTML")
    page.click("#forget")
    page.until(lambda: page.text("#key-form"))
    assert browser.run("sessionStorage.length") == 0


def test_faults_are_one_line(serve: Serve, browser: Browser) -> None:
    server = serve(["x"] * 4, running=1, waiting=1)
    page = Page(browser, server)
    page.example("Slots")
    page.write("#format", "{")
    page.press("#question", "\ue009", "\ue007")
    assert page.text("#format-fault").startswith("Not JSON: ")
    assert browser.run("document.activeElement.id") == "format"
    assert page.count("article") == 0
    page.write("#format", '{"type": "object", "properties": {"city": {"type": "town"}}}')
    page.ask()
    assert page.said(".fault").startswith("Refused: response_format.json_schema.schema: ")
    held, client = Held(server.engine), server.client()
    streams = [client.chat.completions.create(model="sql", messages=user("Hi."), stream=True) for _ in range(2)]
    until(lambda: server.engine._open == 2)
    page.example("Chat")
    page.ask()
    assert page.said(".fault").startswith("The server is busy: ")
    assert page.said(".fault").endswith("(in 1 s)")
    held.open.set()
    for stream in streams:
        stream.close()
    until(lambda: server.engine._open == 0)
    server.close()
    page.ask()
    assert page.said(".fault") == f"The server at 127.0.0.1:{server.port} does not answer. Is it still running?"


def test_an_answer_that_is_cut_off_or_no_json_is_told(
    serve: Serve, browser: Browser, databases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, names, event = [b"<html>Bad gateway</html>"], DatabaseAPI.names, api._event

    async def listed(self: DatabaseAPI) -> Response:
        return Response(broken.pop()) if broken else await names(self)

    async def cut(self: DatabaseAPI, request: Request) -> Response:
        return Response(b'{"columns": ["port"], "rows": [["Gh', headers={"Content-Length": "1000"})

    monkeypatch.setattr(DatabaseAPI, "names", listed)
    monkeypatch.setattr(DatabaseAPI, "query", cut)
    server = serve([SQL, SQL], databases=databases)
    assert "no JSON" in Page(browser, server).text("#notice")
    page = Page(browser, server)
    assert not page.text("#notice")
    page.example("SQL")
    page.ask()
    page.until(lambda: page.count("article .outcome.fault"))
    assert page.said(".outcome") == "The connection was lost in the middle of the answer."
    monkeypatch.setattr(api, "_event", lambda value: ": here\n\ndata: {\n\n" if "usage" in value else event(value))
    page.ask()
    assert "no JSON" in page.said(".fault")
    assert page.said(".text") == SQL
    assert not [line for line in browser.console() if "Uncaught" in line]


def test_stop_frees_the_slot_and_keeps_what_was_said(serve: Serve, browser: Browser) -> None:
    server = serve(["Once upon a time there was. " * 20])
    held = Held(server.engine)
    page = Page(browser, server)
    page.write("#question", "Tell me a story.")
    page.click("#send")
    page.until(lambda: page.count("article") and page.said(".adapter") == "base")
    assert page.count(".writing") == 1
    assert page.text("#stop") == "Stop"
    assert server.engine._open == 1
    page.click("#stop")
    page.until(lambda: not page.text("#stop"))
    held.open.set()
    until(lambda: server.engine._open == 0)
    assert server.engine.stats().counts.finished == {"cancelled": 1}
    assert page.said(".figures") == "Stopped."
    assert page.count(".writing") == 0
    assert browser.run("document.activeElement.id") == "send"


def test_it_fits_and_every_field_is_named(serve: Serve, browser: Browser, databases: Path) -> None:
    server = serve(["x" * 900, SQL] * 2, databases=databases)
    wide = ", ".join(f"'value {n}' AS a_column_with_a_name_{n}" for n in range(12))
    for width, scheme in ((380, "dark"), (1280, "light")):
        page = Page(browser, server, width, scheme)
        page.ask("Why" + "y" * 900)
        assert browser.run("innerWidth") == width  # a phone zooms out where something is wider
        page.example("SQL")
        page.ask()
        page.until(lambda page=page: page.count("article td"))
        page.run(f"SELECT {wide}")
        assert page.said(".outcome").startswith("boats, your query: 1 row in ")
        browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run(_WIDER) == []
        assert browser.run("(s => s.scrollWidth > s.clientWidth)(document.querySelector('.scroll'))")
        assert browser.console() == []
        fields = "[...document.querySelectorAll('input, select, textarea')]"
        assert browser.run(f"{fields}.filter(f => !f.labels?.length && !f.ariaLabel).map(f => f.id)") == []
        background = browser.run("getComputedStyle(document.documentElement).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
