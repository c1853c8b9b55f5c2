// Chromium on the pages that the way of an app seldom leads through: the link of a new account, which visit it is
// about, logging out, and what is said when something is wrong; and whose record it is, by keyboard alone.
import { done, ensure, equal, settings, step } from "./lib.mjs";
import { click, judge, launch, login, open, person, submit, through } from "./browser.mjs";

const { issuer, users } = settings;
const app = `${settings.apps}/app`;
const index = `${app}/index.html`;
const browser = await launch();

/** What the app was told with its token, once it is ready. */
async function told(page) {
  await page.waitForURL(`${index}*`);
  await page.waitForFunction(() => document.getElementById("out").textContent !== "");
  equal(await page.locator("#out").innerText(), "ready", "the app");
  return page.evaluate(() => window.client.state.tokenResponse);
}

/** The alert of a page that says what is wrong. */
async function alert(page) {
  return page.locator("[role=alert]").innerText();
}

const page = await person(browser, { refused: true });
await step("a password is chosen by a link that works once", async () => {
  const { link, password } = users.newcomer;
  const send = async (again) => {
    await page.fill("input[name=password]", password);
    await page.fill("input[name=again]", again);
    await submit(page, "input[name=again]");
    await page.waitForLoadState("load");
  };
  await page.goto(link);
  await judge(page, "setup");
  await send(`${password}-`);
  ensure((await alert(page)).includes("differ"), "two passwords that differ are taken");
  await judge(page, "setup-refused");
  await send(password);
  await page.waitForURL(`${issuer}/login`);
  await page.goto(link);
  ensure((await page.locator("h1").innerText()).includes("cannot be used"), "the link works twice");
  await judge(page, "setup-over");
});
await step("a wrong password is told, and the right one lets in", async () => {
  await page.goto(`${issuer}/login`);
  await login(page, { ...users.newcomer, password: "not the one that was chosen" });
  await page.waitForLoadState("load");
  ensure((await alert(page)).includes("wrong"), "nothing is said");
  await judge(page, "login-refused");
  await login(page, users.newcomer);
  await page.waitForURL(`${issuer}/apps`);
});
await step("logging out", async () => {
  await page.goto(`${issuer}/logout`);
  await judge(page, "logout");
  await click(page, "main form button");
  await page.waitForLoadState("load");
  equal(await page.locator("h1").innerText(), "You are logged out", "the heading");
  await judge(page, "logged-out");
  await page.goto(`${issuer}/apps`);
  await page.waitForURL(`${issuer}/login*`);
});
await step("a request that cannot be answered", async () => {
  const asked = new URLSearchParams({ response_type: "code", client_id: "nobody", redirect_uri: `${settings.apps}/callback` });
  await page.goto(`${issuer}/authorize?${asked}`);
  equal(await page.locator("h1").innerText(), "This request cannot be answered", "the heading");
  await judge(page, "error");
});
await page.context().close();

await step("which visit it is about", async () => {
  const page = await person(browser);
  const scope = "launch/patient launch/encounter openid fhirUser patient/Patient.rs patient/Encounter.rs";
  await open(page, `${app}/launch.html?scope=${encodeURIComponent(scope)}`);
  const [encounter] = settings.visits;
  const seen = await through(page, index, {
    user: users.clinician, patient: settings.otherPatient, name: settings.otherName, encounter, judged: "visit",
  });
  ensure(seen.includes("encounter"), `pages: ${seen.join(", ")}`);
  const found = await told(page);
  equal(found.patient, settings.otherPatient, "the patient");
  equal(found.encounter, encounter, "the encounter");
  await page.context().close();
});
await step("whose record and which visit, by keyboard, of who stands for two", async () => {
  const page = await person(browser);
  const scope = "launch/patient launch/encounter openid fhirUser patient/Patient.rs patient/Encounter.rs";
  await open(page, `${app}/launch.html?scope=${encodeURIComponent(scope)}`);
  // Neither is the first one that is listed.
  const [encounter] = settings.visits;
  const seen = await through(page, index, {
    user: users.guardian, patient: settings.otherPatient, encounter, judged: "guardian", keyboard: true,
  });
  equal(seen.join(", "), "login, patient, encounter, consent", "the pages");
  const found = await told(page);
  equal(found.patient, settings.otherPatient, "the patient");
  equal(found.encounter, encounter, "the encounter");
  await page.context().close();
});
await browser.close();
done();
