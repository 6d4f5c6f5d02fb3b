// Reads a JSON list of state machines from its standard input, and writes what asl-validator says about each.
const { readFileSync } = require("node:fs");
const validate = require("asl-validator");

const definitions = JSON.parse(readFileSync(0, "utf-8"));
const options = { checkPaths: true, checkArn: true };
console.log(JSON.stringify(definitions.map((definition) => validate(definition, options).errors)));
