// The region's divisions, for filters and forms; fetched at first use. Start at [`useRegions`].
import { readonly, shallowRef } from 'vue'
import { all } from '@/api/client'
import type { Region } from '@/api/types'

const held = shallowRef<Region[]>([])
let asked = false

/** Empty until fetched; if that failed, a filter offers only "all" and the next page asks again. */
export function useRegions() {
  if (!asked) {
    asked = true
    all<'regions', Region>('/regions', 'regions').then(
      (rows) => (held.value = rows),
      () => (asked = false),
    )
  }
  return readonly(held)
}
