/** The plain Worker. */
import xxhash from 'xxhash-wasm';
import { Plain } from './plain.mjs';
import { compared, JSON_HEADERS } from './shell.mjs';

const NONE = Object.freeze({ failed: Object.freeze([]) });

export default compared(async ({ SPECS }) => {
  const plain = new Plain(SPECS, await xxhash());
  const decoder = new TextDecoder();
  return {
    async answer(request) {
      const { status, body } = plain.check(await request.text(), NONE);
      return new Response(body, { status, headers: JSON_HEADERS });
    },
    decide: (check) => plain.check(typeof check === 'string' ? check : decoder.decode(check), NONE).body.length,
  };
});
