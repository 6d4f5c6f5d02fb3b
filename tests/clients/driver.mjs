// Makes the call that it reads from its input (callers.py has the members), and prints its outcome.
import { readFileSync } from "node:fs";

import { bearer, Failed, OrderOnce } from "../../clients/javascript/orderonce.mjs";

const asked = JSON.parse(readFileSync(0, "utf8"));
const { url, method, given, options, now, aws4fetch, forgetful, tokens, identity } = asked;
const waits = [];

// The clock of the client, and of aws4fetch.
const clock = () => 1000 * waits.reduce((sum, wait) => sum + wait, now);
globalThis.Date = class extends Date {
  constructor(...parts) {
    super(...(parts.length ? parts : [clock()]));
  }
  static now() {
    return clock();
  }
};

async function authorizing() {
  if (forgetful) {
    return (url, init) =>
      new Request(url, { ...init, headers: { ...init.headers, "Idempotency-Key": crypto.randomUUID() } });
  }
  if (tokens.length) {
    return bearer(() => {
      if (!tokens.length) throw new Error("no more tokens");
      return tokens.shift();
    });
  }
  if (!identity) return undefined;
  const { AwsClient } = await import(aws4fetch);
  const aws = new AwsClient(identity);
  return (url, init) => aws.sign(url, init);
}

async function outcome(client) {
  try {
    const called = client[method](...given.map((one) => one ?? undefined));
    if (!called[Symbol.asyncIterator]) return { result: await called, failed: null };
    const result = [];
    for await (const one of called) result.push(one);
    return { result, failed: null };
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    const members = Object.entries({ ...error, class: error.name, text: error.message });
    const pythons = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    return { result: null, failed: Object.fromEntries(members.map(([name, value]) => [pythons(name), value ?? null])) };
  }
}

const sleep = async (seconds) => waits.push(seconds);
const client = new OrderOnce(url, { ...options, sleep, authorize: await authorizing() });
console.log(JSON.stringify({ ...(await outcome(client)), waits }));
