// Through the network the SDK gets what it gets from the model server itself.
import { Buffer } from 'node:buffer';
import { toFile } from 'openai';
import { EDITOR, HELLO, PAINTER, TALKER, ask } from './network.mjs';

const EVERY_BYTE = Buffer.from(Array.from({ length: 10_240 }, (_, index) => index % 256));
// The signature of a PNG is all that the model server looks at.
const PICTURE = Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]), EVERY_BYTE]);
const WEATHER = {
  type: 'object',
  properties: { city: { type: 'string' }, days: { type: 'integer' } },
  required: ['city', 'days'],
  additionalProperties: false,
};
const tools = [{ type: 'function', function: { name: 'weather', parameters: WEATHER } }];
const responseTools = [{ type: 'function', name: 'weather', parameters: WEATHER, strict: true }];
const jsonSchema = { type: 'json_schema', json_schema: { name: 'weather', strict: true, schema: WEATHER } };
const usage = { stream: true, stream_options: { include_usage: true } };
const picture = { type: 'image_url', image_url: { url: `data:image/png;base64,${PICTURE.toString('base64')}` } };

const chat = (more) => (client) => client.chat.completions.create({ model: TALKER, messages: HELLO, ...more });
const completion = (more) => (client) => client.completions.create({ model: TALKER, prompt: 'Once', ...more });
const response = (more) => (client) => client.responses.create({ model: TALKER, input: 'Grüße', ...more });
const sound = () => toFile(EVERY_BYTE, 'sound.wav', { type: 'audio/wav' });
const image = () => toFile(PICTURE, 'cat.png', { type: 'image/png' });

ask('chat, words', chat({}));
ask('chat, no content', chat({ messages: [{ role: 'user', content: null }, ...HELLO] }));
ask('chat, a picture', chat({ messages: [{ role: 'user', content: [{ type: 'text', text: 'What?' }, picture] }] }));
ask('chat, tools', chat({ tools }));
ask('chat, JSON', chat({ response_format: { type: 'json_object' } }));
ask('chat, JSON of a schema', chat({ response_format: jsonSchema }));
ask('chat, probabilities', chat({ logprobs: true, top_logprobs: 2 }));
ask('chat, three choices', chat({ n: 3 }));
ask('chat, thoughts', chat({ reasoning_effort: 'low' }));
ask('chat, fields that nobody knows', chat({ top_k: 40, 'große': { a: [null, 1e-7] } }));
ask('chat streamed, words', chat({ stream: true }));
ask('chat streamed, usage', chat(usage));
ask('chat streamed, tools and usage', chat({ tools, ...usage }));
ask('chat streamed, thoughts', chat({ reasoning_effort: 'low', ...usage }));
ask('completion, words', completion({}));
ask('completion, streamed', completion({ stream: true }));
ask('completion, streamed with usage', completion(usage));
ask('response, words', response({ instructions: 'Be short.' }));
ask('response, tools', response({ tools: responseTools }));
ask('response, streamed', response({ stream: true }));
ask('response, streamed tools', response({ tools: responseTools, stream: true }));
ask('embeddings, base64', (client) => client.embeddings.create({ model: TALKER, input: ['one', 'two'] }));
ask('embeddings, numbers', (client) =>
  client.embeddings.create({ model: TALKER, input: 'one', encoding_format: 'float', dimensions: 16 }));
ask('images out of words', (client) =>
  client.images.generate({ model: PAINTER, prompt: 'a cat', n: 2, response_format: 'b64_json' }));
ask('an image edited', async (client) =>
  client.images.edit({ model: EDITOR, prompt: 'a hat', image: await image(), response_format: 'b64_json' }));
ask('an image varied', async (client) =>
  client.images.createVariation({ model: EDITOR, image: await image(), response_format: 'b64_json' }));
ask('a transcription', async (client) =>
  client.audio.transcriptions.create({ model: TALKER, file: await sound(), language: 'de' }));
ask('a transcription with every detail', async (client) =>
  client.audio.transcriptions.create({ model: TALKER, file: await sound(), response_format: 'verbose_json' }));
ask('a transcription as plain text', async (client) =>
  client.audio.transcriptions.create({ model: TALKER, file: await sound(), response_format: 'text' }));
ask('a transcription, streamed', async (client) =>
  client.audio.transcriptions.create({ model: TALKER, file: await sound(), stream: true }));
ask('a translation', async (client) => client.audio.translations.create({ model: TALKER, file: await sound() }));
ask('speech', (client) => client.audio.speech.create({ model: TALKER, input: 'Grüße', voice: 'alloy' }));
