// Writes one line of JSON for each test that ended, for the Python that started node.
export default async function* lines(events) {
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const cause = data.details?.error?.cause ?? data.details?.error;
    const text = cause?.stack ?? (cause === undefined ? '' : String(cause));
    yield JSON.stringify({ name: data.name, passed: type === 'test:pass', skipped: data.skip !== undefined, text }) + '\n';
  }
}
