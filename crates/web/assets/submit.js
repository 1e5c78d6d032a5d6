// Sends the form of a page that has nothing to ask: its button is for browsers without script.
"use strict";

document.querySelector("form[data-submit]").requestSubmit();
