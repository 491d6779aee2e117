// Loading something for a page: keeps the old data while new data comes, and says which of the five states it is in.
import { onScopeDispose, ref, type Ref, shallowRef } from 'vue'

export interface Load<T> {
  data: Ref<T | null>
  error: Ref<unknown>
  busy: Ref<boolean>
  run: () => Promise<void>
}

/** `fetch` gets a signal that is aborted when a newer run starts or the component goes. */
export function useLoad<T>(fetch: (signal: AbortSignal) => Promise<T>): Load<T> {
  const data = shallowRef<T | null>(null)
  const error = shallowRef<unknown>(null)
  const busy = ref(false)
  let current: AbortController | null = null
  async function run() {
    current?.abort()
    const mine = new AbortController()
    current = mine
    busy.value = true
    try {
      const got = await fetch(mine.signal)
      if (current !== mine) return
      data.value = got
      error.value = null
    } catch (problem) {
      if (current !== mine || mine.signal.aborted) return
      error.value = problem
    } finally {
      if (current === mine) busy.value = false
    }
  }
  onScopeDispose(() => current?.abort())
  return { data, error, busy, run }
}

/** Runs `tick` every `ms` while the tab is visible, and at once when it becomes visible again. */
export function usePoll(tick: () => void, ms: number) {
  const timer = setInterval(() => {
    if (!document.hidden) tick()
  }, ms)
  const shown = () => {
    if (!document.hidden) tick()
  }
  document.addEventListener('visibilitychange', shown)
  onScopeDispose(() => {
    clearInterval(timer)
    document.removeEventListener('visibilitychange', shown)
  })
}
