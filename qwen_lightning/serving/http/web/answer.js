// One answer: routing, text as it streams, calls, verdict, the query's result, figures.

const LANGUAGES = { text2sql: "sql", text2cypher: "cypher" };
const STATES = { true: ["✓", "passed"], false: ["✗", "failed"], null: ["–", "not checked"] };

class Answer {
  constructor(question, request, database, chosen) {
    this.node = document.getElementById("answer").content.cloneNode(true).firstElementChild;
    this.find = (selector) => this.node.querySelector(selector);
    this.database = database;
    this.chosen = chosen;
    this.text = "";
    this.calls = [];
    this.began = performance.now();
    this.say(".asked", question);
    this.say(".sent pre", JSON.stringify(request, null, 2));
    this.find(".run").onclick = () => this.runQuery(this.find(".edit textarea").value);
    this.find(".edit textarea").onkeydown = (event) => {
      if (isSend(event)) this.runQuery(event.target.value);
    };
    this.find(".copy").onclick = () => this.copy();
  }

  say(selector, text) {
    const node = this.find(selector);
    node.textContent = text;
    node.hidden = text === "";
    return node;
  }

  /** Reads the answer to its end. */
  async read(response, signal) {
    const body = this.find(".text");
    try {
      for await (const chunk of chunksOf(response, signal)) this.take(chunk, body);
    } finally {
      this.settle(body);
    }
    this.showFigures();
    this.showVerdict();
  }

  take(chunk, body) {
    if (chunk.routing) this.showRouting(chunk.routing, body);
    if (chunk.usage) this.usage = chunk.usage;
    for (const choice of chunk.choices) {
      const { content, tool_calls: calls = [] } = choice.delta;
      if ((content || calls.length) && this.first === undefined) this.first = performance.now();
      if (content) {
        this.text += content;
        this.written.appendData(content);
      }
      this.calls.push(...calls.map((call) => call.function));
      if (choice.verdict) this.verdict = choice.verdict;
      if (choice.finish_reason) this.finish = choice.finish_reason;
    }
  }

  showRouting({ adapter, task, reason }, body) {
    this.routing = { adapter, task, reason };
    this.language = LANGUAGES[task];
    this.say(".adapter", adapter);
    this.say(".task", task);
    this.say(".why", `Why: ${reason}`);
    this.written = document.createTextNode("");
    body.replaceChildren(this.written);
    this.find(".said").hidden = false;
    body.classList.add("writing");
    body.classList.toggle("code", Boolean(this.language));
  }

  /** What is shown once no more text comes. */
  settle(body) {
    this.ended = performance.now();
    body.classList.remove("writing");
    this.find(".said").hidden = this.text === "";
    this.find(".copy").hidden = this.text === "";
    const json = this.language ? null : indented(this.text);
    body.classList.toggle("code", Boolean(this.language || json));
    if (this.language) body.replaceChildren(...paint(this.text, this.language));
    else if (json) body.replaceChildren(...paint(json, "json"));
    const calls = this.calls.map(({ name, arguments: given }) =>
      element("div", {}, element("span", { className: "hint" }, "calls "), element("b", {}, name),
        element("pre", { className: "code", dir: "auto" }, ...paint(indented(given) ?? given, "json"))));
    this.find(".calls").replaceChildren(...calls);
  }

  showVerdict() {
    const { passed = null, detail = "", repaired = false } = this.verdict ?? {};
    const [mark, state] = STATES[passed];
    const node = this.say(".verdict", `${mark} ${state}${repaired ? ", repaired" : ""}`);
    node.classList.add(passed === null ? "unchecked" : state);
    node.title = repaired ? "The first answer failed its checks; this is the second." : "";
    this.state = node.textContent.slice(mark.length + 1);
    this.say(".detail", detail).classList.toggle("unchecked", passed === null);
  }

  showFigures() {
    const seconds = (this.ended - this.began) / 1000;
    const { prompt_tokens: read, completion_tokens: written } = this.usage ?? {};
    const figures = [this.usage && `${read} tokens read, ${written} written`];
    if (this.first !== undefined) figures.push(`first text after ${duration((this.first - this.began) / 1000)}`);
    figures.push(`${duration(seconds)} in all`);
    if (this.finish === "length") figures.push("cut off at the token limit");
    this.say(".figures", figures.filter(Boolean).join(" · "));
  }

  showFault(line) {
    this.say(".fault", line);
  }

  showStopped() {
    this.say(".figures", "Stopped.");
  }

  async copy() {
    const button = this.find(".copy");
    try {
      await navigator.clipboard.writeText(this.text);
      button.textContent = "Copied";
    } catch {  // no clipboard off localhost without TLS: what is to be copied is selected
      getSelection().selectAllChildren(this.find(".text"));
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }

  // ------------------------------------------------------------------ the result

  /** Runs the answer's query where it was read to its end. */
  async showResult() {
    if (this.finish && this.language && this.text) await this.runQuery(queryIn(this.text));
  }

  async runQuery(query) {
    const [outcome, scroll, edit] = [".outcome", ".scroll", ".edit"].map(this.find);
    const database = [this.database, this.chosen()].find((each) => each?.language === this.language);
    this.find(".result").hidden = false;
    this.find(".edit textarea").value = query;
    outcome.classList.remove("fault");
    scroll.hidden = true;
    if (!database) {
      const wanted = `${this.language === "sql" ? "an SQL" : "a Cypher"} database`;
      outcome.textContent = `Choose ${wanted} and run the query to see what it returns.`;
      return;
    }
    const place = `${database.id}${query === queryIn(this.text) ? "" : ", your query"}: `;
    outcome.textContent = `${place}running…`;
    const button = this.find(".run");
    button.disabled = true;
    try {
      const asked = { database: database.id, language: this.language, query };
      const { columns, rows, truncated, seconds } = await fetched("v1/query", asked);
      fillTable(this.find("table"), columns, rows);
      scroll.hidden = columns.length === 0;
      const count = `${truncated ? "the first " : ""}${rows.length} row${rows.length === 1 ? "" : "s"}`;
      const cut = truncated ? "; there are more than are shown" : "";
      outcome.textContent = `${place}${count} in ${duration(seconds)}${cut}`;
    } catch (error) {
      outcome.classList.add("fault");
      const line = reported(error);
      outcome.textContent = error.status === 400 ? place + error.said : line;
      edit.open = true;
    } finally {
      button.disabled = false;
    }
  }
}

function duration(seconds) {
  return seconds < 0.9995 ? `${Math.max(1, Math.round(seconds * 1000))} ms` : `${seconds.toFixed(1)} s`;
}

function isSend(event) {
  return event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing;
}
