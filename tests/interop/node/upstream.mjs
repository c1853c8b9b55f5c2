// A login through the upstream provider, and then a launch as every other.
import { done, ensure, equal, settings, step } from "./lib.mjs";
import { judge, launch, open, person, through } from "./browser.mjs";

const app = `${settings.apps}/app`;
const browser = await launch();
await step("login upstream, then a launch", async () => {
  const page = await person(browser);
  const scope = "launch/patient openid fhirUser patient/Patient.rs";
  await open(page, `${app}/launch.html?scope=${encodeURIComponent(scope)}`);
  await judge(page, "login-upstream");
  await page.click(`form[action="/auth/upstream"] button`);
  await page.waitForURL(`${settings.upstream}/**`);
  await page.fill("input[name=login]", settings.users.upstream.subject);
  await page.fill("input[name=password]", "anything");
  await page.click("button[type=submit]");
  await page.waitForLoadState("load");
  if (page.url().startsWith(settings.upstream)) await page.click("button[type=submit]");
  await through(page, `${app}/index.html`, { user: settings.users.clinician, patient: settings.patient });
  await page.waitForFunction(() => document.getElementById("out").textContent !== "");
  equal(await page.locator("#out").innerText(), "ready", "the app");
  const user = await page.evaluate(() => window.client.user.fhirUser);
  ensure(user?.startsWith("Practitioner/"), `fhirUser is ${user}`);
  await page.context().close();
});
await step("somebody whom Kiln does not know is not let in", async () => {
  const page = await person(browser);
  await open(page, `${app}/launch.html?scope=${encodeURIComponent("launch/patient openid patient/Patient.rs")}`);
  await page.click(`form[action="/auth/upstream"] button`);
  await page.fill("input[name=login]", "nobody-that-is-linked");
  await page.fill("input[name=password]", "anything");
  await page.click("button[type=submit]");
  await page.waitForLoadState("load");
  if (page.url().startsWith(settings.upstream)) await page.click("button[type=submit]");
  await page.waitForURL((url) => url.href.startsWith(settings.issuer));
  ensure((await page.locator("[name=decision]").count()) === 0, "consent is asked of a stranger");
  await page.context().close();
});
await browser.close();
done();
