// Copying what is shown once; where a browser has no clipboard, it is selected for Ctrl+C.
import { ref } from 'vue'

/** `box` is the id of the field that shows it. */
export function useCopied(box: string) {
  const copied = ref<'no' | 'yes' | 'failed'>('no')
  async function copy(text: string) {
    try {
      await navigator.clipboard.writeText(text)
      copied.value = 'yes'
    } catch {
      // Plain http on an office network has none.
      const shown = document.getElementById(box)
      if (shown instanceof HTMLInputElement) shown.select()
      copied.value = 'failed'
    }
  }
  return { copied, copy }
}
