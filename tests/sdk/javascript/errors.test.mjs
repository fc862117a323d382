// Each error has its status and OpenAI's shape, so that the SDK throws the class that says what it is.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { HELLO, TALKER, client, clientOf, requestId, seen, test } from './network.mjs';

const chat = (more, options) =>
  client.chat.completions.create({ model: TALKER, messages: HELLO, ...more }, options);

/** The error that a promise is rejected with. */
async function thrown(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail('nothing was thrown');
}

/** Holds the class of an error to be exactly this one, whole and streamed. */
async function classOf(status, kind) {
  for (const stream of [false, true]) {
    const error = await thrown(chat({ stream, x_mock: { status, message: 'because' } }));
    assert.equal(error.constructor, kind);
    assert.equal(error.status, status);
    assert.match(error.message, /because/);
    assert.ok(error.requestID);
  }
}

test('400 is BadRequestError', () => classOf(400, OpenAI.BadRequestError));
test('401 is AuthenticationError', () => classOf(401, OpenAI.AuthenticationError));
test('403 is PermissionDeniedError', () => classOf(403, OpenAI.PermissionDeniedError));
test('404 is NotFoundError', () => classOf(404, OpenAI.NotFoundError));
test('408 is APIError', () => classOf(408, OpenAI.APIError));
test('409 is ConflictError', () => classOf(409, OpenAI.ConflictError));
test('413 is APIError', () => classOf(413, OpenAI.APIError));
test('415 is APIError', () => classOf(415, OpenAI.APIError));
test('422 is UnprocessableEntityError', () => classOf(422, OpenAI.UnprocessableEntityError));
test('429 is RateLimitError', () => classOf(429, OpenAI.RateLimitError));
test('502 is InternalServerError', () => classOf(502, OpenAI.InternalServerError));
test('503 is InternalServerError', () => classOf(503, OpenAI.InternalServerError));
test('504 is InternalServerError', () => classOf(504, OpenAI.InternalServerError));

test('what is wrong with a request is said in the words of the model server', async () => {
  const x_mock = { status: 400, message: 'tools: too many', code: 'too_many', param: 'tools' };
  const error = await thrown(chat({ x_mock }));
  assert.deepEqual([error.code, error.param, error.type], ['too_many', 'tools', 'invalid_request_error']);
});

test('when to come again is passed on', async () => {
  const error = await thrown(chat({ x_mock: { status: 429, retry_after_s: 7 } }));
  assert.equal(error.headers.get('retry-after'), '7');
});

test('there is no such model', async () => {
  const error = await thrown(chat({ model: 'nobody-has-this' }));
  assert.equal(error.constructor, OpenAI.NotFoundError);
  assert.equal(error.code, 'model_not_found');
});

test('a name that two projects have must be said in full', async () => {
  const error = await thrown(chat({ model: 'twice' }));
  assert.equal(error.constructor, OpenAI.BadRequestError);
  assert.match(error.message, /P\/twice/);
  assert.match(error.message, /Q\/twice/);
});

test('there is no such route', async () => {
  const error = await thrown(client.fineTuning.jobs.list());
  assert.equal(error.constructor, OpenAI.NotFoundError);
});

test('model servers that break off before the first word', async () => {
  const error = await thrown(chat({ x_mock: { die_at_once: true } }));
  assert.equal(error.constructor, OpenAI.InternalServerError);
  assert.equal(error.status, 502);
});

test('a stream that breaks off ends with an error', async () => {
  const stream = await chat({ stream: true, x_mock: { die_after: 3, gap_ms: 50 } });
  const words = [];
  const error = await thrown(
    (async () => {
      for await (const chunk of stream) words.push(chunk.choices[0].delta.content);
    })(),
  );
  assert.deepEqual(words, ['', 'You', ' said:']);
  assert.ok(error instanceof OpenAI.APIError);
});

test('nobody listens', async () => {
  const error = await thrown(clientOf('http://127.0.0.1:9').models.list());
  assert.equal(error.constructor, OpenAI.APIConnectionError);
});

test('patience that ends ends the work', async () => {
  const id = requestId();
  const error = await thrown(chat({ x_mock: { hang: true } }, { timeout: 300, headers: { 'x-request-id': id } }));
  assert.equal(error.constructor, OpenAI.APIConnectionTimeoutError);
  assert.equal((await seen(id, { gone: true })).finished, false);
});
