// Chromium with a security key (a virtual one, by CDP's WebAuthn domain): it is enrolled, and asked for from then on.
import { done, ensure, equal, settings, step } from "./lib.mjs";
import { click, judge, launch, login, person, submit } from "./browser.mjs";

const { issuer, user } = settings.keyed;
// What is ours is the server that has a name.
settings.issuer = issuer;
const browser = await launch();
const page = await person(browser, { refused: true });
const key = await plugIn(page);

/** A key that is touched whenever it blinks. */
async function plugIn(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("WebAuthn.enable");
  const { authenticatorId } = await session.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2", transport: "usb", hasResidentKey: false, hasUserVerification: false, automaticPresenceSimulation: true,
    },
  });
  return {
    credentials: async () => (await session.send("WebAuthn.getCredentials", { authenticatorId })).credentials,
    pullOut: () => session.send("WebAuthn.removeVirtualAuthenticator", { authenticatorId }),
  };
}

/** Presses the button that the script shows where there are keys, and waits for the next page. */
async function use(form) {
  const button = page.locator(`${form} button`);
  await button.waitFor({ state: "visible" });
  await click(page, `${form} button`);
  await page.waitForLoadState("load");
}

/** Looks at a page, and asks for it anew: a challenge is of one page, and looking asks for another one. */
async function judgeAnew(name) {
  await judge(page, name);
  await page.reload();
}

async function enter() {
  await page.goto(`${issuer}/login`);
  await login(page, user);
}

async function leave() {
  await page.goto(`${issuer}/logout`);
  await click(page, "main form button");
  await page.waitForLoadState("load");
  equal(await page.locator("h1").innerText(), "You are logged out", "the heading");
}

let codes = [];
await step("a security key is enrolled", async () => {
  await enter();
  await page.waitForURL(`${issuer}/factors*`);
  await judgeAnew("key-factors");
  await use("form[data-key=register]");
  codes = await page.locator("ul.codes .code").allInnerTexts();
  ensure(codes.length > 0, `no recovery codes: ${await page.locator("h1").innerText()}`);
  const made = await key.credentials();
  equal(made.length, 1, "the number of credentials");
  await page.goto(`${issuer}/factors`);
  await judge(page, "key-enrolled");
});
await step("it is asked for at the next login, and signs", async () => {
  await leave();
  await enter();
  await page.waitForURL(`${issuer}/second-factor*`);
  // A password alone opens nothing.
  await page.goto(`${issuer}/apps`);
  await page.waitForURL(`${issuer}/second-factor*`);
  await judgeAnew("key-second-factor");
  const [before] = await key.credentials();
  await use("form[data-key=assert]");
  await page.waitForURL(`${issuer}/apps`);
  const [after] = await key.credentials();
  ensure(after.signCount > before.signCount, `it has signed ${before.signCount}, then ${after.signCount} times`);
});
await step("without the key a recovery code lets in, once", async () => {
  await leave();
  await key.pullOut();
  await enter();
  await page.waitForURL(`${issuer}/second-factor*`);
  await page.fill("input[name=code]", codes[0] ?? "");
  await submit(page, "input[name=code]");
  await page.waitForURL(`${issuer}/apps`);
  await leave();
  await enter();
  await page.waitForURL(`${issuer}/second-factor*`);
  await page.fill("input[name=code]", codes[0] ?? "");
  await submit(page, "input[name=code]");
  await page.waitForLoadState("load");
  ensure((await page.locator("[role=alert]").innerText()).includes("not right"), "it works twice");
});
await browser.close();
done();
