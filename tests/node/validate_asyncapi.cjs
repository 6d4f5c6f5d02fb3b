// Reads a JSON list of AsyncAPI documents from its standard input, and writes what AsyncAPI's own parser says about each.
const { readFileSync } = require("node:fs");
const { Parser } = require("@asyncapi/parser");

const documents = JSON.parse(readFileSync(0, "utf-8"));
const validated = documents.map((document) => new Parser().validate(JSON.stringify(document)));
Promise.all(validated).then((diagnostics) => console.log(JSON.stringify(diagnostics)));
