/**
 * The worker around a decision, the same for all that are compared.
 *
 *   POST /                 the body is a check of a device
 *   POST /?facts           the same, of a device whose record is known, and says nothing
 *   POST /many?calls=N       the body is checks, one a line; they are decided in turn, N times in all, and what comes
 *                            back is the length of all answers. Timers stand still in a Worker while it works: the
 *                            time is taken outside.
 *   POST /many?…&text        the same for checks that are texts already; &facts, of devices whose records are known;
 *                            &anew, of devices that were not noted yet
 *   POST /instances?calls=N  N instances are made
 */

/**
 * @typedef {object} Compared
 * @property {(request: Request, known: boolean) => Promise<Response>} answer
 * @property {(check: Uint8Array | string, known: boolean) => number} decide returns the length of the answer
 * @property {() => void} [forget] forgets which devices were noted
 * @property {() => void} [instantiate]
 */

/** @param {(bindings: Record<string, any>) => Promise<Compared>} open */
export function compared(open) {
  let opened;
  return {
    async fetch(request, bindings) {
      opened ??= open(bindings);
      const subject = await opened;
      const { pathname, search } = new URL(request.url);
      if (pathname === '/') return subject.answer(request, search !== '');
      const options = new URLSearchParams(search);
      const calls = Number(options.get('calls'));
      if (pathname === '/instances') {
        for (let call = 0; call < calls; call++) subject.instantiate();
        return new Response('');
      }
      const checks = (await request.text()).trim().split('\n');
      const given = options.has('text') ? checks : checks.map((check) => new TextEncoder().encode(check));
      const known = options.has('facts');
      const forget = options.has('anew') && subject.forget ? subject.forget : () => {};
      let length = 0;
      for (let call = 0; call < calls; call++) {
        const index = call % given.length;
        if (index === 0) forget();
        length += subject.decide(given[index], known);
      }
      return new Response(`${length}`);
    },
  };
}

export const JSON_HEADERS = Object.freeze({ 'content-type': 'application/json' });
