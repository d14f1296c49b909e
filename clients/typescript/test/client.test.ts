/** Against a server that really runs: scripts/with-server.sh says where. */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { connect, GarimError, upload, verifyWebhook, waitForJob } from "../src/index.js";

const server = { url: need("GARIM_URL"), key: need("GARIM_KEY") };
const client = connect(server);

function need(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run npm test`);
  return value;
}

test("a video is sent in two pieces after a stop, covered, and watched by its signed address", async () => {
  const file = new Blob([await readFile(need("GARIM_TEST_VIDEO"))]);
  const half = Math.ceil(file.size / 2);
  const stop = new AbortController();
  let id = "";
  const options = { name: "clip.mp4", pieceSize: half, onStart: (video: string) => (id = video) };
  await assert.rejects(upload(server, file, { ...options, signal: stop.signal, onProgress: () => stop.abort() }));
  const steps: number[] = [];
  await upload(server, file, { ...options, resume: id, onProgress: (stored) => steps.push(stored) });
  assert.deepEqual(steps, [half, file.size]);

  const { data: jobs } = await client.GET("/v1/jobs", { params: { query: { video: id } } });
  const ingest = await waitForJob(client, jobs?.items[0]?.id ?? "", { maxDelay: 500 });
  assert.equal(ingest.state.name, "done");
  const { data: started } = await client.POST("/v1/videos/{id}/mosaic", {
    params: { path: { id } },
    body: { options: { effect: "fill", preset: "ultrafast", speed: "fast" }, priority: 1 } as never,
  });
  const job = await waitForJob(client, started?.id ?? "", { maxDelay: 500 });
  assert.equal(job.state.name, "done", JSON.stringify(job.state));
  const { data: video } = await client.GET("/v1/videos/{id}", { params: { path: { id } } });
  const address = video?.published?.urls.find((url) => url.includes("video.mp4"));
  assert.ok(address);
  const watched = await fetch(new URL(address, server.url));
  assert.equal(watched.status, 200);
  const bytes = Buffer.from(await watched.arrayBuffer());
  assert.equal(bytes.subarray(4, 8).toString(), "ftyp");
});

test("an answer that is an error is thrown, with its code", async () => {
  const missing = { path: { id: "01a21159-0105-720b-a9e3-0285c7c1b3d6" } };
  const error = await client.GET("/v1/videos/{id}", { params: missing }).catch((e: unknown) => e);
  assert.ok(error instanceof GarimError);
  assert.deepEqual([error.status, error.problem?.code], [404, "not_found"]);
  assert.ok(error.requestId);
});

test("a webhook is believed only if it is fresh and its signature good", async () => {
  const [secret, body, time] = [Buffer.from("0123456789abcdef01234567"), '{"type":"job.done"}', 1_800_000_000];
  const hmac = createHmac("sha256", secret).update(`msg_1.${time}.${body}`).digest("base64");
  const whsec = `whsec_${secret.toString("base64")}`;
  const headers = {
    "webhook-id": "msg_1",
    "webhook-timestamp": `${time}`,
    "webhook-signature": `v1,AAAA v2,x v1,${hmac}`,
  };
  const now = new Date(time * 1000);
  assert.deepEqual(await verifyWebhook(whsec, headers, body, now), { type: "job.done" });
  await assert.rejects(verifyWebhook(whsec, headers, `${body} `, now), /no signature/);
  await assert.rejects(verifyWebhook(whsec, headers, body, new Date((time + 301) * 1000)), /too old/);
  await assert.rejects(verifyWebhook(whsec, { ...headers, "webhook-signature": "v1,!" }, body, now), /no signature/);
});
