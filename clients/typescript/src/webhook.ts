/** Checks that a webhook is from the server: Standard Webhooks, HMAC-SHA256 (`v1`). */

/** Seconds that the clocks may differ; older messages may be somebody's copy. */
const TOLERANCE = 300;

/**
 * Gives the message if one of its signatures is good, else throws. `body` must be the bytes as they came, not JSON
 * that was read and written again. `secret` is the webhook's, with `whsec_` or without.
 */
export async function verifyWebhook(
  secret: string,
  headers: Headers | Record<string, string | undefined>,
  body: string,
  now: Date = new Date(),
): Promise<unknown> {
  const get = (name: string) => (headers instanceof Headers ? headers.get(name) : headers[name]) ?? "";
  const [id, time, signatures] = [get("webhook-id"), get("webhook-timestamp"), get("webhook-signature")];
  if (!id || !/^\d{1,12}$/.test(time) || !signatures) throw new Error("the webhook is not signed");
  if (Math.abs(now.getTime() / 1000 - Number(time)) > TOLERANCE) throw new Error("the webhook is too old or too new");
  const raw = bytes(secret.replace(/^whsec_/, ""));
  const key = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  const signed = new TextEncoder().encode(`${id}.${time}.${body}`);
  for (const signature of signatures.split(" ")) {
    const [version, value] = signature.split(",", 2);
    if (version !== "v1" || !value) continue;
    const given = attempt(() => bytes(value));
    // Compares in constant time.
    if (given && (await crypto.subtle.verify("HMAC", key, given, signed))) return JSON.parse(body);
  }
  throw new Error("no signature of the webhook is good");
}

function bytes(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

function attempt<T>(f: () => T): T | undefined {
  try {
    return f();
  } catch {
    return undefined;
  }
}
