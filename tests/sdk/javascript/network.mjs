// The network that pytest started, and clients of it. Its addresses come in the environment.
import assert from 'node:assert/strict';
import { File } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import nodeTest from 'node:test';
import OpenAI from 'openai';

// Node 18 has it, but not where the SDK looks for it.
globalThis.File ??= File;

export const { AICN_ROOT: root, AICN_DIRECT_ROOT: directRoot, AICN_WITNESS: witness } = process.env;
export const TALKER = 'talker';
export const PAINTER = 'painter';
export const EDITOR = 'editor';
export const HELLO = [{ role: 'user', content: 'Grüße, 世界 🌍' }];

const TIMEOUT_MS = 20_000;

/** A client of what stands at `at`, without retries of its own: a test that wants them says so. */
export const clientOf = (at, settings = {}) =>
  new OpenAI({ baseURL: `${at}/v1`, apiKey: 'unused', maxRetries: 0, timeout: TIMEOUT_MS, ...settings });

export const client = clientOf(root);
export const direct = clientOf(directRoot);

/** A test that does not wait for ever. */
export const test = (name, run) => nodeTest(name, { timeout: TIMEOUT_MS }, run);

/** Holds what the network answers to what the model server itself answers. */
export const ask = (name, call) =>
  test(name, async () => {
    const wanted = await read(await call(direct));
    assert.deepEqual(await read(await call(client)), wanted);
  });

/** Everything of an answer: all chunks of a stream, all bytes of a file, or the object without its hidden fields. */
export async function read(answer) {
  if (answer?.[Symbol.asyncIterator] && !(answer instanceof Response)) {
    const chunks = [];
    // Where the network asked for the usage itself, each chunk may say that it has none.
    for await (const { usage, ...chunk } of answer) chunks.push(usage ? { ...chunk, usage } : chunk);
    return chunks;
  }
  if (typeof answer?.arrayBuffer === 'function') return Buffer.from(await answer.arrayBuffer());
  return answer;
}

/** A request id, by which the witness knows a request. */
export const requestId = () => randomUUID();

/** What a model server saw of the request with that id; with `gone`, once it has seen its client leave. */
export async function seen(id, { gone = false } = {}) {
  const answer = await fetch(`${witness}/${gone ? 'gone' : 'seen'}/${id}`);
  assert.equal(answer.status, 200);
  return answer.json();
}
