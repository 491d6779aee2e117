// The region's divisions, for filters, forms and names; fetched at first use. Start at [`useRegions`].
import { computed, readonly, shallowRef } from 'vue'
import { all } from '@/api/client'
import type { Region } from '@/api/types'

const held = shallowRef<Region[]>([])
let asked = false

/** Every division, also towns and codes of before. Empty until fetched; if that failed, the next page asks again. */
export function useDivisions() {
  if (!asked) {
    asked = true
    all<'regions', Region>('/regions', 'regions').then(
      (rows) => (held.value = rows),
      () => (asked = false),
    )
  }
  return readonly(held)
}

/** City and counties in force, for a filter. */
export function useRegions() {
  const divisions = useDivisions()
  return computed(() => divisions.value.filter((r) => r.in_force && r.code.length <= 6))
}
