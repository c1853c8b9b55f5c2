// npm fhir-kit-client: a FHIR client with a token of a confidential app.
import { Client } from "fhir-kit-client";
import { done, ensure, equal, settings, step } from "./lib.mjs";

const client = new Client({ baseUrl: settings.base });
await step("smartAuthMetadata", async () => {
  const found = await client.smartAuthMetadata();
  equal(String(found.tokenUrl), settings.token, "tokenUrl");
  ensure(found.authorizeUrl, "no authorizeUrl");
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
done();
