// Swagger UI from the installation itself, for the API that the page names, in the theme of the console.
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");

function drawTheme() {
  root.classList.toggle("dark-mode", root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
}

drawTheme();
system.addEventListener("change", drawTheme);

// Swagger UI links an operation's path inside the button that opens it, which neither keyboards nor screen readers can
// make sense of. The address follows what is open all the same.
const withoutNestedLinks = ({ React }) => ({
  wrapComponents: { DeepLink: () => ({ text }) => React.createElement("span", {}, text) },
});

window.SwaggerUIBundle({
  url: document.body.dataset.document,
  dom_id: "#swagger",
  deepLinking: true,
  // Keys stay in this browser until they are taken out in the dialog that asked for them.
  persistAuthorization: true,
  validatorUrl: null,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  presets: [window.SwaggerUIBundle.presets.apis],
  plugins: [withoutNestedLinks],
});
