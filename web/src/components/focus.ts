// Where the focus goes when a dialog opens: into its first field, not onto its frame.
import { nextTick } from 'vue'

export function focusField(id: string) {
  // After the kit's focus trap, which first takes the focus to the frame.
  void nextTick(() => document.getElementById(id)?.focus())
}

/** Scrolls the page, and nothing around it, until `element` stands at its top; `scrollIntoView` would move the frame of the console too. */
export function bringUp(element: HTMLElement, gap = 8) {
  const main = document.getElementById('main')
  if (main) main.scrollTop += element.getBoundingClientRect().top - main.getBoundingClientRect().top - gap
}
