// Chromium on the server's pages: fills them in as a person would, and judges each page on the way.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createHmac } from "node:crypto";
import { chromium } from "playwright-core";
import { ensure, settings } from "./lib.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Widths at which each page is pictured and judged: a desk and a phone. */
const WIDTHS = [1280, 390];

/** More pages than any login has. */
const PAGES = 20;

export async function launch() {
  return chromium.launch({
    executablePath: settings.chromium,
    // Chromium refuses to run as root with its sandbox.
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
}

/**
 * A fresh person: no cookies, no history. `script: false` turns scripts of pages off; `refused: true` is for who
 * asks for what is refused, so that the status of a page is no fault of it.
 */
export async function person(browser, { script = true, refused = false } = {}) {
  const context = await browser.newContext({ javaScriptEnabled: script, viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  page.faults = [];
  // What a page's policy keeps from running is a fault too: nothing should have tried.
  await page.exposeFunction("kilnViolation", (told) => page.faults.push(told));
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      window.kilnViolation(`${event.documentURI}: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  // Apps may ask for what they do not get; the server's own pages may not fail.
  const isOurs = () => page.url().startsWith(settings.issuer);
  const isRefusal = (message) =>
    refused && /responded with a status of 4\d\d/.test(message.text()) && !message.location().url.includes("/assets/");
  page.on("console", (message) => {
    if (message.type() === "error" && isOurs() && !isRefusal(message)) page.faults.push(`${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => isOurs() && page.faults.push(`${page.url()}: ${error.message}`));
  page.on("dialog", async (dialog) => {
    page.faults.push(`${page.url()}: a dialog`);
    await dialog.dismiss();
  });
  return page;
}

/** Opens an app's page, which sends the browser on to the server. */
export async function open(page, address) {
  await page.goto(address);
  await page.waitForURL((url) => url.href.startsWith(settings.issuer));
}

/** What each page of the server must hold: headers, no fault of a script, accessibility. */
export async function judge(page, name, { pictures = true } = {}) {
  const answer = await page.context().request.get(page.url(), { maxRedirects: 0 }).catch(() => undefined);
  const isPage = answer && (answer.status() === 200 || answer.status() >= 400);
  if (isPage) headers(answer.headers(), page.url());
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: width > 600 ? 900 : 844 });
    if (pictures && settings.screenshots) {
      mkdirSync(settings.screenshots, { recursive: true });
      await page.screenshot({ path: `${settings.screenshots}/${name}-${width}.png`, fullPage: true });
    }
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    ensure(overflow <= 0, `${name} is ${overflow} px wider than a screen of ${width}`);
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
    const told = found.violations.map((it) => `${it.id} (${it.nodes.map((node) => node.target).join(" ")})`);
    ensure(told.length === 0, `${name} at ${width} px: ${told.join("; ")}`);
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  ensure(page.faults.length === 0, page.faults.join("; "));
}

function headers(found, url) {
  const policy = found["content-security-policy"] ?? "";
  for (const [name, holds] of [
    ["content-security-policy with frame-ancestors 'none'", /frame-ancestors 'none'/.test(policy)],
    ["content-security-policy without unsafe-inline", policy !== "" && !/unsafe-inline/.test(policy)],
    ["x-frame-options", /deny/i.test(found["x-frame-options"] ?? "")],
    ["x-content-type-options", found["x-content-type-options"] === "nosniff"],
    ["referrer-policy", /no-referrer|same-origin/.test(found["referrer-policy"] ?? "")],
    ["cache-control", /no-store/.test(found["cache-control"] ?? "")],
  ]) {
    ensure(holds, `${url.split("?")[0]}: ${name} is missing`);
  }
}

/** Presses Tab until the element that matches has the focus. */
async function tabTo(page, selector) {
  for (let count = 0; count < 60; count += 1) {
    if (await page.evaluate((it) => document.activeElement?.matches(it) ?? false, selector)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`${selector} is not reached by Tab`);
}

/**
 * Goes through the server's pages until the browser is at `until` (the start of an address).
 * `judged` is what pages are judged under, when they are; `keyboard` uses no mouse; `name` is what a patient is
 * searched by, and `encounter` the visit that is chosen where one is asked for.
 */
export async function through(
  page, until, { user, patient, name, encounter, judged, keyboard = false, decision = "allow", seen = [] },
) {
  for (let count = 0; count < PAGES; count += 1) {
    await page.waitForLoadState("load");
    if (page.url().startsWith(until)) return seen;
    const has = async (selector) => (await page.locator(selector).count()) > 0;
    const named = async (name) => {
      seen.push(name);
      if (judged) await judge(page, `${judged}-${name}`);
    };
    const before = page.url();
    if (await has("input[name=password]")) {
      ensure(!seen.includes("login"), `the login of ${user.name} is refused`);
      await named("login");
      await login(page, user, keyboard);
    } else if (await has("[name=decision]")) {
      await named("consent");
      await consent(page, keyboard, decision);
    } else if (await has("input[name=patient]")) {
      await named("patient");
      await pick(page, "patient", patient, keyboard);
    } else if (await has("input[name=encounter]")) {
      ensure(!seen.includes("encounter"), `the visit ${encounter} is refused`);
      await named("encounter");
      await pick(page, "encounter", encounter, keyboard);
    } else if (await has("input[name=birthdate]")) {
      ensure(!seen.includes("patient-search"), "the search finds nobody");
      await named("patient-search");
      await search(page, name ?? settings.patientName);
    } else if (await has("ul.codes")) {
      await named("recovery-codes");
      await click(page, "main p a");
    } else if (page.url().startsWith(`${settings.issuer}/factors`)) {
      ensure(!seen.includes("confirm-app"), "the code of the new app is refused");
      await enrol(page, user, named);
    } else if (await has("input[name=code]")) {
      ensure(!seen.includes("second-factor"), "the second factor is refused");
      await named("second-factor");
      await page.fill("input[name=code]", await freshCode(user));
      await submit(page, "input[name=code]", keyboard);
    } else {
      const text = await page.locator("body").innerText();
      throw new Error(`${before.split("?")[0]}: a page we do not know: ${text.slice(0, 200)}`);
    }
  }
  throw new Error(`still not at ${until} after ${PAGES} pages`);
}

/** Fills in the login and sends it. */
export async function login(page, user, keyboard = false) {
  if (keyboard) {
    await tabTo(page, "input[name=username]");
    await page.keyboard.type(user.name);
    await tabTo(page, "input[name=password]");
    await page.keyboard.type(user.password);
  } else {
    await page.fill("input[name=username]", user.name);
    await page.fill("input[name=password]", user.password);
  }
  await submit(page, "input[name=password]", keyboard);
}

/** Sends the form that has a field. */
export async function submit(page, field, keyboard = false) {
  const left = page.waitForEvent("framenavigated");
  if (keyboard) await page.keyboard.press("Enter");
  else await page.locator(`form:has(${field}) button[type=submit], form:has(${field}) button:not([type])`).first().click();
  await left;
}

export async function click(page, selector) {
  const left = page.waitForEvent("framenavigated");
  await page.click(selector);
  await left;
}

async function search(page, name) {
  await page.fill("input[name=name]", name);
  await click(page, "[name=action][value=search]");
}

/** Adds an authenticator app: begins, then confirms with the first code of the key that is shown. */
async function enrol(page, user, named) {
  if ((await page.locator("p.code").count()) === 0) {
    await named("factors");
    await click(page, "form:has(input[value=begin-app]) button");
    return;
  }
  user.totp = (await page.locator("p.code").innerText()).trim();
  await named("confirm-app");
  await page.fill("input[name=code]", await freshCode(user));
  await submit(page, "input[name=code]", false);
}

/** A code that was not used before: the server takes each once. */
async function freshCode(user) {
  const step = () => Math.floor(Date.now() / 30000);
  while (user.step === step()) await new Promise((resolve) => setTimeout(resolve, 500));
  user.step = step();
  return totp(user.totp);
}

/** Chooses one of what is listed: a patient, a visit. */
async function pick(page, name, value, keyboard) {
  const choice = `input[name=${name}][value="${value}"]`;
  ensure((await page.locator(choice).count()) > 0, `${name} ${value} is not offered`);
  if (keyboard) {
    await pickByKeyboard(page, name, value);
    return;
  }
  // The label may cover the button; a person clicks either.
  await page.locator(choice).check({ force: true });
  await submit(page, `input[name=${name}]`);
}

/** The same with Tab, the space bar, arrows and Enter alone. */
async function pickByKeyboard(page, name, value) {
  const group = `input[name=${name}]`;
  await tabTo(page, group);
  await page.keyboard.press("Space");
  const chosen = () => page.evaluate((it) => document.querySelector(`${it}:checked`)?.value, group);
  for (let count = await page.locator(group).count(); (await chosen()) !== value; count -= 1) {
    ensure(count > 0, `${name} ${value} is not reached by arrows`);
    await page.keyboard.press("ArrowDown");
  }
  await tabTo(page, "button[value=choose]");
  const left = page.waitForEvent("framenavigated");
  await page.keyboard.press("Enter");
  await left;
}

async function consent(page, keyboard, decision) {
  const button = `[name=decision][value=${decision}]`;
  const left = page.waitForEvent("framenavigated");
  if (keyboard) {
    await tabTo(page, button);
    await page.keyboard.press("Enter");
  } else {
    await page.click(button);
  }
  await left;
}

/** The code of a second factor at this moment (RFC 6238). */
export function totp(secret, now = Date.now()) {
  ensure(secret, "a second factor is asked for");
  let bits = "";
  for (const letter of secret.toUpperCase().replace(/[^A-Z2-7]/g, "")) {
    bits += "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0");
  }
  const key = Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(now / 30000)));
  const tag = createHmac("sha1", key).update(counter).digest();
  const at = tag[19] & 15;
  return String((tag.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}
