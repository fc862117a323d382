// A network whose Input has given out keys. Run by test_keys.py.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { HELLO, TALKER, clientOf, root, test } from './network.mjs';

const { AICN_KEY, AICN_KEY_FOR_ONE_MODEL, AICN_KEY_FOR_ONE_REQUEST } = process.env;

const chat = (apiKey, model = TALKER) =>
  clientOf(root, { apiKey }).chat.completions.create({ model, messages: HELLO });

/** Holds a call to fail with this class; returns the error. */
async function fails(promise, kind) {
  let thrown;
  await assert.rejects(promise, (error) => {
    thrown = error;
    return error.constructor === kind;
  });
  return thrown;
}

test('a key opens', async () => assert.ok((await chat(AICN_KEY)).choices[0].message.content));

test('a key that opens nothing', async () => {
  const error = await fails(chat(`${AICN_KEY}x`), OpenAI.AuthenticationError);
  assert.equal(error.code, 'invalid_api_key');
});

test('a key for one model', async () => {
  await chat(AICN_KEY_FOR_ONE_MODEL);
  await fails(chat(AICN_KEY_FOR_ONE_MODEL, 'org/tiny'), OpenAI.PermissionDeniedError);
});

test('a key for one request a minute', async () => {
  await chat(AICN_KEY_FOR_ONE_REQUEST);
  const error = await fails(chat(AICN_KEY_FOR_ONE_REQUEST), OpenAI.RateLimitError);
  assert.equal(error.code, 'rate_limit_exceeded');
  assert.ok(Number(error.headers.get('retry-after')) >= 1);
});
