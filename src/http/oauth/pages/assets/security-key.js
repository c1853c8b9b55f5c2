// Asks the browser for a security key, and sends what it says with the form. Nothing else on these
// pages needs a script: without this one, codes of an app and recovery codes still work.
(() => {
  "use strict";
  const decode = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (it) => it.charCodeAt(0));
  const encode = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer)))
      .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  const credentials = (text) =>
    (text || "").split(" ").filter(Boolean).map((id) => ({ type: "public-key", id: decode(id) }));

  const register = async (data) => {
    const made = await navigator.credentials.create({
      publicKey: {
        challenge: decode(data.challenge),
        rp: { id: data.party, name: "Kiln" },
        user: { id: decode(data.user), name: data.name, displayName: data.name },
        pubKeyCredParams: [{ type: "public-key", alg: -7 }],
        excludeCredentials: credentials(data.credentials),
        attestation: "none",
        timeout: 120000,
      },
    });
    return {
      client_data: encode(made.response.clientDataJSON),
      attestation: encode(made.response.attestationObject),
    };
  };

  const assert = async (data) => {
    const made = await navigator.credentials.get({
      publicKey: {
        challenge: decode(data.challenge),
        rpId: data.party,
        allowCredentials: credentials(data.credentials),
        userVerification: "discouraged",
        timeout: 120000,
      },
    });
    return {
      credential: encode(made.rawId),
      client_data: encode(made.response.clientDataJSON),
      authenticator_data: encode(made.response.authenticatorData),
      signature: encode(made.response.signature),
    };
  };

  for (const form of document.querySelectorAll("form[data-key]")) {
    const button = form.querySelector("button");
    const said = form.querySelector("[role=status]");
    if (!window.PublicKeyCredential) {
      said.textContent = "This browser cannot use security keys.";
      continue;
    }
    button.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      said.textContent = "Touch your security key.";
      try {
        const ask = form.dataset.key === "register" ? register : assert;
        for (const [name, value] of Object.entries(await ask(form.dataset))) {
          form.elements.namedItem(name).value = value;
        }
        form.submit();
      } catch (error) {
        said.textContent = "The security key did not answer. Try again, or use another way.";
      }
    });
  }
})();
