// Keyboard shortcuts: single keys and `g x` pairs, off while typing or while a dialog is open. Start at [`useKeys`].
import { onScopeDispose } from 'vue'

type Bindings = Record<string, (event: KeyboardEvent) => void>
const PAIR_MS = 1200
const stack: Bindings[] = []
let prefix: { key: string; at: number } | null = null

/** Whether a key pressed on `target` is text, or belongs to the dialog that is open. */
function taken(target: EventTarget | null): boolean {
  for (const dialog of document.querySelectorAll('[aria-modal="true"]')) if (dialog.getClientRects().length > 0) return true
  if (!(target instanceof HTMLElement)) return false
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)
}

/** The binding that a key means, given the key before it. */
export function resolve(bindings: readonly Bindings[], before: string | null, key: string) {
  const names = before ? [`${before} ${key}`, key] : [key]
  for (const name of names) {
    for (let i = bindings.length - 1; i >= 0; i--) {
      const run = bindings[i]![name]
      if (run) return run
    }
  }
  return null
}

function onKey(event: KeyboardEvent) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || taken(event.target)) return
  // Enter on a button or link is the element's own.
  if (event.key === 'Enter' && event.target instanceof HTMLElement && /^(BUTTON|A|SUMMARY)$/.test(event.target.tagName)) return
  const before = prefix && event.timeStamp - prefix.at < PAIR_MS ? prefix.key : null
  prefix = event.key === 'g' ? { key: 'g', at: event.timeStamp } : null
  const run = resolve(stack, before, event.key)
  if (!run) return
  event.preventDefault()
  run(event)
}

let listening = false
/** Binds keys for the life of the calling component; the newest binding wins. */
export function useKeys(bindings: Bindings) {
  if (!listening) {
    listening = true
    window.addEventListener('keydown', onKey)
  }
  stack.push(bindings)
  onScopeDispose(() => stack.splice(stack.indexOf(bindings), 1))
}
