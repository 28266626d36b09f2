// What goes over the wire: requests with the key, faults in one line, and streams of events.

const KEY = "qwen_lightning.key";

/** What is to be told in one line; `said` is the server's own message. */
class Fault extends Error {
  constructor(line, status = 0, said = line) {
    super(line);
    this.status = status;
    this.said = said;
  }
}

/** The response of the server at a path; a fault where it refuses, or where there is none. */
async function call(path, body, signal) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const options = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal };
  let response;
  try {
    response = await fetch(path, { ...options, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Fault(`The server at ${location.host} does not answer. Is it still running?`);
  }
  if (!response.ok) throw await faultOf(response);
  return response;
}

/** The JSON of the server's answer at a path; a fault where it is cut off, or something else. */
async function fetched(path, body) {
  const response = await call(path, body);
  let text;
  try {
    text = await response.text();
  } catch {
    throw new Fault("The connection was lost in the middle of the answer.");
  }
  return parsed(text);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Fault("What was answered is not this server's: it is no JSON. Is there a proxy before it?");
  }
}

async function faultOf(response) {
  const { status, statusText, headers } = response;
  const error = await response.json().then((body) => body.error, () => null);  // a proxy's answer may be no JSON
  const said = error?.message || statusText || "no reason was given";
  const field = error?.param && !said.startsWith(error.param) ? `${error.param}: ` : "";
  const seconds = headers.get("Retry-After");
  let line = status < 500 ? `Refused: ${field}${said}` : `The server failed (${status}): ${said}`;
  if (status === 401) {
    line = sessionStorage.getItem(KEY) === null ? "This server wants an API key." : "This server does not know that API key.";
  }
  if (status === 429) line = `The server is busy: ${said}${seconds ? ` (in ${seconds} s)` : ""}`;
  return new Fault(line, status, said);
}

/** The chunks of a streamed answer, up to its end. */
async function* chunksOf(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (signal.aborted) throw error;
      part = { done: true };
    }
    if (part.done) throw new Fault("The connection was lost in the middle of the answer.");
    const events = (text + part.value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      if (!event.startsWith("data:")) continue;  // a proxy's sign of life
      const data = event.replace(/^data: ?/, "");
      if (data === "[DONE]") return;
      const chunk = parsed(data);
      if (chunk.error) throw new Fault(`The answer broke off: ${chunk.error.message}`);
      yield chunk;
    }
  }
}
