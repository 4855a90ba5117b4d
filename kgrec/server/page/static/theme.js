// Light or dark, as was chosen last; it runs before anything is drawn.
"use strict";
try {
  const theme = localStorage.getItem("kgrec-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* storage is off: the system's colours it is */ }
