// npm oidc-provider as the upstream identity provider: its development pages take any name as the user's.
import { Provider } from "oidc-provider";

const [port, redirect] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: "kiln", client_secret: process.env.UPSTREAM_SECRET,
    redirect_uris: [redirect], response_types: ["code"], grant_types: ["authorization_code"],
  }],
  claims: { openid: ["sub"], profile: ["name"], email: ["email"] },
  findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id, name: id, email: `${id}@example.org` }) }),
  pkce: { required: () => true },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
