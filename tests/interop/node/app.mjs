// A web server for apps: the pages of the fhirclient app, and the example app of the project.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const library = readFileSync(require.resolve("fhirclient/build/fhir-client.js"));

const launchPage = (settings) => `<!doctype html><meta charset="utf-8"><title>Launch</title>
<script src="/fhir-client.js"></script>
<script>
  const query = new URLSearchParams(location.search);
  FHIR.oauth2.authorize({
    clientId: query.get("client") ?? ${JSON.stringify(settings.clients.browser)},
    scope: query.get("scope") ?? "launch openid fhirUser offline_access patient/*.rs user/*.rs",
    redirectUri: "/app/index.html",
    ...(query.get("launch") ? {} : { iss: ${JSON.stringify(settings.base)} }),
    pkceMode: "required",
  });
</script>`;

const indexPage = `<!doctype html><meta charset="utf-8"><title>App</title><pre id="out"></pre>
<script src="/fhir-client.js"></script>
<script>
  window.outcome = FHIR.oauth2.ready().then((client) => (window.client = client));
  window.outcome.then(
    () => (document.getElementById("out").textContent = "ready"),
    (error) => (document.getElementById("out").textContent = "error: " + error.message));
</script>`;

/** Starts the server on a free port of loopback; gives its origin and how to stop it. */
export async function serveApps(port, settings, example) {
  const pages = {
    "/app/launch.html": () => launchPage(settings()),
    "/app/index.html": () => indexPage,
    "/fhir-client.js": () => library,
    // Nothing is here: clients that are no pages take the address apart by themselves.
    "/callback": () => "<!doctype html><title>Back</title>",
    "/favicon.ico": () => "",
  };
  const kinds = { ".css": "text/css", ".html": "text/html", ".js": "text/javascript" };
  const server = createServer((request, response) => {
    const path = new URL(request.url, "http://x").pathname;
    const kind = kinds[path.slice(path.lastIndexOf("."))] ?? "text/html";
    try {
      const body = pages[path]?.() ?? readFileSync(join(example, inside(path)));
      response.writeHead(200, { "content-type": `${kind}; charset=utf-8` }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return { origin: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

function inside(path) {
  const rest = path.replace(/^\/example/, "");
  const found = normalize(rest === "" || rest.endsWith("/") ? `${rest}/index.html` : rest);
  if (!path.startsWith("/example") || found.includes("..")) throw new Error("not found");
  return found;
}

export const here = fileURLToPath(new URL(".", import.meta.url));
