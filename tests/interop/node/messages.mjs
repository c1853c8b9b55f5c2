// Chromium on the pages for messages: an administrator looks, replays and discards; others may not.
import { connect } from "node:net";
import { done, ensure, equal, settings, step } from "./lib.mjs";
import { judge, launch, person, through } from "./browser.mjs";

const pages = `${settings.issuer.replace(/\/auth$/, "")}/v2`;

/** Sends a message as bytes; gives the code of its answer. */
function send(text) {
  return new Promise((resolve, reject) => {
    const socket = connect(settings.feed, "127.0.0.1", () => socket.write(`\x0b${text}\x1c\r`));
    let answer = "";
    socket.setTimeout(20_000, () => socket.destroy(new Error("no answer")));
    socket.on("error", reject);
    socket.on("data", (part) => {
      answer += part;
      if (!answer.includes("\x1c")) return;
      socket.end();
      resolve(/MSA\|(\w\w)/.exec(answer)?.[1]);
    });
  });
}

const head = (id) => `MSH|^~\\&|PAGE|INTEROP|KILN|KILN|20260704120000+0000||ORU^R01^ORU_R01|${id}|P|2.5.1\r`;
const body = (identifier) =>
  `PID|1||${identifier}||Feedperson^Page^<i>x</i>||19800102|F\r` +
  "OBR|1||F9^PAGE|24323-8^Metabolic panel^LN|||20260704110000+0000|||||||||||||||20260704113000+0000|||F\r" +
  "OBX|1|NM|2951-2^Sodium^LN||140|mmol/L|135-145|N|||F\r" +
  `OBX|2|ST|X1^A test that only the sender knows^99PAGE||${"a long text ".repeat(20)}||||||F\r`;

/** Markup in each place of a message that becomes a text of a resource. */
const MARKUP =
  "PID|1||PG9^^^INTEROP^MR||<script>alert(1)</script>^<b>x</b>||19800102|F\r" +
  "OBR|1||F99^PAGE|24323-8^<img src=x onerror=alert(2)>^LN|||20260704110000+0000|||||||||||||||20260704113000+0000|||F\r" +
  "OBX|1|ST|2951-2^<img src=x onerror=alert(3)>^LN||<svg onload=alert(4)>||||||F\r" +
  "NTE|1||<script>alert(5)</script> [here](javascript:alert(6))\r" +
  "OBX|2|ED|11502-2^A document^LN||^TEXT^HTML^Base64^PHNjcmlwdD5hbGVydCg3KTwvc2NyaXB0Pg==||||||F\r";
/** A narrative as it may be stored, and one that may not. */
const narrative = (part) =>
  `<div xmlns="http://www.w3.org/1999/xhtml"><p>&lt;script&gt;alert(8)&lt;/script&gt; <b>${part}</b></p></div>`;

const browser = await launch();
const operator = await person(browser, { script: true });
try {
  await step("a message that works and two that fail come in", async () => {
    equal(await send(head("page-1") + body("PG1^^^INTEROP^MR")), "AA", "the first answer");
    equal(await send(head("page-2") + body("")), "AE", "the second answer");
    equal(await send(head("page-3") + body("")), "AE", "the third answer");
  });

  await step("nobody sees them without logging in, and an administrator after both factors", async () => {
    await operator.goto(pages);
    ensure(operator.url().startsWith(`${settings.issuer}/login`), `the page is ${operator.url()}`);
    await through(operator, `${settings.issuer}/apps`, { user: settings.users.operator });
    await operator.click("a[href='/v2']");
    await operator.waitForURL(pages);
    await judge(operator, "messages");
  });

  await step("a filter shows what failed", async () => {
    await operator.selectOption("select[name=state]", "failed");
    await operator.fill("input[name=site]", "PAGE|INTEROP");
    await operator.click("form.filter button");
    await operator.waitForURL(/state=failed/);
    await judge(operator, "messages-failed");
    const text = await operator.locator("main").innerText();
    ensure(text.includes("page-2") && text.includes("page-3") && !text.includes("page-1"), "not those that failed");
  });

  await step("a message is shown by segments beside the resources that it made", async () => {
    await operator.goto(`${pages}?site=PAGE%7CINTEROP`);
    await operator.click("text=page-1");
    await operator.waitForURL(/view/);
    await judge(operator, "message");
    const text = await operator.locator("main").innerText();
    for (const part of ["OBX 2", "Observation", "base/", "PID-5", "valueString"]) {
      ensure(text.includes(part), `${part} is not on the page`);
    }
    equal(await operator.locator("main i").count(), 0, "elements that a message brought along");
    await operator.click("section[aria-labelledby=did] a >> nth=0");
    await operator.waitForURL(/show=/);
    await judge(operator, "message-stored");
    ensure((await operator.locator("main pre").first().innerText()).includes("resourceType"), "no resource");
  });

  await step("by keys alone a failed message is discarded for a reason", async () => {
    await operator.goto(`${pages}?state=failed&site=PAGE%7CINTEROP`);
    await operator.click("text=page-3");
    await operator.waitForURL(/view/);
    await judge(operator, "message-failed");
    for (let count = 0; count < 200; count += 1) {
      if (await operator.evaluate(() => document.activeElement?.id === "reason")) break;
      await operator.keyboard.press("Tab");
    }
    await operator.keyboard.type("sent by mistake");
    await operator.keyboard.press("Tab");
    await operator.keyboard.press("Tab");
    const left = operator.waitForEvent("framenavigated");
    await operator.keyboard.press("Enter");
    await left;
    await operator.waitForLoadState("load");
    ensure((await operator.locator("main").innerText()).includes("sent by mistake"), "it is not discarded");
    await judge(operator, "message-discarded");
  });

  await step("a replay puts a message back into line, and a form without its proof does nothing", async () => {
    await operator.goto(`${pages}?state=failed&site=PAGE%7CINTEROP`);
    await operator.click("text=page-2");
    await operator.waitForURL(/view/);
    const here = operator.url();
    const forged = await operator.context().request.post(here, { form: { do: "discard", reason: "forged" } });
    equal(forged.status(), 403, "the status of a forged form");
    await operator.fill("#reason", "the sender has mended it");
    const left = operator.waitForEvent("framenavigated");
    await operator.click("button[value=replay]");
    await left;
    await operator.waitForLoadState("load");
    equal(operator.url(), here, "the page after it");
    await operator.goto(here);
    await judge(operator, "message-replayed");
  });

  await step("markup that messages brought along is text on every page", async () => {
    ensure(["AA", "AE"].includes(await send(head("page-9") + MARKUP)), "no answer");
    await operator.goto(`${pages}?site=PAGE%7CINTEROP`);
    await operator.click("text=page-9");
    await operator.waitForURL(/view/);
    await judge(operator, "message-markup");
    const links = operator.locator("section[aria-labelledby=did] a");
    const shown = await links.evaluateAll((all) => all.map((it) => it.href));
    ensure(shown.length >= 3, `the message made ${shown.length} resources`);
    let all = "";
    for (const address of shown) {
      await operator.goto(address);
      await judge(operator, "message-markup-stored", { pictures: false });
      equal(await operator.locator("main script, main img, main svg, main b, main a[href^=javascript]").count(), 0, "elements that a message brought along");
      all += await operator.locator("main pre").first().innerText();
    }
    for (const part of ["alert(1)", "alert(3)", "alert(4)", "alert(5)", "PHNjcmlwdD5"]) ensure(all.includes(part), `${part} is in no resource`);
  });

  await step("a narrative runs nothing where a browser opens the resource itself", async () => {
    const put = (part) => fetch(`${settings.secureBase}/Patient/narrative`, {
      method: "PUT", headers: { "Content-Type": "application/fhir+json" },
      body: JSON.stringify({ resourceType: "Patient", id: "narrative", text: { status: "generated", div: narrative(part) } }),
    });
    ensure((await put("<script>alert(9)</script>")).status >= 400, "a script is stored");
    ensure((await put("<img src='x' onerror='alert(9)'/>")).status >= 400, "a handler is stored");
    ensure((await put("p")).ok, "the narrative is refused");
    const visitor = await person(browser);
    for (const format of ["json", "xml", "html"]) {
      // Chromium may offer what it cannot show as a file.
      await visitor.goto(`${settings.secureBase}/Patient/narrative?_format=${format}`).catch(() => undefined);
      await visitor.waitForTimeout(300);
    }
    ensure(visitor.faults.length === 0, visitor.faults.join("; "));
  });

  await step("somebody without the role is told so", async () => {
    const other = await person(browser);
    await other.goto(pages);
    await through(other, `${settings.issuer}/apps`, { user: settings.users.clinician });
    equal(await other.locator("a[href='/v2']").count(), 0, "links to the messages");
    const answer = await other.goto(pages);
    equal(answer.status(), 403, "the status");
    // What a refusal is shown as is a page like the others, and no fault of ours.
    other.faults.length = 0;
    await judge(other, "messages-forbidden");
  });
} finally {
  await browser.close();
}
done();
