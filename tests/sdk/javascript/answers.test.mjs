// Headers, names of models and uploads.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toFile } from 'openai';
import { EDITOR, HELLO, PAINTER, TALKER, client, clientOf, requestId, root, seen, test } from './network.mjs';

const sha256 = (data) => createHash('sha256').update(data).digest('hex');
const LARGE = Buffer.alloc(12_000_000, Buffer.from(Array.from({ length: 256 }, (_, index) => index)));

test('an answer says who gave it and how', async () => {
  const asking = client.chat.completions.create({ model: TALKER, messages: HELLO });
  const { data, response, request_id } = await asking.withResponse();
  assert.match(response.headers.get('x-aicn-node'), /^\w{40,}$/);
  assert.equal(response.headers.get('x-aicn-attempts'), '1');
  assert.equal(response.headers.get('x-aicn-path'), 'direct');
  assert.match(response.headers.get('x-aicn-queue-ms'), /^\d+$/);
  assert.match(response.headers.get('x-aicn-first-token-ms'), /^\d+$/);
  assert.equal(data._request_id, request_id);
  assert.equal((await seen(request_id)).headers['x-request-id'], request_id);
});

test('a request keeps the id that its client gave', async () => {
  const id = requestId();
  const answer = await client.chat.completions.create(
    { model: TALKER, messages: HELLO },
    { headers: { 'x-request-id': id } },
  );
  assert.equal(answer._request_id, id);
  assert.equal((await seen(id)).path, '/v1/chat/completions');
});

test('the key stays at the gateway', async () => {
  const id = requestId();
  await client.chat.completions.create({ model: TALKER, messages: HELLO }, { headers: { 'x-request-id': id } });
  assert.equal((await seen(id)).headers.authorization, undefined);
});

test('every model is listed by a name that can be asked', async () => {
  const listed = [];
  for await (const model of client.models.list()) listed.push(model);
  const names = listed.map((model) => model.id);
  for (const name of [TALKER, PAINTER, EDITOR, 'org/tiny', 'P/twice', 'Q/twice']) assert.ok(names.includes(name), name);
  for (const model of listed) assert.deepEqual({ ...(await client.models.retrieve(model.id)) }, { ...model });
});

test('a name with its project', async () => {
  const answer = await client.chat.completions.create({ model: `P/${TALKER}`, messages: HELLO });
  assert.equal(answer.model, TALKER);
});

test('the project of the SDK decides', async () => {
  const asked = async (project) => {
    const answer = await clientOf(root, { project }).chat.completions.create({ model: 'twice', messages: HELLO });
    return answer.model;
  };
  assert.deepEqual([await asked('P'), await asked('Q')], ['twice', 'twice-of-the-other']);
});

test('a large upload from memory', async () => {
  const file = await toFile(LARGE, 'sound.wav');
  const { text } = await client.audio.transcriptions.create({ model: TALKER, file });
  assert.ok(text.includes(`${LARGE.length} bytes, sha256 ${sha256(LARGE)}`), text);
});

test('an upload from disk', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'aicn-'));
  try {
    const path = join(folder, 'große Töne.wav');
    await writeFile(path, LARGE.subarray(0, 100_000));
    const { text } = await client.audio.transcriptions.create({ model: TALKER, file: createReadStream(path) });
    assert.ok(text.includes(sha256(LARGE.subarray(0, 100_000))), text);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a form whose model comes after its file', async () => {
  const form = new FormData();
  form.append('file', new Blob([LARGE]), 'sound.wav');
  form.append('model', `P/${TALKER}`);
  const { text } = await client.post('/audio/transcriptions', { body: form });
  assert.ok(text.includes(sha256(LARGE)), text);
});
