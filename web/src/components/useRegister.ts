// A register's rows page by page: first page on `run`, further ones on `more`; keeps what it has while it asks.
// `seen` gets each page whole, for what it carries beside the rows.
import { computed, ref, shallowRef } from 'vue'
import { api } from '@/api/client'
import { useLoad } from './useLoad'

type Page<K extends string, T> = Record<K, T[]> & { next: string | null }

export function useRegister<K extends string, T>(path: string, noun: K, query: () => Record<string, string | undefined> = () => ({}), seen?: (page: Page<K, T>) => void) {
  const rows = shallowRef<T[]>([])
  const next = ref<string | null>(null)
  const page = (cursor: string | null, signal: AbortSignal) => api.get<Page<K, T>>(path, { ...query(), limit: 100, cursor }, signal)
  const first = useLoad(async (signal) => {
    const got = await page(null, signal)
    seen?.(got)
    rows.value = got[noun]
    next.value = got.next
    return true
  })
  const further = useLoad(async (signal) => {
    if (!next.value) return false
    const got = await page(next.value, signal)
    seen?.(got)
    rows.value = [...rows.value, ...got[noun]]
    next.value = got.next
    return true
  })
  return {
    rows,
    hasMore: computed(() => next.value !== null),
    busy: computed(() => first.busy.value || further.busy.value),
    error: computed(() => first.error.value ?? further.error.value),
    run: first.run,
    more: further.run,
  }
}
