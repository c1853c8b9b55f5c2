// npm fhirclient in Chromium: standalone launch, EHR launch, refresh, with the server's own pages.
import { done, ensure, equal, settings, step } from "./lib.mjs";
import { judge, launch, open, person, through } from "./browser.mjs";

const app = `${settings.apps}/app`;
const index = `${app}/index.html`;
const browser = await launch();

/** The client of the page once it is ready, as far as it can leave the page. */
async function state(page) {
  await page.waitForURL(`${index}*`);
  await page.waitForFunction(() => document.getElementById("out").textContent !== "");
  const text = await page.locator("#out").innerText();
  equal(text, "ready", "the app");
  return page.evaluate(() => {
    const { tokenResponse, scope } = window.client.state;
    return { ...tokenResponse, wanted: scope, id: window.client.patient.id, user: window.client.user.fhirUser };
  });
}

const page = await person(browser);
await step("standalone launch", async () => {
  const scope = "launch/patient openid fhirUser offline_access patient/*.rs";
  await open(page, `${app}/launch.html?scope=${encodeURIComponent(scope)}`);
  const seen = await through(page, index, {
    user: settings.users.clinician, patient: settings.patient, judged: "standalone",
  });
  const found = await state(page);
  equal(found.id, settings.patient, "the patient");
  ensure(found.user?.startsWith("Practitioner/"), `fhirUser is ${found.user}`);
  return `pages: ${seen.join(", ")}`;
});
await step("read and search as the app", async () => {
  const found = await page.evaluate(async () => {
    const patient = await window.client.patient.read();
    const bundle = await window.client.request(`Observation?patient=${patient.id}&_count=5`);
    const conditions = await window.client.patient.request("Condition", { flat: true, pageLimit: 0 });
    return { family: patient.name[0].family, observations: bundle.entry?.length ?? 0, conditions: conditions.length };
  });
  ensure(found.observations > 0 && found.conditions > 0, JSON.stringify(found));
  return `${found.family}: ${found.observations} observations, ${found.conditions} conditions`;
});
await step("another patient is not found", async () => {
  const status = await page.evaluate(async (id) => {
    const answer = await window.client.request({ url: `Patient/${id}`, includeResponse: true }).catch((error) => error);
    return answer.statusCode ?? answer.status ?? answer.response?.status;
  }, settings.otherPatient);
  equal(status, 404, "the status");
});
await step("refresh", async () => {
  const [before, after] = await page.evaluate(async () => {
    const old = window.client.state.tokenResponse.access_token;
    const fresh = await window.client.refresh();
    await window.client.patient.read();
    return [old, fresh.tokenResponse.access_token];
  });
  ensure(before && after && before !== after, "no new access token");
});
await step("the user's apps", async () => {
  await page.goto(settings.management);
  await page.waitForLoadState("load");
  await judge(page, "apps");
});
await page.context().close();

await step("standalone launch by keyboard", async () => {
  const page = await person(browser);
  const scope = "launch/patient openid fhirUser patient/Patient.rs";
  await open(page, `${app}/launch.html?scope=${encodeURIComponent(scope)}`);
  await through(page, index, { user: settings.users.patient, patient: settings.patient, keyboard: true });
  const found = await state(page);
  equal(found.id, settings.patient, "the patient");
  await page.context().close();
});
await step("a second factor is set up, and asked for from then on", async () => {
  const scope = encodeURIComponent("launch/patient openid fhirUser patient/Patient.rs");
  const asked = { user: settings.users.secured, patient: settings.patient, judged: "secured" };
  const pages = [];
  for (const wanted of ["confirm-app", "second-factor"]) {
    const page = await person(browser);
    await open(page, `${app}/launch.html?scope=${scope}`);
    pages.push(await through(page, index, asked));
    await state(page);
    ensure(pages.at(-1).includes(wanted), `${wanted} is not among ${pages.at(-1).join(", ")}`);
    await page.context().close();
  }
  return pages.map((seen) => seen.join(", ")).join("; then ");
});
await step("EHR launch", async () => {
  const { launch: handle } = await launchHandle();
  const page = await person(browser);
  await open(page, `${app}/launch.html?iss=${encodeURIComponent(settings.base)}&launch=${handle}`);
  const seen = await through(page, index, {
    user: settings.users.clinician, patient: settings.patient, judged: "ehr",
  });
  ensure(!seen.includes("patient"), "the patient was asked for");
  const found = await state(page);
  equal(found.id, settings.patient, "the patient");
  equal(found.encounter, settings.encounter, "the encounter");
  equal(found.need_patient_banner, true, "need_patient_banner");
  ensure(found.smart_style_url?.startsWith("http"), "no smart_style_url");
  await page.context().close();
});
await step("denied consent comes back as an error", async () => {
  const page = await person(browser);
  // Another client: what was allowed once is not asked again.
  const scope = encodeURIComponent("launch/patient patient/Goal.rs");
  await open(page, `${app}/launch.html?client=${settings.clients.example}&scope=${scope}`);
  await through(page, index, { user: settings.users.clinician, patient: settings.patient, decision: "deny" });
  equal(new URL(page.url()).searchParams.get("error"), "access_denied", "error");
  await page.context().close();
});
await step("the example app", async () => {
  const page = await person(browser);
  await page.goto(`${settings.apps}/example/?iss=${encodeURIComponent(settings.base)}&client=${settings.clients.example}`);
  await page.click("#sign-in");
  await page.waitForURL((url) => url.href.startsWith(settings.issuer));
  await through(page, `${settings.apps}/example/`, { user: settings.users.clinician, patient: settings.patient });
  await page.waitForSelector("#patient h2", { timeout: 15000 });
  await judge(page, "example", { pictures: true }).catch((error) => {
    // The app is served by another server, without the headers of Kiln's pages.
    if (!/is missing/.test(error.message)) throw error;
  });
  return await page.locator("#patient h2").innerText();
});
await browser.close();
done();

async function launchHandle() {
  const body = new URLSearchParams({ grant_type: "client_credentials", scope: "system/__launch" });
  const { id, secret } = settings.clients.ehr;
  const basic = Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString("base64");
  const token = await fetch(settings.token, { method: "POST", body, headers: { authorization: `Basic ${basic}` } });
  ensure(token.ok, `the EHR gets no token: ${token.status} ${await token.clone().text()}`);
  const answer = await fetch(settings.launch, {
    method: "POST",
    headers: { authorization: `Bearer ${(await token.json()).access_token}`, "content-type": "application/json" },
    body: JSON.stringify({
      client_id: settings.clients.browser, user: settings.users.clinician.name, patient: settings.patient,
      encounter: settings.encounter, need_patient_banner: true,
    }),
  });
  ensure(answer.ok, `no launch handle: ${answer.status} ${await answer.clone().text()}`);
  return answer.json();
}
