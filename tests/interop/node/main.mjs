// Starts everything, runs each client, prints a table, and stops everything by its process id.
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { here, serveApps } from "./app.mjs";
import { Kiln, freePort } from "./kiln.mjs";
import { ROLES, addService, addUser, setUp } from "./setup.mjs";

const work = process.env.KILN_INTEROP_WORK;
const folder = mkdtempSync(join(tmpdir(), "kiln-interop-"));
const chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
/** What Kiln proves itself by at the provider upstream. */
const SECRET = randomBytes(24).toString("base64url");
const only = process.argv.slice(2);
const stops = [];

const [port, appPort, upstreamPort] = [await freePort(), await freePort(), await freePort()];
const [feed, securePort, secureFeed] = [await freePort(), await freePort(), await freePort()];
const keyedPort = await freePort();
const root = `http://127.0.0.1:${port}`;
const base = `${root}/fhir`;
const origin = `http://127.0.0.1:${appPort}`;
const callback = `${origin}/callback`;
const settings = {
  base, issuer: `${root}/auth`, token: `${root}/auth/token`, launch: `${root}/auth/launch`,
  management: `${root}/auth/apps`, apps: origin, upstream: `http://127.0.0.1:${upstreamPort}`,
  chromium: process.env.KILN_INTEROP_CHROMIUM ?? chromium.find((path) => spawnSync(path, ["--version"]).status === 0),
  screenshots: process.env.KILN_INTEROP_SCREENSHOTS,
  feed, secureFeed, secureBase: `http://127.0.0.1:${securePort}/fhir`, certificates: join(folder, "certificates"),
};
const settingsFile = join(folder, "settings.json");

/** A client, what runs it, and what it needs beside. */
function clients() {
  const node = (name) => [name, process.execPath, [join(here, `${name}.mjs`)]];
  const python = join(work, "venv/bin/python");
  return [
    ["conformance", process.env.KILN, suite()],
    node("fhirclient"), node("openid-client"), node("fhir-kit-client"), node("upstream"), node("pages"), node("security-key"),
    ["python-fhirclient", python, [join(work, "python/app.py")]],
    ["python-authlib", python, [join(work, "python/backend.py")]],
    node("node-hl7-client"), ["python-hl7", python, [join(work, "python/feed.py")]], node("messages"),
    ["python-sqlmap", python, [join(work, "python/injection.py")]],
  ].filter(([name]) => only.length === 0 || only.includes(name));
}

/** The arguments of our own suite. */
function suite() {
  const { users, clients } = settings;
  return [
    "conformance", "smart", "--json", "--base", base, "--redirect-uri", callback,
    "--public-client", clients.browser,
    "--secret-client", clients.confidential.id, "--secret-file", join(folder, "secret"),
    "--key-client", clients.asymmetric.id, "--key-file", join(folder, "key.pem"), "--key-id", "interop",
    "--backend-client", clients.backend.id,
    "--user", users.clinician.name, "--password-file", join(folder, `${users.clinician.name}.password`),
    "--patient", settings.patient, "--patient-name", settings.patientName, "--encounter", settings.encounter, "--launch-endpoint", settings.launch,
  ];
}

/** Runs a client; gives its steps. */
async function run([name, program, words]) {
  const child = spawn(program, words, {
    cwd: folder, stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, KILN_INTEROP: settingsFile, PYTHONDONTWRITEBYTECODE: "1" },
  });
  stops.push(() => child.kill("SIGTERM"));
  const timer = setTimeout(() => child.kill("SIGKILL"), 300_000);
  const [out, told] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const code = child.exitCode ?? (await new Promise((resolve) => child.once("exit", resolve)));
  clearTimeout(timer);
  const steps = name === "conformance" ? checks(out) : lines(out);
  const isTold = steps.some((step) => !step.ok);
  if (code !== 0 && !isTold) steps.push({ step: "the client", ok: false, detail: `ended with ${code}: ${told.slice(-500)}` });
  return steps.map((step) => ({ name, ...step }));
}

async function text(stream) {
  let all = "";
  for await (const part of stream) all += part;
  return all;
}

function lines(out) {
  const parsed = out.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  return parsed.map(({ step, ok, detail }) => ({ step, ok, detail: typeof detail === "string" ? detail : "" }));
}

/** What of our suite may be left out or warned of here, and why. */
const ACCEPTED = [
  { verdict: "skip", reason: /is plain HTTP$/, why: "this server is on loopback; tests/oauth/suite.rs runs the suite over TLS" },
  { verdict: "skip", reason: /^no group is given$/, why: "the data has no Group; tests/oauth/suite.rs exports one" },
];

/** What did not pass in our suite, which fails unless it is accepted above, and a line for the rest. */
function checks(out) {
  if (!out.startsWith("{")) return [];
  const report = JSON.parse(out);
  const told = report.checks.filter((it) => it.verdict !== "pass");
  const steps = told.map((it) => {
    const accepted = ACCEPTED.find((known) => known.verdict === it.verdict && known.reason.test(it.reason));
    return {
      step: `${it.item} ${it.part ? `${it.part}: ` : ""}${it.check}`, ok: accepted !== undefined,
      detail: `${it.verdict}: ${it.reason}${accepted ? `; accepted: ${accepted.why}` : ""}`,
    };
  });
  const isPassed = report.failed === 0 && report.passed > 0;
  return [...steps, { step: "all checks", ok: isPassed, detail: `${report.passed} passed, ${report.failed} failed` }];
}

/** The upstream provider, with a page where it sends its users back to. */
async function upstream() {
  const child = spawn(process.execPath, [join(here, "provider.mjs"), upstreamPort, `${root}/auth/callback`], {
    stdio: ["ignore", "pipe", openSync(join(folder, "provider.log"), "a")], env: { ...process.env, UPSTREAM_SECRET: SECRET },
  });
  stops.push(() => child.kill("SIGTERM"));
  await new Promise((resolve, reject) => {
    child.stdout.once("data", resolve);
    child.once("exit", () => reject(new Error("the upstream provider ended")));
  });
}

/** A second server, whose feed wants certificates; its base is open on loopback. */
async function secure() {
  const home = join(folder, "secure");
  mkdirSync(settings.certificates);
  mkdirSync(home);
  const made = spawnSync(join(work, "venv/bin/python"), [join(work, "python/certificates.py"), settings.certificates], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`no certificates: ${made.stderr}`);
  const of = (name) => join(settings.certificates, name);
  const kiln = new Kiln(process.env.KILN, home, {
    "auth.mode": "off", "http.listen": `127.0.0.1:${securePort}`, data_dir: join(home, "data"),
    "hl7v2.listen": `127.0.0.1:${secureFeed}`, "hl7v2.certificate": of("server.pem"), "hl7v2.key": of("server.key"),
    "hl7v2.client_authorities": of("authority.pem"),
    "hl7v2.senders": "lab.interop.example=NODE*|INTEROP,lab.interop.example=PYLAB|INTEROP",
  }, {});
  stops.push(() => kiln.stop());
  await kiln.start(settings.secureBase);
}

/** A third server, which has a name: browsers give security keys to no bare addresses. */
async function keyed() {
  const home = join(folder, "keyed");
  mkdirSync(home);
  const root = `http://localhost:${keyedPort}`;
  const kiln = new Kiln(process.env.KILN, home, {
    "auth.mode": "smart", "http.listen": `127.0.0.1:${keyedPort}`, "http.base_url": `${root}/fhir`, data_dir: join(home, "data"),
    // Here its form for tokens is asked thousands of times.
    "limits.tokens_per_minute": "0", "limits.refusals_per_minute": "0",
  }, {});
  stops.push(() => kiln.stop());
  await kiln.start(`http://127.0.0.1:${keyedPort}/fhir`);
  const user = addUser(kiln, "imani", "Practitioner/interop-mori", "practitioner");
  return { issuer: `${root}/auth`, user, service: addService(kiln, "interop-injected", "system/*.rs") };
}

async function all() {
  await upstream();
  await secure();
  settings.keyed = await keyed();
  writeFileSync(join(folder, "roles.toml"), ROLES);
  const kiln = new Kiln(process.env.KILN, folder, {
    "auth.mode": "smart", "http.listen": `127.0.0.1:${port}`, "http.base_url": base, "auth.roles": join(folder, "roles.toml"), data_dir: join(folder, "data"),
    "upstream.issuer": settings.upstream, "upstream.client_id": "kiln",
    "hl7v2.listen": `127.0.0.1:${feed}`, "upstream.label": "the provider upstream", "auth.outbound_networks": "127.0.0.0/8",
  }, { KILN_UPSTREAM__CLIENT_SECRET: SECRET });
  stops.push(() => kiln.stop());
  await kiln.start(base);
  const apps = await serveApps(appPort, () => settings, join(work, "example"));
  stops.push(apps.stop);
  const redirects = [callback, `${origin}/app/index.html`, `${origin}/example/`];
  Object.assign(settings, setUp(kiln, folder, { origin, redirects }));
  writeFileSync(settingsFile, JSON.stringify(settings), { mode: 0o600 });
  const rows = [];
  for (const client of clients()) rows.push(...(await run(client)));
  return [...rows, log()];
}

/** The server's log after all of it: what is secret is not in it. */
function log() {
  const text = ["kiln.log", "secure/kiln.log", "keyed/kiln.log"].map((name) => readFileSync(join(folder, name), "utf8")).join("");
  const { users, clients } = settings;
  const secrets = [
    SECRET, users.clinician.password, users.patient.password, users.secured.password, clients.confidential.secret,
    clients.reader.secret, clients.ehr.secret, "kiln_at_", "kiln_rt_", "kiln_cs_", "code_verifier=", "Okafor", "Feedperson", users.operator.password,
    users.guardian.password, users.newcomer.password, settings.keyed.user.password, settings.keyed.service.secret,
  ];
  const found = secrets.filter((secret) => text.includes(secret)).map((secret) => secret.slice(0, 8));
  return { name: "log", step: "no secret and no name is in it", ok: found.length === 0 && text !== "", detail: found.join(", ") };
}

function print(rows) {
  const width = Math.max(...rows.map((row) => row.name.length));
  for (const row of rows) {
    console.log(`${row.ok ? "ok  " : "FAIL"} ${row.name.padEnd(width)}  ${row.step}${row.detail ? `  (${row.detail})` : ""}`);
  }
  const failed = rows.filter((row) => !row.ok).length;
  console.log(`${rows.length - failed} of ${rows.length} steps passed`);
  return failed === 0 && rows.length > 0;
}

/** Stops what was started, the last first, and removes the folder. */
async function end() {
  for (const stop of stops.splice(0).reverse()) await stop();
  if (process.env.KILN_INTEROP_KEEP) console.error(`kept: ${folder}`);
  else rmSync(folder, { recursive: true, force: true });
}

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    await end();
    process.exit(1);
  });
}
let isPassed = false;
try {
  isPassed = print(await all());
} catch (error) {
  console.error(`interop: ${error.message}`);
}
await end();
process.exit(isPassed ? 0 : 1);
