// Light and dark: the user's choice, or the system's when there is none.
// public/theme.js does the same before the first paint. Start at [`useTheme`].
import { computed, readonly, ref, watchEffect } from 'vue'

export type ThemeChoice = 'auto' | 'light' | 'dark'
const KEY = 'anlan.theme'

function stored(): ThemeChoice {
  const value = localStorage.getItem(KEY)
  return value === 'light' || value === 'dark' ? value : 'auto'
}

const system = typeof matchMedia === 'function' ? matchMedia('(prefers-color-scheme: dark)') : null
const systemDark = ref(system?.matches ?? false)
system?.addEventListener('change', (event) => (systemDark.value = event.matches))

const choice = ref<ThemeChoice>(typeof localStorage === 'undefined' ? 'auto' : stored())
const dark = computed(() => choice.value === 'dark' || (choice.value === 'auto' && systemDark.value))

if (typeof document !== 'undefined') {
  watchEffect(() => document.documentElement.classList.toggle('dark', dark.value))
}

function choose(next: ThemeChoice) {
  choice.value = next
  if (next === 'auto') localStorage.removeItem(KEY)
  else localStorage.setItem(KEY, next)
}

/** The current choice, whether it comes out dark, and how to change it. */
export function useTheme() {
  return { choice: readonly(choice), dark, choose }
}

/** Value of a CSS custom property, for canvases that cannot use `var()`. */
export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim()
}
