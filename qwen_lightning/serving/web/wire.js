// What goes over the wire: requests with the key, faults in one line, and streams of events.

const KEY = "qwen_lightning.key";

class Fault extends Error {
  constructor(line, status = 0) {
    super(line);
    this.status = status;
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
  if (!response.ok) throw new Fault(await faultLine(response), response.status);
  return response;
}

async function faultLine(response) {
  const error = await response.json().then((body) => body.error, () => null);
  const said = error?.message || response.statusText || "no reason was given";
  if (response.status === 401) {
    const known = sessionStorage.getItem(KEY) === null;
    return known ? "This server wants an API key: enter it above." : "This server does not know the API key: enter another above.";
  }
  if (response.status === 429) {
    const seconds = response.headers.get("Retry-After");
    return `The server is busy: ${said}${seconds ? ` (in ${seconds} s)` : ""}`;
  }
  const field = error?.param && !said.startsWith(error.param) ? `${error.param}: ` : "";
  return response.status < 500 ? `Refused: ${field}${said}` : `The server failed (${response.status}): ${field}${said}`;
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
      const data = event.replace(/^data: ?/, "");
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Fault(`The answer broke off: ${chunk.error.message}`);
      yield chunk;
    }
  }
}

/** Decoded JSON, in which whole numbers that are too long for a JavaScript number keep all their digits. */
function exactly(text) {
  return JSON.parse(text, (_, value, context) =>
    Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "") ? BigInt(context.source) : value);
}
