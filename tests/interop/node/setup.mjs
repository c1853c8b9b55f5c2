// Roles, clients and users of the run, made by the command line as an operator would.
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { bundle, ids } from "../data/make.mjs";

const APP_SCOPES = "launch launch/patient launch/encounter openid fhirUser profile offline_access online_access patient/*.cruds user/*.cruds";

/** A P-384 key: as PEM for our suite and authlib, as JWK for openid-client, its public half to register. */
function key(kid) {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
  const common = { kid, alg: "ES384", use: "sig" };
  return {
    pem: privateKey.export({ type: "pkcs8", format: "pem" }),
    jwk: { ...privateKey.export({ format: "jwk" }), ...common },
    public: { keys: [{ ...publicKey.export({ format: "jwk" }), ...common }] },
  };
}

/** The built-in roles that are needed, and a clinician's that wants no second factor. */
export const ROLES = `
[roles.clinician]
scopes = ["user/*.cruds"]
panel = "all"
clearance = "R"
second_factor = false

[roles.administrator]
scopes = ["user/*.cruds"]
panel = "all"
clearance = "V"
second_factor = true

[roles.patient]
scopes = ["user/*.rs", "user/Consent.cu"]
panel = "own"
clearance = "V"
second_factor = false

[roles.practitioner]
scopes = ["user/*.cruds"]
panel = "all"
clearance = "R"
second_factor = true
`;

/** A user with a password of its own. */
export function addUser(kiln, name, fhirUser, role) {
  const password = randomBytes(12).toString("base64url");
  kiln.runWith(password, "user", "add", name, "--fhir-user", fhirUser, "--role", role, "--password-stdin");
  return { name, password };
}

/** The secret that a client was given. */
function secret(printed) {
  const found = /^client_secret.*: (\S+)$/m.exec(printed);
  if (!found) throw new Error("kiln client add prints no secret");
  return found[1];
}

/** A service with a secret of its own. */
export function addService(kiln, id, scope) {
  return { id, secret: secret(kiln.run("client", "add", id, "--type", "backend", "--scope", scope)) };
}

/** A user who has yet to choose a password: the link to do so, and what is chosen. */
function newcomer(kiln, name, fhirUser, role) {
  const printed = kiln.run("user", "add", name, "--fhir-user", fhirUser, "--role", role);
  const link = /^http\S+\/auth\/setup\/\S+$/m.exec(printed);
  if (!link) throw new Error("kiln user add prints no link");
  return { name, password: randomBytes(12).toString("base64url"), link: link[0] };
}

/** Adds everything; gives the part of the settings that clients need. */
export function setUp(kiln, folder, { origin, redirects }) {
  const file = (name, content) => {
    writeFileSync(`${folder}/${name}`, content, { mode: 0o600 });
    return `${folder}/${name}`;
  };
  kiln.run("import", file("records.json", JSON.stringify(bundle())));

  const user = (name, fhirUser, role) => {
    const made = addUser(kiln, name, fhirUser, role);
    file(`${name}.password`, made.password);
    return made;
  };
  const users = {
    clinician: user("noor", `Practitioner/${ids.practitioner}`, "clinician"),
    patient: user("ada", `Patient/${ids.patient}`, "patient"),
    secured: user("imani", `Practitioner/${ids.practitioner}`, "practitioner"),
    operator: user("ines", `Practitioner/${ids.practitioner}`, "administrator"),
    guardian: user("guardian", `Person/${ids.guardian}`, "patient"),
    newcomer: newcomer(kiln, "newcomer", `Patient/${ids.other}`, "patient"),
    upstream: { subject: "noor-upstream" },
  };

  kiln.run("user", "link", "noor", users.upstream.subject);

  const client = (id, ...words) => kiln.run("client", "add", id, ...words);
  const app = (id, ...words) =>
    client(id, "--scope", APP_SCOPES, ...redirects.flatMap((it) => ["--redirect", it]), "--origin", origin, ...words);
  const [mine, foreign] = [key("interop"), key("foreign")];
  const jwks = file("jwks.json", JSON.stringify(mine.public));
  file("key.pem", mine.pem);
  app("interop-browser", "--public", "--name", "Interop <b>App</b> & more");
  app("interop-example", "--public", "--name", "Example app");
  const confidential = secret(app("interop-confidential", "--name", "Confidential app"));
  file("secret", confidential);
  app("interop-key", "--jwks", jwks, "--name", "App with a key");
  client("interop-backend", "--type", "backend", "--jwks", jwks, "--scope", "system/*.cruds system/__launch");
  const reader = secret(client("interop-reader", "--type", "backend", "--scope", "system/*.rs"));
  const ehr = secret(client("interop-ehr", "--type", "ehr", "--scope", "system/__launch"));
  return {
    users, patient: ids.patient, patientName: "Okafor", otherPatient: ids.other, otherName: "Lindqvist", visits: ids.visits, encounter: ids.encounter,
    clients: {
      browser: "interop-browser", example: "interop-example",
      confidential: { id: "interop-confidential", secret: confidential },
      asymmetric: { id: "interop-key", jwk: mine.jwk },
      reader: { id: "interop-reader", secret: reader }, ehr: { id: "interop-ehr", secret: ehr },
      backend: { id: "interop-backend", pem: mine.pem, foreign_pem: foreign.pem, kid: "interop" },
    },
  };
}
