// What the types of the JavaScript client allow, and what they do not. Only checked, never run.
import { AwsClient } from "aws4fetch";

import { bearer, OrderOnce, Problem } from "./orderonce.mjs";

const aws = new AwsClient({ accessKeyId: "", secretAccessKey: "", service: "execute-api", region: "eu-west-1" });
export const clients = [
  new OrderOnce("http://127.0.0.1:8000"),
  new OrderOnce("https://api.example", { authorize: (url, init) => aws.sign(url, init), tries: 3, seconds: 10 }),
  new OrderOnce("https://api.example", { authorize: bearer(async () => "token") }),
  // @ts-expect-error - there is no such option
  new OrderOnce("https://api.example", { retries: 3 }),
];

const { key, order, replayed } = await clients[0].place({ customerId: "CUST-1" });
/** @type {[string, string, boolean]} */
export const placed = [key, order.orderId, replayed];
// @ts-expect-error - an order is a document
await clients[0].place("CUST-1");
// @ts-expect-error - a key is text
await clients[0].place({}, 7);
for await (const one of clients[0].orders("CUST-1", 5)) await clients[0].cancel(one.orderId, "not any more");
// @ts-expect-error - there is no such call
await clients[0].remove("o1");

/** @param {Problem} problem @returns {[number, string | undefined, boolean, string | undefined]} */
export const members = (problem) => [problem.status, problem.instance, problem.retryable, problem.key];
