/** Client of a Garim server. The routes and their types are generated from the server's OpenAPI document. */

import createClient, { type Client, type Middleware } from "openapi-fetch";

import type { components, paths } from "./api.js";

export type { components, paths } from "./api.js";
export { upload, type UploadOptions } from "./upload.js";
export { verifyWebhook } from "./webhook.js";

export type Problem = components["schemas"]["Problem"];
export type Job = components["schemas"]["Job"];
export type Video = components["schemas"]["Video"];

/** What the server answered instead of what was asked for: `problem.code` never changes its meaning. */
export class GarimError extends Error {
  constructor(
    readonly status: number,
    /** Missing where something between client and server answered. */
    readonly problem: Problem | undefined,
    /** Names the request in the server's log. */
    readonly requestId: string | undefined,
  ) {
    super(problem ? `${problem.title}: ${problem.detail}` : `the server answered ${status}`);
    this.name = "GarimError";
  }
}

export interface Options {
  /** Where the server is, such as `https://garim.example.org`. */
  url: string;
  /** An API key. Keep it on a server: whoever has it may do what it may. */
  key: string;
  fetch?: typeof fetch;
}

/** A typed client of every route, which throws a {@link GarimError} for every answer that is an error. */
export function connect(options: Options): Client<paths> {
  const client = createClient<paths>({
    baseUrl: options.url.replace(/\/+$/, ""),
    headers: { authorization: `Bearer ${options.key}` },
    fetch: options.fetch,
  });
  const throwing: Middleware = {
    async onResponse({ response }) {
      if (response.status >= 400) throw await failure(response);
    },
  };
  client.use(throwing);
  return client;
}

/** The error that an answer is. */
export async function failure(response: Response): Promise<GarimError> {
  const kind = response.headers.get("content-type") ?? "";
  let problem: Problem | undefined;
  if (kind.startsWith("application/problem+json")) {
    problem = (await response.json().catch(() => undefined)) as Problem | undefined;
  }
  return new GarimError(response.status, problem, response.headers.get("x-request-id") ?? undefined);
}

export interface WaitOptions {
  signal?: AbortSignal;
  /** Told whenever the job was looked at. */
  onProgress?: (job: Job) => void;
  /** Longest time between two looks, in milliseconds. */
  maxDelay?: number;
}

/** Waits until a job is over, however it ended: see `state.name`. Looks less and less often. */
export async function waitForJob(client: Client<paths>, id: string, options: WaitOptions = {}): Promise<Job> {
  for (let delay = 250; ; delay = Math.min(delay * 1.5, options.maxDelay ?? 10_000)) {
    const { data } = await client.GET("/v1/jobs/{id}", { params: { path: { id } }, signal: options.signal });
    if (!data) throw new Error("an answer without a job");
    options.onProgress?.(data);
    if (["done", "failed", "cancelled"].includes(data.state.name)) return data;
    await sleep(delay, options.signal);
  }
}

/** Waits, unless it is told to stop. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
