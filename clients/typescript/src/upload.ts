/** Uploads that resume: tus 1.0, as `/v1/uploads` speaks it. */

import { failure, GarimError, type Options, sleep } from "./index.js";

export interface UploadOptions {
  name?: string;
  /** `seal`, or seconds after which the original is destroyed once it was covered; the server's rule if missing. */
  original?: "seal" | number;
  /** Id of a video whose upload stopped half-way: goes on with it. */
  resume?: string;
  /** Bytes of one request. A broken connection loses at most this much. */
  pieceSize?: number;
  /** Requests in a row that may fail before this gives up. */
  attempts?: number;
  signal?: AbortSignal;
  /** Told the id of the video as soon as there is one: keep it, to resume with. */
  onStart?: (video: string) => void;
  /** Told how many bytes the server has. */
  onProgress?: (stored: number, total: number) => void;
}

const TUS = { "tus-resumable": "1.0.0" };

/** Sends a file, and gives the id of its video. When the connection breaks it goes on from what the server has. */
export async function upload(server: Options, file: Blob, options: UploadOptions = {}): Promise<string> {
  const base = server.url.replace(/\/+$/, "");
  const send = async (method: string, path: string, headers: Record<string, string>, body?: Blob) => {
    const response = await (server.fetch ?? fetch)(base + path, {
      method,
      headers: { authorization: `Bearer ${server.key}`, ...TUS, ...headers },
      body: body ?? null,
      signal: options.signal ?? null,
    });
    if (!response.ok) throw await failure(response);
    return response;
  };
  const video = options.resume ?? (await create(send, file, options));
  options.onStart?.(video);
  const path = `/v1/uploads/${video}`;
  const size = options.pieceSize ?? 16 << 20;
  let stored: number | undefined = options.resume === undefined ? 0 : undefined;
  for (let failures = 0; stored === undefined || stored < file.size; ) {
    try {
      if (stored === undefined) {
        stored = offset(await send("HEAD", path, {}));
      } else {
        const headers = { "upload-offset": `${stored}`, "content-type": "application/offset+octet-stream" };
        stored = offset(await send("PATCH", path, headers, file.slice(stored, stored + size)));
        failures = 0;
      }
      options.onProgress?.(stored, file.size);
    } catch (error) {
      failures += 1;
      if (options.signal?.aborted || !mayPass(error) || failures >= (options.attempts ?? 8)) throw error;
      stored = undefined;
      await sleep(Math.min(500 * 2 ** failures, 30_000), options.signal);
    }
  }
  return video;
}

type Send = (method: string, path: string, headers: Record<string, string>) => Promise<Response>;

async function create(send: Send, file: Blob, options: UploadOptions): Promise<string> {
  const pairs: string[] = [];
  if (options.name !== undefined) pairs.push(`filename ${base64(options.name)}`);
  if (options.original !== undefined) pairs.push(`original ${base64(`${options.original}`)}`);
  const headers: Record<string, string> = { "upload-length": `${file.size}` };
  if (pairs.length > 0) headers["upload-metadata"] = pairs.join(",");
  const response = await send("POST", "/v1/uploads", headers);
  const id = response.headers.get("location")?.split("/").pop();
  if (!id) throw new Error("the server gave no Location");
  return id;
}

function offset(response: Response): number {
  const text = response.headers.get("upload-offset");
  if (text === null || !/^\d+$/.test(text)) throw new Error("the server gave no Upload-Offset");
  return Number(text);
}

/** Whether it may go well the next time: the connection broke, the server is busy, or has more than was thought. */
function mayPass(error: unknown): boolean {
  if (!(error instanceof GarimError)) return error instanceof TypeError;
  return error.status >= 500 || error.status === 429 || error.status === 408 || error.problem?.code === "upload_offset";
}

function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
