// Swagger UI from the installation itself, for the API that the page names.
const { api } = document.body.dataset;
window.SwaggerUIBundle({
  url: `/openapi/${api}.json`,
  dom_id: "#swagger",
  deepLinking: true,
  validatorUrl: null,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  presets: [window.SwaggerUIBundle.presets.apis],
});
