// Before anything is drawn, so that a chosen theme does not flash in from the other one.
try {
  const theme = localStorage.getItem("prosopon.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden: the system's theme it is.
}
