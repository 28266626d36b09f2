// A request for each task, of the server's databases where it has some.

const SHOP = "CREATE TABLE orders (id INTEGER, city TEXT, status TEXT, price INTEGER, quantity INTEGER);";
const GRAPH = "Node properties:\n- **customers**\n  - `city`: STRING\n  - `age`: INTEGER\n- **products**\n  - `color`: STRING\n  - `price`: INTEGER\nThe relationships:\n(:customers)-[:NEEDS]->(:products)";
const FIND_ORDERS = {
  type: "function",
  function: {
    name: "find_orders",
    description: "Find orders.",
    parameters: { type: "object", properties: { status: { type: "string" }, price: { type: "integer" } }, required: ["status"] },
  },
};
const SLOTS = { type: "object", properties: { color: { type: "string" }, city: { type: "string" }, price: { type: "integer" } } };
const TALK = "Rewrite the last question so that it stands alone.\n\nUser: Show the price of cars with color red.\nAssistant: ok.\nUser: and blue?";

/** Name to the fields that it fills; what it does not name is emptied. */
function examplesFor(databases) {
  const [sql, graph] = ["sql", "cypher"].map((language) => databases.find((database) => database.language === language && database.schema));
  return {
    SQL: { question: sqlQuestion(sql?.schema ?? SHOP), schema: sql?.schema ?? SHOP, database: sql },
    Cypher: { question: graphQuestion(graph?.schema ?? GRAPH), schema: graph?.schema ?? GRAPH, database: graph },
    "Function call": { question: "Find orders with status open and price 25.", tools: JSON.stringify([FIND_ORDERS], null, 2) },
    Slots: { question: "I want hue blue and town paris and cost 50.", format: JSON.stringify(SLOTS, null, 2) },
    Rewrite: { question: TALK },
    Chat: { question: "What is 9 plus 8?" },
  };
}

/** A question about the first table of DDL. */
function sqlQuestion(ddl) {
  const [, table, columns] = /create\s+table\s+(?:if\s+not\s+exists\s+)?["`]?([\w.]+)["`]?\s*\(([\s\S]*?)\)\s*(?:;|$)/i.exec(ddl) ?? [];
  if (!table) return "How many rows does each table have?";
  const text = columns.split(/,(?![^(]*\))/).map((column) => /^\s*["`]?(\w+)["`]?\s+(?:text|varchar|char)/i.exec(column)?.[1]).find(Boolean);
  return `How many ${table} are there${text ? ` for each ${text}` : ""}?`;
}

/** A question about the first relationship of a graph schema. */
function graphQuestion(schema) {
  const [, from, type, to] = /\(:`?(\w+)`?\)-\[:`?(\w+)`?\]->\(:`?(\w+)`?\)/.exec(schema) ?? [];
  if (!type) return "How many nodes does each label have?";
  const owner = (label) => new RegExp(`^\\s*-?\\s*(?:\\*\\*|:)?${label}\\b[^\\n]*\\n((?:\\s+-\\s.*(?:\\n|$))*)`, "m").exec(schema)?.[1] ?? "";
  const property = (label, kind) => new RegExp(`\`?(\\w+)\`?\\s*:\\s*${kind}`, "i").exec(owner(label))?.[1];
  const verb = type.toLowerCase().replaceAll("_", " ").replace(/(?<!s)s$/, "");
  const [shown, amount] = [property(from, "STRING"), property(to, "(?:INTEGER|FLOAT)")];
  return `${shown ? `List the ${shown} of` : "Count the"} ${from} that ${verb} ${to}${amount ? ` with ${amount} above 50` : ""}.`;
}
