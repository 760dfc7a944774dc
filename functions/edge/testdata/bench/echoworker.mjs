/** The least that a Worker does: it reads the request and answers always the same. */
const BODY = '{"error":"no_new_version_available","message":"No new version available","kind":"up_to_date"}';

export default {
  async fetch(request) {
    await request.text();
    return new Response(BODY, { headers: { 'content-type': 'application/json' } });
  },
};
