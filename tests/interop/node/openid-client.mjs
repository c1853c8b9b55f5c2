// npm openid-client: a certified relying party against the authorization server. The pages run without scripts.
import * as client from "openid-client";
import { done, ensure, equal, settings, step } from "./lib.mjs";
import { launch, person, through } from "./browser.mjs";

const redirect = `${settings.apps}/callback`;
const { id, secret } = settings.clients.confidential;
const options = settings.issuer.startsWith("http://") ? { execute: [client.allowInsecureRequests] } : {};
const browser = await launch();

const config = await step("discovery", async () => {
  const found = await client.discovery(new URL(settings.issuer), id, undefined, client.ClientSecretBasic(secret), options);
  ensure(found.serverMetadata().supportsPKCE(), "no PKCE");
  return found;
}).then((found) => found);

/** One authorization code grant; gives the tokens. */
async function grant(configuration, extra = {}, user = settings.users.clinician) {
  const verifier = client.randomPKCECodeVerifier();
  const [state, nonce] = [client.randomState(), client.randomNonce()];
  const address = client.buildAuthorizationUrl(configuration, {
    redirect_uri: redirect, scope: "launch/patient openid fhirUser offline_access patient/Patient.rs",
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
    aud: settings.base, state, nonce, ...extra,
  });
  const page = await person(browser, { script: false });
  await page.goto(address.href);
  await through(page, redirect, { user, patient: settings.patient });
  const back = new URL(page.url());
  await page.context().close();
  return client.authorizationCodeGrant(configuration, back, {
    pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true,
  });
}

if (config) {
  const tokens = await step("code, PKCE, nonce, iss, id_token, without scripts in pages", async () => {
    const found = await grant(config);
    equal(found.patient, settings.patient, "patient");
    const claims = found.claims();
    ensure(claims.sub && claims.fhirUser, "sub or fhirUser is missing");
    equal(claims.iss, settings.issuer, "iss");
    return found;
  });
  if (tokens) {
    await step("the token reads", async () => {
      const answer = await client.fetchProtectedResource(
        config, tokens.access_token, new URL(`${settings.base}/Patient/${settings.patient}`), "GET");
      equal(answer.status, 200, "the status");
    });
    await step("introspection", async () => {
      const found = await client.tokenIntrospection(config, tokens.access_token);
      equal(found.active, true, "active");
      equal(found.sub, tokens.claims().sub, "sub");
    });
    const fresh = await step("refresh", () => client.refreshTokenGrant(config, tokens.refresh_token));
    await step("a refresh token that was used is refused", async () => {
      // Past the grace of a lost answer, reuse is taken for theft.
      await new Promise((resolve) => setTimeout(resolve, 11_000));
      const error = await client.refreshTokenGrant(config, tokens.refresh_token).catch((it) => it);
      equal(error.error, "invalid_grant", "the error");
    });
    await step("after reuse the whole family is dead", async () => {
      const found = await client.tokenIntrospection(config, fresh.access_token);
      equal(found.active, false, "active");
    });
  }
  await step("revocation", async () => {
    const found = await grant(config);
    await client.tokenRevocation(config, found.refresh_token);
    const told = await client.tokenIntrospection(config, found.access_token);
    equal(told.active, false, "active");
  });
  await step("max_age asks for the password again", async () => {
    const found = await grant(config, { max_age: "1" });
    ensure(Number.isInteger(found.claims().auth_time), "no auth_time");
  });
  await step("prompt=none without a session is login_required", async () => {
    const address = client.buildAuthorizationUrl(config, {
      redirect_uri: redirect, scope: "openid", aud: settings.base, state: "s", prompt: "none",
      code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()),
      code_challenge_method: "S256",
    });
    const page = await person(browser, { script: false });
    await page.goto(address.href);
    equal(new URL(page.url()).searchParams.get("error"), "login_required", "error");
    await page.context().close();
  });
  await step("private_key_jwt", async () => {
    const key = await crypto.subtle.importKey(
      "jwk", settings.clients.asymmetric.jwk, { name: "ECDSA", namedCurve: "P-384" }, false, ["sign"]);
    const found = await client.discovery(
      new URL(settings.issuer), settings.clients.asymmetric.id, undefined,
      client.PrivateKeyJwt({ key, kid: settings.clients.asymmetric.jwk.kid }), options);
    const tokens = await grant(found);
    equal(tokens.patient, settings.patient, "patient");
  });
}
await browser.close();
done();
