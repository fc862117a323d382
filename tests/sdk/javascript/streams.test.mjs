// Streams: each chunk when it is written, and whoever leaves early stops the model.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { HELLO, PAINTER, TALKER, client, requestId, seen, test } from './network.mjs';

const SLOW = { x_mock: { gap_ms: 50 } };
const LONG = [{ role: 'user', content: 'word '.repeat(2_000) }];

const streamed = (id, more = {}) =>
  client.chat.completions.create(
    { model: TALKER, messages: LONG, stream: true, ...SLOW, ...more },
    { headers: { 'x-request-id': id } },
  );

test('chunks come when they are written', async () => {
  const id = requestId();
  const stream = await streamed(id, { messages: HELLO });
  let words = '';
  let unfinished;
  for await (const chunk of stream) {
    words += chunk.choices[0].delta.content ?? '';
    unfinished ??= (await seen(id)).finished;
  }
  assert.equal(words, 'You said: Grüße, 世界 🌍');
  assert.equal(unfinished, false);
});

test('a loop that is left stops the model', async () => {
  const id = requestId();
  for await (const chunk of await streamed(id)) {
    if (chunk.choices[0].delta.content) break;
  }
  const told = await seen(id, { gone: true });
  assert.equal(told.finished, false);
  assert.ok(told.writes < 50);
});

test('a stream that is aborted stops the model', async () => {
  const id = requestId();
  const stream = await streamed(id);
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content) stream.controller.abort();
  }
  assert.equal((await seen(id, { gone: true })).finished, false);
});

test('a chat that is aborted before its first word stops the model', async () => {
  for (const stream of [false, true]) {
    const id = requestId();
    const aborter = new AbortController();
    const asking = client.chat.completions.create(
      { model: TALKER, messages: HELLO, stream, x_mock: { hang: true } },
      { headers: { 'x-request-id': id }, signal: aborter.signal },
    );
    const failing = assert.rejects(asking, OpenAI.APIUserAbortError);
    await seen(id);
    aborter.abort();
    await failing;
    assert.equal((await seen(id, { gone: true })).finished, false);
  }
});

test('an image that is aborted stops the model', async () => {
  const id = requestId();
  const aborter = new AbortController();
  const asking = client.images.generate(
    { model: PAINTER, prompt: 'a cat', x_mock: { hang: true } },
    { headers: { 'x-request-id': id }, signal: aborter.signal },
  );
  const failing = assert.rejects(asking, OpenAI.APIUserAbortError);
  await seen(id);
  aborter.abort();
  await failing;
  assert.equal((await seen(id, { gone: true })).finished, false);
});

test('usage is told to those only who asked', async () => {
  const usages = async (more) => {
    const stream = await client.chat.completions.create({ model: TALKER, messages: HELLO, stream: true, ...more });
    const found = [];
    for await (const chunk of stream) if (chunk.choices.length === 0) found.push(chunk.usage.total_tokens);
    return found;
  };
  const [total] = await usages({ stream_options: { include_usage: true } });
  assert.ok(total > 0);
  assert.deepEqual(await usages({}), []);
});

test('speech is heard while it is made', async () => {
  const id = requestId();
  const answer = await client.audio.speech.create(
    { model: TALKER, input: 'Grüße', voice: 'alloy', ...SLOW },
    { headers: { 'x-request-id': id } },
  );
  assert.equal(answer.headers.get('content-type'), 'audio/mpeg');
  let heard = 0;
  let unfinished;
  for await (const piece of answer.body) {
    heard += piece.length;
    unfinished ??= (await seen(id)).finished;
  }
  assert.equal(heard, 16_000);
  assert.equal(unfinished, false);
});

test('the helper puts a streamed chat together', async () => {
  const runner = client.chat.completions.stream({ model: TALKER, messages: HELLO });
  const words = [];
  runner.on('content', (delta) => words.push(delta));
  const whole = await runner.finalChatCompletion();
  assert.equal(whole.choices[0].message.content, 'You said: Grüße, 世界 🌍');
  assert.equal(words.join(''), whole.choices[0].message.content);
});

test('the helper calls the tools that the model asks for', async () => {
  const asked = [];
  const weather = {
    type: 'function',
    function: {
      name: 'weather',
      parameters: { type: 'object', properties: { city: { type: 'string' } } },
      parse: JSON.parse,
      function: ({ city }) => {
        asked.push(city);
        return 'rain';
      },
    },
  };
  const runner = client.chat.completions.runTools({ model: TALKER, messages: HELLO, tools: [weather] });
  assert.equal(await runner.finalContent(), 'The tool said: rain');
  assert.deepEqual(asked, ['You said: Grüße, 世界 🌍']);
});
