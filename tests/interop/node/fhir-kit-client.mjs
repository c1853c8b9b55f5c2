// npm fhir-kit-client: a FHIR client with tokens of a service and of a confidential app, which it finds the way to.
import { createHash, randomBytes } from "node:crypto";
import { Client } from "fhir-kit-client";
import { done, ensure, equal, settings, step } from "./lib.mjs";
import { launch, person, through } from "./browser.mjs";

const client = new Client({ baseUrl: settings.base });
const places = await step("smartAuthMetadata", async () => {
  const found = await client.smartAuthMetadata();
  equal(String(found.tokenUrl), settings.token, "tokenUrl");
  ensure(found.authorizeUrl, "no authorizeUrl");
  return found;
});
const token = await step("client_credentials with a secret", async () => {
  const { id, secret } = settings.clients.reader;
  const body = new URLSearchParams({
    grant_type: "client_credentials", scope: "system/Patient.rs system/Observation.rs", client_id: id, client_secret: secret,
  });
  const answer = await fetch(settings.token, { method: "POST", body });
  const found = await answer.json();
  equal(answer.status, 200, `the status (${found.error})`);
  return { token: found.access_token };
});
if (token) {
  client.bearerToken = token.token;
  await step("read", async () => {
    const found = await client.read({ resourceType: "Patient", id: settings.patient });
    equal(found.id, settings.patient, "id");
  });
  await step("search and next page", async () => {
    const first = await client.search({ resourceType: "Observation", searchParams: { patient: settings.patient, _count: 1 } });
    const next = await client.nextPage({ bundle: first });
    ensure(next?.entry?.length > 0, "no next page");
  });
  await step("a type that is not granted is 403", async () => {
    const error = await client.search({ resourceType: "Condition", searchParams: { patient: settings.patient } }).catch((it) => it);
    equal(error.response?.status, 403, "the status");
  });
  await step("without a token it is 401", async () => {
    const bare = new Client({ baseUrl: settings.base });
    const error = await bare.read({ resourceType: "Patient", id: settings.patient }).catch((it) => it);
    equal(error.response?.status, 401, "the status");
  });
}
if (places) await codeGrant(String(places.authorizeUrl), String(places.tokenUrl));
done();

/** A user lets the app in at the places that the client found; it reads with what it gets, and refreshes. */
async function codeGrant(authorizeUrl, tokenUrl) {
  const { id, secret } = settings.clients.confidential;
  const redirect = `${settings.apps}/callback`;
  const browser = await launch();
  const exchange = async (fields) => {
    const body = new URLSearchParams({ ...fields, client_id: id, client_secret: secret });
    const answer = await fetch(tokenUrl, { method: "POST", body });
    const found = await answer.json();
    equal(answer.status, 200, `the status (${found.error})`);
    return found;
  };
  const app = new Client({ baseUrl: settings.base });
  const tokens = await step("code grant", async () => {
    const verifier = randomBytes(32).toString("base64url");
    const state = randomBytes(16).toString("base64url");
    const address = new URL(authorizeUrl);
    address.search = new URLSearchParams({
      response_type: "code", client_id: id, redirect_uri: redirect, aud: settings.base, state,
      scope: "launch/patient openid fhirUser offline_access patient/Patient.rs patient/Observation.rs",
      code_challenge: createHash("sha256").update(verifier).digest("base64url"), code_challenge_method: "S256",
    });
    const page = await person(browser);
    await page.goto(address.href);
    await through(page, redirect, { user: settings.users.clinician, patient: settings.patient });
    const back = new URL(page.url()).searchParams;
    await page.context().close();
    equal(back.get("state"), state, "state");
    ensure(back.get("code"), `no code: ${back.get("error")}`);
    const found = await exchange({
      grant_type: "authorization_code", code: back.get("code"), redirect_uri: redirect, code_verifier: verifier,
    });
    equal(found.patient, settings.patient, "the patient");
    app.bearerToken = found.access_token;
    return { refresh: found.refresh_token };
  });
  if (tokens) {
    await step("read and search as the app", async () => {
      const found = await app.read({ resourceType: "Patient", id: settings.patient });
      equal(found.id, settings.patient, "id");
      const bundle = await app.search({ resourceType: "Observation", searchParams: { _count: 50 } });
      const subjects = new Set(bundle.entry.map((it) => it.resource.subject.reference));
      equal([...subjects].join(), `Patient/${settings.patient}`, "whose observations");
    });
    await step("another patient is not found", async () => {
      const error = await app.read({ resourceType: "Patient", id: settings.otherPatient }).catch((it) => it);
      equal(error.response?.status, 404, "the status");
    });
    await step("refresh", async () => {
      ensure(tokens.refresh, "no refresh token");
      const found = await exchange({ grant_type: "refresh_token", refresh_token: tokens.refresh });
      app.bearerToken = found.access_token;
      await app.read({ resourceType: "Patient", id: settings.patient });
    });
  }
  await browser.close();
}
