// Text as elements, never as HTML: code with its keywords marked, JSON indented, tables.

const KEYWORDS = {
  sql: "select|from|where|group|by|order|having|limit|offset|join|left|right|inner|outer|full|cross|on|using|as|and|or|not|in|is|null|like|ilike|between|exists|case|when|then|else|end|distinct|union|all|intersect|except|with|asc|desc|over|partition|cast|true|false|interval|filter|recursive|lateral|values|nulls|first|last",
  cypher: "match|optional|where|return|with|unwind|order|by|limit|skip|as|and|or|xor|not|in|is|null|distinct|union|all|case|when|then|else|end|asc|desc|starts|ends|contains|call|yield|true|false|exists|count",
  json: "true|false|null",
};

/** Code as spans; what is in it stays text. */
function paint(code, language) {
  const words = new RegExp(`^(?:${KEYWORDS[language]})$`, "i");
  const tokens = code.match(/'(?:[^'\\]|''|\\.)*'|"(?:[^"\\]|\\.)*"|\b\d+(?:\.\d+)?\b|[\p{L}_][\p{L}\p{N}_$]*|[\s\S]/gu) ?? [];
  const made = [];
  for (const token of tokens) {
    const kind = /^['"]./.test(token) ? "string" : /^\d/.test(token) ? "number" : words.test(token) ? "keyword" : "";
    if (kind) made.push(element("span", { className: kind }, token));
    else if (typeof made.at(-1) === "string") made[made.length - 1] += token;
    else made.push(token);
  }
  return made;
}

/** JSON text with line breaks, its numbers and strings as they were written; null where it is no object or list. */
function indented(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (value === null || typeof value !== "object") return null;
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g);
  let written = "", depth = 0;
  tokens.forEach((token, at) => {
    const opens = "{[".includes(token), closes = "}]".includes(token);
    const empty = (opens && "}]".includes(tokens[at + 1])) || (closes && "{[".includes(tokens[at - 1]));
    depth += opens - closes;
    const line = empty ? "" : "\n" + "  ".repeat(depth);
    written += closes ? line + token : token === ":" ? ": " : token + (opens || token === "," ? line : "");
  });
  return written;
}

/** Fills a table with columns and rows of JSON values. */
function fillTable(table, columns, rows) {
  const amounts = columns.map((_, at) => rows.some((row) => isAmount(row[at])) && rows.every((row) => row[at] === null || isAmount(row[at])));
  const head = columns.map((name, at) => element("th", { scope: "col", className: amounts[at] ? "amount" : "" }, name));
  const body = rows.map((row) =>
    element("tr", {}, ...row.map((value, at) => element("td", { className: value === null ? "null" : amounts[at] ? "amount" : "" }, shown(value)))));
  table.replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
}

/** Numbers; those that no double holds come as text. */
const isAmount = (value) => typeof value === "number" || /^-?\d+(\.\d+)?$/.test(value ?? "");

function shown(value) {
  if (value === null) return "NULL";
  if (typeof value === "object") return JSON.stringify(value);
  return `${value}`;
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** The query in an answer: its code fence's contents where it has one. */
function queryIn(text) {
  return (/```\w*\n([\s\S]*?)(?:```|$)/.exec(text)?.[1] ?? text).trim();
}
