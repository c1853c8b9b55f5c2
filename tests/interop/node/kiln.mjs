// The server under test: started on a free port with a new data folder, asked by its command line, stopped by its id.
import { execFileSync, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { createServer } from "node:net";

/** A port that is free at this moment. */
export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export class Kiln {
  /** `values` are settings by key, `secrets` those that no list of processes may show. */
  constructor(program, folder, values, secrets) {
    this.program = program;
    this.env = { ...process.env, ...secrets };
    this.folder = folder;
    this.sets = Object.entries(values).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
  }

  /** Runs a command and gives what it prints. */
  run(...words) {
    return this.runWith("", ...words);
  }

  /** The same, with a text on its standard input. */
  runWith(input, ...words) {
    try {
      return execFileSync(this.program, [...words, ...this.sets], { cwd: this.folder, encoding: "utf8", input, stdio: "pipe", env: this.env });
    } catch (error) {
      throw new Error(`kiln ${words.join(" ")}: ${error.stderr || error.message}`);
    }
  }

  async start(base) {
    const log = createWriteStream(`${this.folder}/kiln.log`);
    this.process = spawn(this.program, ["serve", ...this.sets], { cwd: this.folder, stdio: ["ignore", "pipe", "pipe"], env: this.env });
    this.process.stdout.pipe(log);
    this.process.stderr.pipe(log);
    let ended;
    this.process.on("exit", (code) => (ended = code ?? "a signal"));
    for (let count = 0; count < 600; count += 1) {
      if (ended !== undefined) throw new Error(`the server ended with ${ended}; see ${this.folder}/kiln.log`);
      const answer = await fetch(`${base.replace(/\/fhir$/, "")}/health/ready`).catch(() => undefined);
      if (answer?.ok) return;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    throw new Error(`the server is not ready; see ${this.folder}/kiln.log`);
  }

  async stop() {
    if (!this.process || this.process.exitCode !== null) return;
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGTERM");
    await ended;
  }
}
