// The SMART App Launch from an app's side, with nothing but fetch and the browser's own cryptography.
// What an app keeps between its two visits to this page stands in the session storage of the tab.

const KEPT = "smart-app";

/** This page without its query: the redirect address that the client is registered with. */
export const here = location.origin + location.pathname;

/** Sends the browser to the server's login. `launch` comes from an EHR that started the app. */
export async function signIn({ iss, client, launch }) {
  const configuration = await json(`${iss}/.well-known/smart-configuration`);
  const verifier = text(crypto.getRandomValues(new Uint8Array(48)));
  const state = text(crypto.getRandomValues(new Uint8Array(24)));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  keep({ iss, client, verifier, state, token_endpoint: configuration.token_endpoint,
    revocation_endpoint: configuration.revocation_endpoint });
  const query = new URLSearchParams({
    response_type: "code", client_id: client, redirect_uri: here, aud: iss, state,
    scope: `${launch ? "launch" : "launch/patient"} openid fhirUser offline_access patient/*.rs`,
    code_challenge: text(new Uint8Array(digest)), code_challenge_method: "S256",
  });
  if (launch) query.set("launch", launch);
  location.assign(`${configuration.authorization_endpoint}?${query}`);
}

/** Takes the code from the address, if the browser comes back with one, and exchanges it. */
export async function comeBack() {
  const query = new URLSearchParams(location.search);
  if (!query.has("state")) return;
  history.replaceState(null, "", here);
  const { state, verifier } = kept();
  if (query.get("state") !== state) throw new Error("This is the answer to another question: the state differs.");
  if (query.has("error")) throw new Error(query.get("error_description") ?? query.get("error"));
  await token({ grant_type: "authorization_code", code: query.get("code"), redirect_uri: here, code_verifier: verifier });
}

/** Gets a new access token for the refresh token. */
export function refresh() {
  return token({ grant_type: "refresh_token", refresh_token: kept().tokens.refresh_token });
}

/** Gives the tokens back. */
export async function signOut() {
  const { client, revocation_endpoint, tokens } = kept();
  sessionStorage.removeItem(KEPT);
  const body = new URLSearchParams({ client_id: client, token: tokens.refresh_token ?? tokens.access_token });
  await fetch(revocation_endpoint, { method: "POST", body });
}

/** Who is signed in: the token response, or nothing. */
export function session() {
  return kept().tokens;
}

/** Reads below the FHIR base. */
export function fhir(path) {
  const { iss, tokens } = kept();
  return json(`${iss}/${path}`, { headers: { accept: "application/fhir+json", authorization: `Bearer ${tokens.access_token}` } });
}

async function token(form) {
  const { client, token_endpoint, tokens } = kept();
  const body = new URLSearchParams({ ...form, client_id: client });
  const fresh = await json(token_endpoint, { method: "POST", body });
  keep({ tokens: { ...tokens, ...fresh }, verifier: undefined, state: undefined });
}

async function json(address, options) {
  const answer = await fetch(address, options);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const why = body.error_description ?? body.error ?? body.issue?.[0]?.diagnostics ?? "";
    throw new Error(`${new URL(address).pathname} answers ${answer.status} ${why}`);
  }
  return body;
}

function text(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function kept() {
  return JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
}

function keep(more) {
  sessionStorage.setItem(KEPT, JSON.stringify({ ...kept(), ...more }));
}
