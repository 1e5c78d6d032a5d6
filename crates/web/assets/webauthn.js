// Passkeys and security keys: asks the browser for what a form's data say, and sends what comes of it as the form's answer.
"use strict";

(() => {
  const WORDS = {
    NotAllowedError: "That was cancelled, took too long, or this device has no passkey for this site. Try again, or use another way.",
    AbortError: "That was cancelled. Try again, or use another way.",
    InvalidStateError: "This authenticator is set up already.",
    NotSupportedError: "This authenticator cannot be used here. Try another one.",
    ConstraintError: "This authenticator cannot verify you. Set up its PIN, fingerprint or face, or try another one.",
  };
  const OTHER = "That did not work. Try again, or use another way.";
  const UNABLE = "This browser cannot use passkeys here. They need a current browser and an address that begins with https.";

  const bytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
  };
  const written = (buffer) => {
    let plain = "";
    for (const byte of new Uint8Array(buffer)) plain += String.fromCharCode(byte);
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };
  const listed = (list) => (list || []).map((known) => ({ ...known, id: bytes(known.id) }));

  const read = (options) => {
    const publicKey = { ...options, challenge: bytes(options.challenge) };
    if (options.user) publicKey.user = { ...options.user, id: bytes(options.user.id) };
    if (options.excludeCredentials) publicKey.excludeCredentials = listed(options.excludeCredentials);
    if (options.allowCredentials) publicKey.allowCredentials = listed(options.allowCredentials);
    return publicKey;
  };

  const answer = (credential) => {
    const given = credential.response;
    const response = { clientDataJSON: written(given.clientDataJSON) };
    if (given.attestationObject) {
      response.attestationObject = written(given.attestationObject);
      if (given.getTransports) response.transports = given.getTransports();
    } else {
      response.authenticatorData = written(given.authenticatorData);
      response.signature = written(given.signature);
      response.userHandle = given.userHandle ? written(given.userHandle) : null;
    }
    return JSON.stringify({ id: credential.id, rawId: written(credential.rawId), type: credential.type, response });
  };

  const prepare = (form) => {
    const { webauthn: kind, options, answer: field, origin, optional } = form.dataset;
    const alert = form.querySelector("[role=alert]");
    const tell = (text) => {
      alert.textContent = text;
      alert.hidden = false;
    };
    const elsewhere = `Passkeys of this site work at ${origin} only. Open that address and begin again.`;
    const obstacle = location.origin !== origin ? elsewhere : window.PublicKeyCredential ? "" : UNABLE;
    if (obstacle && optional !== undefined) return;
    form.hidden = false;
    if (obstacle) {
      tell(obstacle);
      form.querySelector("button").hidden = true;
      return;
    }
    const publicKey = () => read(JSON.parse(options));
    const send = (credential) => {
      form.elements[field].value = answer(credential);
      form.submit();
    };
    let waiting = null;

    // Browsers offer passkeys where the user name is typed.
    const offer = async () => {
      const able = PublicKeyCredential.isConditionalMediationAvailable;
      if (optional === undefined || !able || !(await able.call(PublicKeyCredential))) return;
      waiting = new AbortController();
      const asked = { publicKey: publicKey(), mediation: "conditional", signal: waiting.signal };
      // Whoever types a password instead is not told of it.
      navigator.credentials.get(asked).then(send, () => {});
    };

    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (waiting) waiting.abort();
      waiting = null;
      alert.hidden = true;
      const button = form.querySelector("button");
      button.disabled = true;
      try {
        send(await navigator.credentials[kind]({ publicKey: publicKey() }));
      } catch (error) {
        tell(error.name === "SecurityError" ? elsewhere : WORDS[error.name] || OTHER);
        button.disabled = false;
        button.focus();
      }
    });
    offer();
  };

  document.querySelectorAll("form[data-webauthn]").forEach(prepare);
})();
