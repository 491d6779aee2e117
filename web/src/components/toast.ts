// Short confirmations and failures at the foot of the page, announced politely. Start at [`toast`].
import { reactive } from 'vue'

export interface Toast {
  id: number
  text: string
  kind: 'ok' | 'bad'
}
export const toasts = reactive<Toast[]>([])
let next = 1

/** Failures stay until dismissed; confirmations go after four seconds. */
export function toast(text: string, kind: Toast['kind'] = 'ok') {
  const item = { id: next++, text, kind }
  toasts.push(item)
  if (toasts.length > 4) toasts.shift()
  if (kind === 'ok') setTimeout(() => dismiss(item.id), 4000)
}
export function dismiss(id: number) {
  const at = toasts.findIndex((t) => t.id === id)
  if (at >= 0) toasts.splice(at, 1)
}
