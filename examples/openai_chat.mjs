// Ask a model of the network with OpenAI's own package: npm install openai.
//
// node examples/openai_chat.mjs SmolLM2-135M "Why is the sky blue?" [http://127.0.0.1:7002]
import OpenAI, { APIError } from 'openai';

const [model, prompt, base = 'http://127.0.0.1:7002'] = process.argv.slice(2);
if (prompt === undefined) {
  console.error('usage: node openai_chat.mjs MODEL PROMPT [URL]');
  process.exit(2);
}

// On the node's own machine any key will do; elsewhere one of `aicn keys add`.
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: process.env.AICN_API_KEY ?? 'unused' });

try {
  const models = await client.models.list();
  console.log('models:', models.data.map((each) => each.id).join(', '));
  const stream = await client.chat.completions.create({
    model,
    messages: [{ role: 'user', content: prompt }],
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const { choices, usage } of stream) {
    for (const { delta } of choices) process.stdout.write(delta.content ?? '');
    if (usage) console.log(`\n\n${usage.prompt_tokens} + ${usage.completion_tokens} tokens`);
  }
} catch (error) {
  if (!(error instanceof APIError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
