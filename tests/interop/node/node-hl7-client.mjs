// npm node-hl7-client: a sender over TCP, and over TLS with a certificate.
import { readFileSync } from "node:fs";
import Client, { Batch, HL7_2_5_1, Message } from "node-hl7-client";
import { done, ensure, equal, settings, step } from "./lib.mjs";

const file = (name) => readFileSync(`${settings.certificates}/${name}`);

/** An admission as the library writes it. */
function admission(id, patient, application = "NODEADT") {
  return new HL7_2_5_1()
    .buildMSH({
      msh_3: application, msh_4: "INTEROP", msh_5: "KILN", msh_6: "KILN", msh_9_1: "ADT", msh_9_2: "A01",
      msh_9_3: "ADT_A01", msh_10: id, msh_11_1: "P",
    })
    .buildEVN({ evn_2: new Date() })
    .buildPID({ pid_3: `${patient}^^^INTEROP^MR`, pid_5: "Feedperson^Node", pid_7: new Date("1980-01-02T00:00:00Z"), pid_8: "F" })
    .buildPV1({ pv1_2: "I", pv1_19: `V${patient}^^^INTEROP^VN` })
    .toMessage();
}

/** Sends over one connection; gives the answers in their order. */
async function send(messages, { port, tls }) {
  const client = new Client({ host: "127.0.0.1", version: "2.5.1", ...(tls ? { tls } : {}) });
  const answers = [];
  const connection = client.createConnection({ port, maxConnectionAttempts: 2 }, async (answer) => {
    const found = answer.getMessage();
    answers.push({ code: found.get("MSA.1").toString(), id: found.get("MSA.2").toString(), text: found.toString() });
  });
  connection.on?.("client.error", () => {});
  connection.on?.("error", () => {});
  try {
    for (const message of messages) await connection.sendMessage(message);
    for (let count = 0; answers.length < messages.length && count < 100; count += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } finally {
    await connection.close();
  }
  return answers;
}

const plain = { port: settings.feed };
const secure = {
  port: settings.secureFeed,
  tls: { ca: file("authority.pem"), cert: file("client.pem"), key: file("client.key"), rejectUnauthorized: true },
};

for (const [way, where] of [["TCP", plain], ["TLS", secure]]) {
  await step(`admissions over ${way} are answered with AA, in their order`, async () => {
    const ids = ["1", "2", "3"].map((number) => `node-${way}-${number}`);
    const answers = await send(ids.map((id, at) => admission(id, `N${way}${at}`)), where);
    equal(answers.map(({ code }) => code).join(" "), "AA AA AA", "the codes");
    equal(answers.map(({ id }) => id).join(" "), ids.join(" "), "the ids");
    ensure(answers.every(({ text }) => !text.includes("Feedperson")), "an answer tells a name");
    return `${answers.length} answers`;
  });
}

await step("the same message again has the same answer", async () => {
  const once = admission("node-again", "NAGAIN").toString();
  const [first] = await send([new Message({ text: once })], secure);
  const [second] = await send([new Message({ text: once })], secure);
  equal(second.text, first.text, "the second answer");
});

await step("the patient is in the store, once", async () => {
  const found = await fetch(`${settings.secureBase}/Patient?identifier=NTLS0&_count=10`).then((it) => it.json());
  equal(found.total, 1, "the number of patients");
  equal(found.entry[0].resource.name[0].family, "Feedperson", "the name");
  equal(found.entry[0].resource.birthDate, "1980-01-02", "the birth date");
});

await step("a batch has one answer with those of its messages", async () => {
  const batch = new Batch();
  batch.start();
  for (const number of [1, 2]) batch.add(admission(`node-batch-${number}`, `NB${number}`));
  batch.end();
  const client = new Client({ host: "127.0.0.1", version: "2.5.1" });
  const codes = [];
  const connection = client.createConnection({ port: settings.feed }, async (answer) => {
    codes.push(answer.getMessage().get("MSA.1").toString());
  });
  try {
    await connection.sendMessage(batch);
    for (let count = 0; codes.length < 2 && count < 50; count += 1) await new Promise((resolve) => setTimeout(resolve, 100));
  } finally {
    await connection.close();
  }
  ensure(codes.length > 0 && codes.every((code) => code === "AA"), `the codes are ${codes}`);
});

await step("a name that the certificate is not bound to is refused with AR", async () => {
  const [answer] = await send([admission("node-foreign", "NX", "OTHER")], secure);
  equal(answer.code, "AR", "the code");
});

done();
