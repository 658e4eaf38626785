// Asks the server.  What did not change comes back as the same object, so that a page can see
// by identity that it has nothing to do.

import { withQuery } from "./urls.js";

const MOST = 80;
const kept = new Map();

export class Refusal extends Error {
  constructor(status, type, message) {
    super(message);
    this.status = status;
    this.type = type;
  }

  // The store or the server is away; the next try may succeed.
  get passing() {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

export async function get(path, params, signal) {
  const address = withQuery(path, params);
  const known = kept.get(address);
  const headers = { Accept: "application/json" };
  if (known) headers["If-None-Match"] = known.etag;
  let reply;
  try {
    reply = await fetch(address, { headers, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "Unreachable", "The dashboard does not answer. Does its command still run?");
  }
  if (reply.status === 304 && known) return keep(address, known);
  if (!reply.ok) throw await refusal(reply);
  const etag = reply.headers.get("ETag");
  const data = await reply.json();
  if (etag) keep(address, { etag, data });
  return data;
}

function keep(address, entry) {
  kept.delete(address);
  kept.set(address, entry);
  if (kept.size > MOST) kept.delete(kept.keys().next().value);
  return entry.data;
}

async function refusal(reply) {
  try {
    const { error } = await reply.json();
    return new Refusal(reply.status, error.type, error.message);
  } catch {
    return new Refusal(reply.status, "Error", `The server answered ${reply.status}.`);
  }
}
