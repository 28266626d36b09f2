// The form: examples, lists from the server, the request, the key.

const at = (id) => document.getElementById(id);
let databases = [], running = null;

/** What to tell of an error; a missing key is asked for. An error of the page's own stays one. */
function reported(error) {
  if (!(error instanceof Fault)) throw error;
  if (error.status === 401) askForKey();
  return error.message;
}

function askForKey() {
  at("key-form").hidden = false;
  at("forget").hidden = true;
  at("key").select();
}

// ------------------------------------------------------------------ lists

const list = async (path) => (await fetched(path)).data;

async function load() {
  at("notice").hidden = true;
  showExamples(true);
  try {
    fillModels(await list("v1/models"));
    at("forget").hidden = sessionStorage.getItem(KEY) === null;
    at("database").options[0].textContent = "loading…";  // the first who asks waits for all to be opened
    databases = await list("v1/databases");
    fillDatabases();
  } catch (error) {
    at("notice").textContent = reported(error);
    at("notice").hidden = false;
  } finally {
    at("database").options[0].textContent = "none";
    showExamples(false);
  }
}

function fillModels(models) {
  const options = models.map(({ id, tasks }) => element("option", { value: id }, id === "base" ? "base: no adapter" : tasks?.length ? `${id}: ${tasks.join(", ")}` : id));
  at("model").replaceChildren(at("model").options[0], ...options);
  const adapters = models.filter((model) => model.id !== "base").length;
  at("about").textContent = `One backbone, ${adapters} adapter${adapters === 1 ? "" : "s"}. Ask something: the router picks one and says why.`;
}

function fillDatabases() {
  const groups = [["sql", "SQL"], ["cypher", "Cypher"]].map(([language, label]) => {
    const listed = databases.map((database, index) => [database, index]).filter(([database]) => database.language === language);
    const options = listed.map(([{ id, error = "" }, index]) =>
      element("option", { value: index, disabled: error !== "", title: error }, `${id} (${error ? "cannot be read" : label})`));
    return element("optgroup", { label }, ...options);
  });
  at("database").replaceChildren(at("database").options[0], ...groups.filter((group) => group.children.length));
  at("database").disabled = databases.length === 0;
  at("no-databases").hidden = databases.length > 0;
}

/** Those of queries wait for the databases. */
function showExamples(loading) {
  const buttons = Object.entries(examplesFor(databases)).map(([name, fields]) =>
    element("button", { type: "button", disabled: loading && Boolean(fields.schema), onclick: () => fill(fields) }, name));
  at("examples").replaceChildren(element("span", { className: "hint" }, "Examples"), ...buttons);
}

function fill({ question, schema = "", tools = "", format = "", database }) {
  at("question").value = question;
  at("schema").value = schema;
  at("tools").value = tools;
  at("format").value = format;
  for (const name of ["system", "tokens", "temperature", "model"]) at(name).value = "";
  at("database").value = database ? databases.indexOf(database) : "";
  at("schema-part").open = schema !== "";
  at("format-part").open = tools !== "" || format !== "";
  showStates();
  at("question").focus();
}

// ------------------------------------------------------------------ fields

const chosenDatabase = () => databases[at("database").value || -1];

function showStates() {
  const schema = at("schema").value, database = chosenDatabase();
  at("schema-state").textContent = !schema ? "none" : !database ? "your own" : schema === database.schema ? `of ${database.id}` : `of ${database.id}, changed`;
  at("format-state").textContent = [at("tools").value && "tools", at("format").value && "slots"].filter(Boolean).join(", ") || "none";
  for (const name of ["tools", "format"]) showFieldFault(name, "");
}

function takeSchema() {
  const database = chosenDatabase();
  at("schema").value = database?.schema ?? "";
  at("schema-part").open = Boolean(database);
  showStates();
}

function showFieldFault(name, line) {
  at(`${name}-fault`).textContent = line;
  at(`${name}-fault`).hidden = line === "";
  at(name).setAttribute("aria-invalid", String(line !== ""));
}

class FieldFault extends Error {
  constructor(field, line) {
    super(line);
    this.field = field;
  }
}

/** A field's JSON; undefined where it is empty. */
function jsonOf(name) {
  const text = at(name).value.trim();
  if (text === "") return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FieldFault(name, `Not JSON: ${error.message}`);
  }
}

/** The request as the form has it. Raises FieldFault. */
function request() {
  const value = (name) => at(name).value.trim();
  const messages = [{ role: "user", content: [value("schema"), at("question").value.trim()].filter(Boolean).join("\n\n") }];
  if (value("system")) messages.unshift({ role: "system", content: value("system") });
  const made = { messages, stream: true, stream_options: { include_usage: true } };
  if (value("model")) made.model = value("model");
  if (chosenDatabase()) made.metadata = { database: chosenDatabase().id };
  const tools = jsonOf("tools");
  if (tools !== undefined) made.tools = Array.isArray(tools) ? tools : [tools];
  const format = jsonOf("format");
  const whole = ["json_schema", "json_object", "text"].includes(format?.type);
  if (format !== undefined) made.response_format = whole ? format : { type: "json_schema", json_schema: { name: "slots", schema: format } };
  if (value("tokens")) made.max_tokens = Number(value("tokens"));
  if (value("temperature")) made.temperature = Number(value("temperature"));
  return made;
}

// ------------------------------------------------------------------ asking

async function ask() {
  if (running || !at("ask").reportValidity()) return;
  let asked;
  try {
    asked = request();
  } catch (error) {
    if (!(error instanceof FieldFault)) throw error;
    showFieldFault(error.field, error.message);
    at("format-part").open = true;
    at(error.field).focus();
    return;
  }
  const answer = new Answer(at("question").value.trim(), asked, chosenDatabase(), chosenDatabase);
  at("empty").hidden = true;
  at("answers").prepend(answer.node);
  if (matchMedia("(max-width: 900px)").matches) answer.node.scrollIntoView({ block: "start" });
  begin(true);
  at("status").textContent = "Asked.";
  try {
    await answer.read(await call("v1/chat/completions", asked, running.signal), running.signal);
    at("status").textContent = `${answer.routing.adapter} has answered: ${answer.state}.`;
  } catch (error) {
    if (running.signal.aborted) answer.showStopped();
    else answer.showFault(reported(error));
    at("status").textContent = "";
  } finally {
    begin(false);
  }
  await answer.showResult();
}

function begin(asking) {
  running = asking ? new AbortController() : null;
  at("send").disabled = asking;
  if (!asking && document.activeElement === at("stop")) at("send").focus();
  at("stop").hidden = !asking;
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
at("ask").addEventListener("keydown", (event) => {
  if (isSend(event)) ask();
});
at("ask").addEventListener("input", showStates);
at("database").addEventListener("change", takeSchema);
at("stop").addEventListener("click", () => running?.abort());
at("forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  at("key").value = "";
  at("forget").hidden = true;
  load();
});
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = at("key").value.trim();
  at("key").setCustomValidity(/^[\x21-\x7e]+$/.test(key) ? "" : "A key is made of ASCII characters without spaces.");
  if (!at("key").reportValidity()) return;
  sessionStorage.setItem(KEY, key);
  at("key-form").hidden = true;
  at("question").focus();
  load();
});
at("key").addEventListener("input", () => at("key").setCustomValidity(""));
if (/Mac|iP/.test(navigator.platform)) at("modifier").textContent = "⌘";
showStates();
load();
