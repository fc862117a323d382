// A network that has a second for the first word of an answer. Run by test_gateway_errors.py.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { HELLO, TALKER, client, test } from './network.mjs';

/** Holds a call to fail with this class and status, and to say why. */
async function fails(promise, kind, status) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.constructor, kind);
    assert.equal(error.status, status);
    assert.ok(error.error.message);
    assert.ok(error.requestID);
    return true;
  });
}

test('time runs out', async () => {
  for (const stream of [false, true]) {
    const asking = client.chat.completions.create({ model: TALKER, messages: HELLO, stream, x_mock: { hang: true } });
    await fails(asking, OpenAI.InternalServerError, 504);
  }
});

test('a body is too large', async () => {
  const asking = client.embeddings.create({ model: TALKER, input: 'x'.repeat(33 << 20) });
  await fails(asking, OpenAI.APIError, 413);
});
