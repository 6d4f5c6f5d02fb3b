/**
 * A client of OrderOnce, in one file to copy. Node.js 20 or newer (18 with
 * --experimental-global-webcrypto) or a browser, and nothing else.
 *
 * An order is placed once, however often the network fails: its key is made before the first try, every try sends it,
 * and whatever ends the call hands it back. All requests may be repeated, so all are tried again.
 *
 * Amounts are numbers of two decimals. Those are exact as long as they are sent and shown as they are; calculate with
 * cents. Orders are the documents of the API.
 *
 * @typedef {Record<string, any>} Json
 * @typedef {{method: string, headers: Record<string, string>, body?: string}} Init
 * @typedef {(url: string, init: Init) => Request | Promise<Request>} Authorize  Asked for each try: what to send.
 */

const FIRST_BACKOFF_SECONDS = 0.2;
const LONGEST_BACKOFF_SECONDS = 10;

/**
 * A call failed. `key` is the key of the order to be placed: with it the call can be made again later, safely.
 * `retryable`: the same call may succeed later, not before `retryAfter` seconds.
 */
export class Failed extends Error {
  /** @type {string | undefined} */
  key;

  /** @param {string} why @param {{retryable: boolean, retryAfter?: number, cause?: unknown}} more */
  constructor(why, { retryable, retryAfter = 0, cause }) {
    super(why, { cause });
    this.name = new.target.name;
    this.retryable = retryable;
    this.retryAfter = retryAfter;
  }
}

/** No answer came, or none that is whole: the request may have taken effect. Or it could not be authorized. */
export class NoAnswer extends Failed {}

/**
 * The answer is an error (RFC 9457); `document` has all of it. `kind` is the last part of its `type`, such as
 * "invalid-order". Quote `instance` to the service's operator.
 */
export class Problem extends Failed {
  /** @param {number} status @param {Json} document @param {number} retryAfter */
  constructor(status, document, retryAfter) {
    const type = document.type ?? "about:blank";
    const kind = type.slice(type.lastIndexOf("/") + 1);
    const detail = document.detail ?? document.message ?? document.title ?? "";
    super(`${status} ${kind}: ${detail}`, {
      retryable: document.retryable ?? (status === 429 || status >= 500),
      retryAfter,
    });
    this.status = status;
    this.document = document;
    this.type = type;
    this.kind = kind;
    this.detail = detail;
    /** @type {string | undefined} */
    this.instance = document.instance;
    /** @type {Json[]} */
    this.errors = document.errors ?? [];
  }
}

/** @type {Authorize} For the laptop stack, where everybody may call. */
const unsigned = (url, init) => new Request(url, init);

/**
 * For a stage with AUTH=cognito. `token` gives an access token that is valid now; it is asked for each try.
 *
 * @param {() => string | Promise<string>} token
 * @returns {Authorize}
 */
export const bearer = (token) => async (url, init) =>
  new Request(url, { ...init, headers: { ...init.headers, Authorization: `Bearer ${await token()}` } });

/**
 * The service at a URL, the stage included. Every method throws Failed: a Problem or NoAnswer.
 *
 * A call makes at most `tries` tries, each of at most `timeout` seconds, and none later than `seconds` after its
 * beginning. With AUTH=iam, `authorize` is `(url, init) => aws.sign(url, init)` of an AwsClient of aws4fetch.
 */
export class OrderOnce {
  /**
   * @param {string} url
   * @param {{authorize?: Authorize, tries?: number, seconds?: number, timeout?: number,
   *   sleep?: (seconds: number) => Promise<unknown>}} options
   */
  constructor(url, { authorize = unsigned, tries = 8, seconds = 60, timeout = 15, sleep = asleep } = {}) {
    this.url = url.replace(/\/+$/, "");
    this.authorize = authorize;
    this.tries = tries;
    this.seconds = seconds;
    this.timeout = timeout;
    this.sleep = sleep;
  }

  /**
   * Place an order. To place it once even if this process or page ends, store a key of your own first, and give it
   * here. A key is 1 to 255 visible ASCII characters, new for each purchase; without one, a UUID is made.
   *
   * @param {Json} order
   * @param {string} [key]
   * @returns {Promise<{key: string, order: Json, replayed: boolean}>} the order as it was first answered;
   *   `replayed`: an earlier try had placed it
   */
  async place(order, key) {
    key ??= crypto.randomUUID();
    const named = { "Idempotency-Key": quoted(key) };
    try {
      const { headers, document } = await this.#call("POST", this.#url("orders"), order, named);
      return { key, order: document, replayed: headers.get("Idempotent-Replayed") === "true" };
    } catch (failed) {
      if (failed instanceof Failed) failed.key = key;
      throw failed;
    }
  }

  /** The order as it is now, with its history. @param {string} orderId */
  async get(orderId) {
    return (await this.#call("GET", this.#url("orders", orderId))).document;
  }

  /** Cancel an order that is not shipped. @param {string} orderId @param {string} [reason] */
  async cancel(orderId, reason) {
    return this.#act(orderId, "cancel", { reason });
  }

  /** The goods leave. @param {string} orderId @param {string} [carrier] @param {string} [trackingNumber] */
  async ship(orderId, carrier, trackingNumber) {
    return this.#act(orderId, "ship", { carrier, trackingNumber });
  }

  /** The goods have arrived. @param {string} orderId */
  async deliver(orderId) {
    return this.#act(orderId, "deliver", {});
  }

  /**
   * Which order a key of this customer names: `used`, and then `orderId` and `status`.
   *
   * @param {string} customerId @param {string} key
   */
  async find(customerId, key) {
    const url = `${this.#url("customers", customerId, "orders")}?idempotencyKey=${encoded(quoted(key))}`;
    return (await this.#call("GET", url)).document;
  }

  /**
   * The customer's orders, newest first. `limit` is that of a page; the pages are read as they are needed.
   *
   * @param {string} customerId
   * @param {number} [limit]
   * @returns {AsyncGenerator<Json>}
   */
  async *orders(customerId, limit = 20) {
    let url = `${this.#url("customers", customerId, "orders")}?limit=${limit}`;
    while (url) {
      const { document } = await this.#call("GET", url);
      yield* document.orders;
      // `next` is a path from the root, the stage included.
      url = document.next && new URL(document.next, url).href;
    }
  }

  /** @param {string} orderId @param {string} verb @param {Json} details */
  async #act(orderId, verb, details) {
    return (await this.#call("POST", this.#url("orders", orderId, verb), details)).document;
  }

  /** @param {string[]} segments */
  #url(...segments) {
    return [this.url, ...segments.map(encoded)].join("/");
  }

  /**
   * Headers and document of the answer, after as many tries as it takes. All of them send the same bytes.
   *
   * @param {string} method @param {string} url @param {Json} [document] @param {Record<string, string>} [headers]
   */
  async #call(method, url, document, headers = {}) {
    /** @type {Init} */
    const init = { method, headers };
    if (document) {
      init.body = JSON.stringify(document);
      init.headers = { ...headers, "Content-Type": "application/json" };
    }
    const end = Date.now() / 1000 + this.seconds;
    for (let tried = 1; ; tried++) {
      try {
        return await this.#try(url, init);
      } catch (failed) {
        if (!(failed instanceof Failed)) throw failed;
        const backoff = Math.min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (tried - 1));
        const wait = failed.retryAfter + Math.random() * backoff;
        if (!failed.retryable || tried >= this.tries || Date.now() / 1000 + wait > end) throw failed;
        await this.sleep(wait);
      }
    }
  }

  /** @param {string} url @param {Init} init @returns {Promise<{headers: Headers, document: Json}>} */
  async #try(url, init) {
    let request, answer, text;
    try {
      request = await this.authorize(url, init);
    } catch (cause) {
      // Whatever it is: an earlier try may have taken effect.
      throw new NoAnswer(`the request could not be authorized: ${cause}`, { retryable: false, cause });
    }
    try {
      answer = await fetch(request, { redirect: "manual", signal: AbortSignal.timeout(1000 * this.timeout) });
      text = await answer.text();
    } catch (cause) {
      throw new NoAnswer(`no answer: ${cause}`, { retryable: true, cause });
    }
    const document = parsed(text);
    if (!document && answer.ok) throw new NoAnswer("the answer is not a JSON document", { retryable: true });
    if (!document || !answer.ok) throw new Problem(answer.status, document ?? {}, retryAfter(answer.headers));
    return { headers: answer.headers, document };
  }
}

/** @param {number} seconds */
const asleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

/** Percent-encoded as RFC 3986 has it, which signing needs. @param {string} text */
const encoded = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`);

/** The key as a quoted string (RFC 8941), in which it may have any visible character. @param {string} key */
const quoted = (key) => `"${key.replace(/["\\]/g, "\\$&")}"`;

/** The document, if the text is one. @param {string} text @returns {Json | undefined} */
function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value instanceof Object && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The seconds of Retry-After, which has a number of them or a date; 0 without one. @param {Headers} headers */
function retryAfter(headers) {
  const text = headers.get("Retry-After") ?? "";
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Math.max(0, seconds || 0);
}
