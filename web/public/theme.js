// Applies the stored theme before anything is painted. Kept in step with src/theme/theme.ts.
;(function () {
  var choice = null
  try {
    choice = localStorage.getItem('anlan.theme')
  } catch (_) {
    // Storage may be forbidden; the system's preference is then the answer.
  }
  var dark = choice === 'dark' || (choice !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
  document.documentElement.classList.toggle('dark', dark)
})()
